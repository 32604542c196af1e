"""Pretext tasks: a puzzle whose answer is known is made of every image. Imports view_task and what is below methods."""
