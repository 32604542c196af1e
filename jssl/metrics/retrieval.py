"""Measures of retrieval: is what belongs to a query among the nearest?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jssl.types import NdArray

BLOCK = 1024  # queries at a time


def recall_at(
    queries: NdArray,
    items: NdArray,
    query_groups: NdArray,
    item_groups: NdArray,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """The part of the queries that have an item of their own group among their k nearest.

    Args:
      queries: embeddings, float[N, D]; need not be normalised.
      items: embeddings, float[M, D].
      query_groups, item_groups: int[N, A] and int[M, B], the groups that each belongs to; an item is right if the two
        share one. -1 is none, to fill rows up.
      ks: numbers of neighbours.

    Returns:
      'r1', 'r5', ... in [0, 1], and 'median_rank', that of the first right item, at least 1. Queries without a right
      item count as missed; of equal similarities the right item comes last, so that equal embeddings find nothing.

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> a, groups = np.eye(3), np.arange(3)[:, None]
      >>> metrics.recall_at(a, a[[0, 2, 1]], groups, groups, ks=(1, 3))
      {'r1': 0.3333333333333333, 'r3': 1.0, 'median_rank': 3.0}
    """
    queries, items = unit_rows(queries), unit_rows(items)
    ranks = np.empty(len(queries))
    for start in range(0, len(queries), BLOCK):
        rows = slice(start, start + BLOCK)
        cosines = queries[rows] @ items.T
        right = shared(query_groups[rows], item_groups)
        best = np.where(right, cosines, -np.inf).max(axis=1)
        before = ((cosines >= best[:, None]) & ~right).sum(axis=1)
        ranks[rows] = np.where(np.isfinite(best), before + 1.0, np.inf)
    found = {f"r{k}": float(np.mean(ranks <= k)) for k in ks}
    return {**found, "median_rank": float(min(np.median(ranks), len(items)))}


def shared(first: NdArray, second: NdArray) -> NdArray:
    """Whether rows of int[N, A] and of int[M, B] share a number that is not negative: bool[N, M]."""
    found = np.zeros((len(first), len(second)), bool)
    for a in first.T:
        for b in second.T:
            found |= (a[:, None] == b) & (a[:, None] >= 0)
    return found


def unit_rows(x: NdArray) -> NdArray:
    """Vectors float[..., D] divided by their norms."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
