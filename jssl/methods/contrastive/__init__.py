"""Images, or their views, are told apart: pairs of one image attract, others repel.

Imports networks, momentum and memory of this room, and what is below methods.
"""
