"""Images of no class: scores, threshold, and how well they tell."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jssl.errors import UserError
from jssl.metrics import ood

LOGITS = np.random.default_rng(0).normal(size=(50, 7)) * 3


def test_scores_are_those_of_the_papers():
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ood.score(LOGITS, "max_softmax"), p.max(axis=1))
    np.testing.assert_allclose(ood.score(LOGITS, "energy"), np.log(np.exp(LOGITS).sum(axis=1)))
    assert np.isfinite(ood.score(1e4 * LOGITS, "energy")).all()


def test_the_area_is_scikit_learns_with_ties_too():
    rng = np.random.default_rng(1)
    inside, outside = rng.integers(2, 9, 40), rng.integers(0, 7, 30)
    truth = np.r_[np.ones(40), np.zeros(30)]
    expected = roc_auc_score(truth, np.r_[inside, outside])
    assert ood.auroc(inside, outside) == pytest.approx(expected)
    assert ood.auroc(outside, inside) == pytest.approx(1 - expected)


def test_a_threshold_keeps_its_part():
    known = np.random.default_rng(2).normal(size=1000)
    for keep in (0.5, 0.95, 1.0):
        assert (known >= ood.threshold(known, keep)).mean() == pytest.approx(keep, abs=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ood.score(LOGITS, "enrgy"), "did you mean 'energy'"),
        (lambda: ood.threshold(LOGITS[0], 0.0), "keep=0.0"),
        (lambda: ood.threshold(LOGITS[0], 1.5), "keep=1.5"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
