"""Errors that the losses share."""

from __future__ import annotations

import jax

from jssl.types import Array


def check_pair(name: str, a: Array, b: Array) -> None:
    """Raises ValueError unless both are [N, D] of one shape, N > 0."""
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"{name} takes two arrays float[N, D] of one shape, not {a.shape} and {b.shape}")


def check_positive(**values: float | Array) -> None:
    """Raises ValueError for the first value that is not positive; of those that are traced nothing is known."""
    for name, value in values.items():
        if not isinstance(value, jax.core.Tracer) and not value > 0:
            raise ValueError(f"{name}={value} must be positive")
