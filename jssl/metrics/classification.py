"""Measures of classification."""

from __future__ import annotations

import numpy as np


def accuracy(ranked: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Top-1 and top-5 accuracy of classes ranked by falling score, int[M, >=1].

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.accuracy(np.array([[1, 0], [0, 1]]), np.array([1, 1]))  # classes by falling score
      {'top1': 0.5, 'top5': 1.0}
    """
    hits = ranked[:, :5] == labels[:, None]
    return {"top1": float(hits[:, 0].mean()), "top5": float(hits.any(axis=1).mean())}
