import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from jssl import metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 2, 7, 200])
def test_nmi_is_that_of_scikit_learn(k):
    a, b = RNG.integers(0, 5, 300), RNG.integers(0, k, 300)
    for other in (b, a * k + b, np.where(b % 2, a, b)):
        np.testing.assert_allclose(metrics.nmi(a, other), normalized_mutual_info_score(a, other), atol=1e-9)
        np.testing.assert_allclose(metrics.nmi(a, other), metrics.nmi(other, a), atol=1e-12)


def test_unknown_labels_are_left_out():
    a, b = np.array([0, 1, -1, 0, 1]), np.array([3, 4, 3, -1, 4])
    assert metrics.nmi(a, b) == pytest.approx(1)


def test_of_constants_and_of_far_apart_numbers():
    zeros, ones = np.zeros(4, int), np.array([0, 0, 1, 1])
    assert metrics.nmi(zeros, zeros) == 1
    assert metrics.nmi(zeros, ones) == 0
    assert metrics.nmi(ones * 2**40, ones) == pytest.approx(1)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(2, int), np.zeros(3, int)),
        (np.zeros((2, 1), int),) * 2,
        (np.array([-1, 0]), np.array([0, -1])),
    ],
)
def test_errors(a, b):
    with pytest.raises(ValueError, match="nmi takes"):
        metrics.nmi(a, b)
