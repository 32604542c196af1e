"""Redundancy reduction: views agree while the dimensions of the embedding vary and are decorrelated.

Imports methods.networks, methods.momentum and methods.memory, and what is below methods.
"""
