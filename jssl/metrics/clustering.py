"""Measures that compare two clusterings."""

from __future__ import annotations

import numpy as np


def nmi(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised mutual information of two labellings: 2 I(a; b) / (H(a) + H(b)).

    Args:
      a, b: int[N]; entries where one is below 0 are left out.

    Returns:
      In [0, 1]: 1 if each tells the other, 0 if neither tells anything; 1 if both are constant.

    Raises:
      ValueError: if they are not of one length, or nothing is left.

    References:
      Vinh et al., Information Theoretic Measures for Clusterings Comparison, 2010, table 2 (NMI_sum).

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.nmi(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2]))  # the names of the clusters do not matter
      1.0
      >>> metrics.nmi(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
      0.0
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"nmi takes two arrays int[N] of one length, not {a.shape} and {b.shape}")
    known = (a >= 0) & (b >= 0)
    if not known.any():
        raise ValueError("nmi takes labels of at least one sample that are not below 0")
    of_a = np.unique(a[known], return_inverse=True)[1]
    second, of_b = np.unique(b[known], return_inverse=True)
    pairs = np.unique(of_a * len(second) + of_b, return_counts=True)[1]
    both = _entropy(np.bincount(of_a)) + _entropy(np.bincount(of_b))
    if not both:
        return 1.0
    mutual = both - _entropy(pairs)
    return float(np.clip(2 * mutual / both, 0.0, 1.0))


def _entropy(counts: np.ndarray) -> float:
    p = counts / counts.sum()
    return float(-np.sum(p * np.log(p)))
