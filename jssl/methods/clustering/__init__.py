"""Views predict which prototype, or cluster, other views of the image belong to.

Imports networks, momentum and memory of this room, and what is below methods.
"""
