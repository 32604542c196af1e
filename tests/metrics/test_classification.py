"""Average precision by definition, threshold by threshold."""

import numpy as np
import pytest

from jssl import metrics
from jssl.errors import UserError


def by_thresholds(scores, positive, points):
    """Precision and recall of every threshold, and the best precision at or beyond a recall."""
    curve = [
        (positive[scores >= t].sum() / positive.sum(), positive[scores >= t].mean())
        for t in np.unique(scores)
    ]

    def best(recall):
        return max(p for r, p in curve if r >= recall - 1e-12)

    if points:
        return np.mean([best(x) for x in np.linspace(0, 1, points)])
    steps = np.arange(1, positive.sum() + 1) / positive.sum()
    return np.mean([best(recall) for recall in steps])


@pytest.mark.parametrize("points", [0, 11])
@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_by_definition(points, ties):
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive = rng.random(30) < 0.3
        positive[0] = True
        scores = rng.integers(0, 6, 30) / 6 if ties else rng.random(30)
        found = metrics.average_precision(scores, positive, points)
        assert found == pytest.approx(by_thresholds(scores, positive, points))


def test_extremes():
    positive = np.arange(10) < 3
    assert metrics.average_precision(-np.arange(10.0), positive) == 1
    assert metrics.average_precision(np.zeros(10), positive) == pytest.approx(0.3)
    assert metrics.average_precision(np.arange(10.0), positive) == pytest.approx(3 / 10)
    with pytest.raises(UserError, match="nothing is positive"):
        metrics.average_precision(np.zeros(3), np.zeros(3, bool))
