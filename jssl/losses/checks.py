"""Errors that the losses share."""

from __future__ import annotations

from jssl.types import Array


def check_pair(name: str, a: Array, b: Array) -> None:
    """Raises ValueError unless both are [N, D] of one shape."""
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"{name} takes two arrays float[N, D] of one shape, not {a.shape} and {b.shape}")


def check_positive(**values: float) -> None:
    """Raises ValueError for the first value that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be positive")
