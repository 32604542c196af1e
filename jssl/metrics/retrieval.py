"""Measures of retrieval: is what belongs to a query among the nearest?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jssl.types import NdArray

BLOCK = 1024  # queries at a time
SORTED = 128  # queries whose items are sorted at a time


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


def ranked(similarity: NdArray, relevance: NdArray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Recall and average precision of the items of every query, the most similar first.

    Average precision is the mean, over a query's right items, of the part of right ones among all down to it.

    Args:
      similarity: float[N, M], of N queries to M items.
      relevance: int[N, M], 1 for a right item, 0 for a wrong one, -1 for one that does not count, as the query itself:
        it is taken out before ranks are given.
      ks: numbers of items.

    Returns:
      'r1', ..., the part of the queries with a right item among the first k, and 'map', the mean average precision, in
      [0, 1]. Queries without a right item are left out, nan if all are; of equal similarities the right item comes
      last.

    References:
      Radenovic et al., Revisiting Oxford and Paris, 2018, section 3 (junk images). https://arxiv.org/abs/1803.11285

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.ranked(np.array([[0.9, 0.8, 0.7, 0.6]]), np.array([[-1, 0, 1, 1]]), ks=(1, 2))
      {'r1': 0.0, 'r2': 1.0, 'map': 0.5833333333333333}
    """
    first = np.argsort(relevance, axis=1, kind="stable")  # the right ones last, and the next sort keeps that
    by_rank = np.argsort(-np.take_along_axis(similarity, first, axis=1), axis=1, kind="stable")
    found = np.take_along_axis(np.take_along_axis(relevance, first, axis=1), by_rank, axis=1)
    right, ranks = found == 1, np.cumsum(found >= 0, axis=1)
    count = right.sum(axis=1)
    asked = count > 0
    if not asked.any():
        return {**{f"r{k}": float("nan") for k in ks}, "map": float("nan")}
    precision = np.where(right, np.cumsum(right, axis=1) / np.maximum(ranks, 1), 0).sum(axis=1)
    recall = {f"r{k}": float((right & (ranks <= k)).any(axis=1)[asked].mean()) for k in ks}
    return {**recall, "map": float((precision[asked] / count[asked]).mean())}


def by_class(
    x: NdArray, labels: NdArray, ks: Sequence[int] = (1, 5, 10), queries: int = 0
) -> dict[str, float]:
    """`ranked` of every image among all others, those of its class being right.

    Args:
      x: features, float[N, D]; need not be normalised.
      labels: int[N].
      ks: numbers of neighbours.
      queries: at most so many images, drawn at random, are queries; 0 for all.

    Returns:
      As `ranked`, and 'chance_r1', what an order drawn at random finds first.

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> x, labels = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), np.array([0, 0, 1, 1])
      >>> metrics.by_class(x, labels, ks=(1,))["r1"]
      1.0
    """
    x, order = unit_rows(x), np.random.default_rng(0).permutation(len(x))
    order = np.sort(order[:queries]) if queries else np.arange(len(x))
    parts, sizes, chance = [], [], []
    for start in range(0, len(order), SORTED):
        rows = order[start : start + SORTED]
        relevance = (labels[rows][:, None] == labels).astype(np.int8)
        relevance[np.arange(len(rows)), rows] = -1
        asked = (relevance == 1).any(axis=1)
        if asked.any():
            parts.append(ranked(x[rows[asked]] @ x.T, relevance[asked], ks))
            sizes.append(asked.sum())
            chance.append(float(np.mean((relevance[asked] == 1).sum(axis=1) / (len(x) - 1))))
    if not parts:
        return {**{f"r{k}": float("nan") for k in ks}, "map": float("nan"), "chance_r1": float("nan")}
    values = {name: float(np.average([part[name] for part in parts], weights=sizes)) for name in parts[0]}
    return {**values, "chance_r1": float(np.average(chance, weights=sizes))}
