"""Clustering: views predict which prototype, or cluster, other views of the image belong to.

Imports methods.networks, methods.momentum and methods.memory, and what is below methods.
"""
