"""Learned positions of a transformer on another grid."""

from __future__ import annotations

import numpy as np

CUBIC, ANTIALIASED = -0.75, -0.5  # the coefficients of PyTorch's bicubic interpolations


def resampled(grid: np.ndarray, side: int, antialias: bool = False) -> np.ndarray:
    """A square grid of positions on another one, bicubic as PyTorch has it.

    Args:
      grid: float[h, h, D].
      side: of the new one.
      antialias: whether the kernel is as wide as the new cells, as for DINOv2 with registers and in timm.

    Returns:
      float32[side, side, D]; the grid itself where its side is that.
    """
    if len(grid) == side:
        return grid.astype(np.float32)
    matrix = (_widened if antialias else _clamped)(len(grid), side)
    return np.einsum("ih,jw,hwd->ijd", matrix, matrix, grid.astype(np.float64)).astype(np.float32)


def _clamped(length: int, wanted: int) -> np.ndarray:
    """How much of every row goes into every new one, float64[wanted, length]; beyond the border are those at it."""
    centers = (np.arange(wanted) + 0.5) * length / wanted - 0.5
    first = np.floor(centers).astype(int)
    found = np.zeros((wanted, length))
    for tap in range(-1, 3):
        places = np.clip(first + tap, 0, length - 1)
        np.add.at(found, (np.arange(wanted), places), _cubic(np.abs(centers - first - tap), CUBIC))
    return found


def _widened(length: int, wanted: int) -> np.ndarray:
    """As `_clamped`; beyond the border is nothing, and weights of a new row sum to 1."""
    scale = max(1.0, length / wanted)
    centers = (np.arange(wanted) + 0.5) * length / wanted - 0.5
    distances = np.abs(centers[:, None] - np.arange(length)) / scale
    found = np.where(distances < 2, _cubic(distances, ANTIALIASED), 0.0)
    return found / found.sum(axis=1, keepdims=True)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel at distances in [0, 2]."""
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, far)
