"""Self-distillation: a network predicts what a target, or itself without gradient, makes of other views.

Imports methods.networks, methods.momentum and methods.memory, and what is below methods.
"""
