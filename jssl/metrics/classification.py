"""Measures of classification."""

from __future__ import annotations

import numpy as np


def accuracy(ranked: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy of classes ranked by falling score.

    Args:
      ranked: int[M, >=1]; -1 is no prediction.
      labels: int[M].

    Returns:
      Fractions in [0, 1]: 'top1' and 'top5' of all rows; 'balanced', the mean over the classes of their top-1, which
      naming the commonest class does not raise; 'worst_class', the least of those; 'commonest_class', the part of the
      labels that are of that class: the top-1 of naming it always.

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.accuracy(np.array([[1, 0], [1, 0], [1, 0], [0, 1]]), np.array([1, 1, 0, 1]))  # two of three, none
      {'top1': 0.5, 'top5': 1.0, 'balanced': 0.3333333333333333, 'worst_class': 0.0, 'commonest_class': 0.75}
    """
    hits = ranked[:, :5] == labels[:, None]
    first = hits[:, 0]
    classes, counts = np.unique(labels, return_counts=True)
    each = [float(first[labels == label].mean()) for label in classes]
    return {
        "top1": float(first.mean()),
        "top5": float(hits.any(axis=1).mean()),
        "balanced": float(np.mean(each)),
        "worst_class": min(each),
        "commonest_class": float(counts.max() / len(labels)),
    }
