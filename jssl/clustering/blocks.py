"""Blocks of rows of a large host array, on the devices one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jssl import parallel
from jssl.types import Array

BLOCK_BYTES = 16 * 2**20  # of a device's rows
CPU_TILE_BYTES, TILE_BYTES = 4 * 2**20, 64 * 2**20  # of what is computed at once; a CPU's stays in its cache


class Block(NamedTuple):
    """Rows on the devices.

    Args:
      rows: float32[B, D], split over the mesh; zeros after the last row.
      valid: how many rows there are.
      start: position of the first.
    """

    rows: Array
    valid: int
    start: int


def check_matrix(name: str, x: np.ndarray, least: int) -> None:
    """Raises ValueError unless x is [N, D] with at least so many rows."""
    if x.ndim != 2 or len(x) < least or not x.shape[1]:
        raise ValueError(f"{name} takes an array float[N, D] with N >= {least}, not {x.shape}")


def mesh_or_one_device(mesh: Mesh | None) -> Mesh:
    """The mesh, or one of the first device."""
    return parallel.make_mesh(jax.local_devices()[:1]) if mesh is None else mesh


def rows_per_device(n: int, dim: int, mesh: Mesh, block_rows: int = 0) -> int:
    """Rows of a block on each device: blocks of equal size, so that little of the last is padding.

    Args:
      n: rows in all.
      dim: their length.
      mesh: of the blocks.
      block_rows: at most so many in a block; 0 takes what has 16 MiB on every device.
    """
    most = max(1, block_rows // mesh.size if block_rows else BLOCK_BYTES // (4 * dim))
    blocks = math.ceil(n / (most * mesh.size))
    return math.ceil(n / (blocks * mesh.size))


def tile_rows(rows: int, columns: int, mesh: Mesh) -> int:
    """How many of a device's rows are computed with at once, so that float32[tile, columns] is small."""
    most = max(1, (CPU_TILE_BYTES if on_cpu(mesh) else TILE_BYTES) // (4 * columns))
    return math.ceil(rows / math.ceil(rows / most))


def on_cpu(mesh: Mesh) -> bool:
    """Whether the devices of a mesh are CPUs."""
    return mesh.devices.flat[0].platform == "cpu"


def iterate(x: np.ndarray, mesh: Mesh, per_device: int, indices: np.ndarray | None = None) -> Iterator[Block]:
    """Blocks of the rows of x, or of those at some positions, as float32. No more than a block is copied.

    Args:
      x: float[N, D] on the host, the same in all processes; may be memory-mapped.
      mesh: over which each block is split.
      per_device: rows of a block on each device.
      indices: int[M], the rows to take; None for all.
    """
    size = per_device * mesh.size
    n = len(x) if indices is None else len(indices)
    for start in range(0, n, size):
        part = slice(start, start + size)
        rows = np.asarray(x[part] if indices is None else x[indices[part]], np.float32)
        yield Block(parallel.put_rows(_padded(rows, size), mesh), len(rows), start)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return rows if len(rows) == size else parallel.pad_rows(rows, size)
