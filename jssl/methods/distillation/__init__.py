"""One network's views predict what another, or the same without gradient, makes of other views.

Imports networks, momentum and memory of this room, and what is below methods.
"""
