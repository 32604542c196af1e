"""A batch in equal parts, one after the other; where rows are split over devices, each has rows of every part."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.types import PyTree


def split_microbatches(tree: PyTree, parts: int) -> PyTree:
    """[B, ...] to [parts, B / parts, ...]: row i goes to part i % parts."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), tree)


def join_microbatches(tree: PyTree) -> PyTree:
    """Undoes `split_microbatches`: the batch in its old order."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), tree)
