"""Measures of classification."""

from __future__ import annotations

import numpy as np

from jssl.errors import UserError


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


def average_precision(scores: np.ndarray, positive: np.ndarray, points: int = 0) -> float:
    """Mean precision over recall of a ranking, in [0, 1]; images of equal score come together.

    Args:
      scores: float[N], higher is more likely.
      positive: bool[N], at least one of them True.
      points: 0 for the area under the curve of precision made monotone (VOC 2010 and later); 11 for its mean at the
        recalls 0, .1, ..., 1 (VOC 2007).

    Raises:
      UserError: if nothing is positive.

    References:
      Everingham et al., The PASCAL Visual Object Classes Challenge, 2010. https://doi.org/10.1007/s11263-009-0275-4

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
      >>> round(metrics.average_precision(scores, positive), 3)  # 1 up to a recall of .5, then 2 / 3
      0.833
    """
    if not positive.any():
        raise UserError("average precision: nothing is positive")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
    found = np.cumsum(positive[order])[last]
    recall, precision = found / positive.sum(), found / (1 + np.flatnonzero(last))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if not points:
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    wanted = np.linspace(0, 1, points)
    place = np.searchsorted(recall, wanted - 1e-9)
    return float(np.mean(envelope[place]))
