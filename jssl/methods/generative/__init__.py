"""Generative learning: what is hidden of an image, or comes next, is filled in.

Imports the files that methods share and what is below methods.
"""
