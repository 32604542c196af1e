"""Contrastive learning: views of one image attract, those of others repel.

Imports methods.networks, methods.momentum and methods.memory, and what is below methods.
"""
