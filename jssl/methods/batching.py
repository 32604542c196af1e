"""Several arrays of images as one batch."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from jssl.types import Array


def together(arrays: Sequence[Array]) -> Array:
    """One batch of several: row i of each, side by side. Where rows are split over devices none has to move."""
    return jnp.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])


def apart(x: Array, count: int) -> list[Array]:
    """What `together` put into one."""
    x = x.reshape(-1, count, *x.shape[1:])
    return [x[:, i] for i in range(count)]


def runs_of_one_size(views: Sequence[Array]) -> list[tuple[int, int]]:
    """(first, last + 1) of the runs of neighbouring views of one shape."""
    starts = [i for i, x in enumerate(views) if i == 0 or x.shape != views[i - 1].shape]
    return list(zip(starts, [*starts[1:], len(views)]))
