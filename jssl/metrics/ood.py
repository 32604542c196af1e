"""Detection of out-of-distribution images: two scores, a threshold, and the area under the ROC curve."""

from __future__ import annotations

import numpy as np

from jssl.errors import UserError, unknown

SCORES = ("max_softmax", "energy")


def score(logits: np.ndarray, kind: str) -> np.ndarray:
    """Scores of images as in-distribution, float[N]; higher is more like the classes.

    Args:
      logits: float[N, C].
      kind: 'max_softmax', the largest probability (Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1610.02136), or
        'energy', the log-sum-exp of the logits (Liu et al., 2020, eq. 3, https://arxiv.org/abs/2010.03759).

    Example:
      >>> import numpy as np
      >>> from jssl.metrics import ood
      >>> ood.score(np.log(np.array([[0.25, 0.75]])), "max_softmax").round(3)
      array([0.75])
    """
    if kind not in SCORES:
        raise unknown("score", kind, SCORES)
    energy = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
    return energy if kind == "energy" else np.exp(logits.max(axis=1) - energy)


def threshold(known: np.ndarray, keep: float) -> float:
    """The score that a part `keep` of images known to be inliers reach.

    Args:
      known: scores of labelled images that the classifier was not trained on, float[N].
      keep: in (0, 1].

    Example:
      >>> import numpy as np
      >>> from jssl.metrics import ood
      >>> round(ood.threshold(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), keep=0.75), 3)
      1.0
    """
    if not 0 < keep <= 1:
        raise UserError(f"keep={keep} must be in (0, 1]")
    return float(np.quantile(known, 1 - keep))


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve: how often an inlier has a higher score than an outlier; 0.5 is chance.

    Args:
      inside, outside: scores float[N], float[M].

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.auroc(np.array([0.9, 0.8]), np.array([0.1, 0.85]))  # 3 of 4 pairs in the right order
      0.75
    """
    from scipy.stats import rankdata  # a second to import

    ranks = rankdata(np.concatenate([inside, outside]))
    n, m = len(inside), len(outside)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
