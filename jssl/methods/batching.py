"""Several arrays of images as one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jssl.types import Array


def interleave(arrays: Sequence[Array]) -> Array:
    """One batch of several arrays [B_i, ...]; where rows are split over devices none has to move.

    As many rows of each lie side by side as the greatest common divisor of their numbers allows: row i of each, where
    all have as many. Concatenating two sharded batches would move half of their rows between devices.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.methods import batching
      >>> print(batching.interleave([jnp.array([0, 1]), jnp.array([10, 11, 12, 13])]))
      [ 0 10 11  1 12 13]
    """
    runs = math.gcd(*(len(x) for x in arrays))
    shape = arrays[0].shape[1:]
    return jnp.concatenate([x.reshape(runs, -1, *shape) for x in arrays], axis=1).reshape(-1, *shape)


def deinterleave(x: Array, rows: Sequence[int]) -> list[Array]:
    """What `interleave` put into one, given how many rows each had.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.methods import batching
      >>> print(*batching.deinterleave(jnp.array([0, 10, 11, 1, 12, 13]), rows=[2, 4]))
      [0 1] [10 11 12 13]
    """
    runs = math.gcd(*rows)
    x = x.reshape(runs, len(x) // runs, *x.shape[1:])
    ends = [sum(rows[: i + 1]) // runs for i in range(len(rows))]
    return [x[:, end - n // runs : end].reshape(n, *x.shape[2:]) for n, end in zip(rows, ends)]


def runs_of_one_size(views: Sequence[Array]) -> list[tuple[int, int]]:
    """(first, last + 1) of the runs of neighbouring views of one shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.methods import batching
      >>> large, small = jnp.zeros((4, 32, 32, 3)), jnp.zeros((4, 16, 16, 3))
      >>> batching.runs_of_one_size([large, large, small])
      [(0, 2), (2, 3)]
    """
    starts = [i for i, x in enumerate(views) if i == 0 or x.shape != views[i - 1].shape]
    return list(zip(starts, [*starts[1:], len(views)]))
