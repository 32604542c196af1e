"""Evaluation: what a representation is worth."""
