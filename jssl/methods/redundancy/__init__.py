"""Views agree while the dimensions of the embedding stay alive and say different things.

Imports networks, momentum and memory of this room, and what is below methods.
"""
