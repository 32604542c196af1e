"""Pretext tasks, whose labels are made of the images themselves: rotation, jigsaw, context prediction, exemplar.

Each runs alone or as a term of S4L. Imports methods.view_task and what is below methods.
"""
