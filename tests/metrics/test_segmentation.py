"""Confusion and overlaps by cases made by hand, and by counting pixel by pixel."""

import numpy as np
import pytest

from jssl import metrics
from jssl.errors import UserError


def test_a_case_by_hand():
    truth = np.array([[0, 0, 1], [1, 2, 255]])
    predicted = np.array([[0, 1, 1], [1, 0, 2]])
    found = metrics.confusion(truth, predicted, 4, ignore=255)
    assert found.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    values = metrics.overlaps(found)
    np.testing.assert_allclose(values["iou"], [1 / 3, 2 / 3, 0, np.nan])
    assert values["miou"] == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert values["pixel_accuracy"] == pytest.approx(3 / 5)
    assert values["mean_accuracy"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_overlaps_by_sets_of_pixels():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, (2, 9, 11)), rng.integers(0, 5, (2, 9, 11))
    iou = metrics.overlaps(metrics.confusion(truth, predicted, 5))["iou"]
    for label in range(5):
        own, other = ({*map(tuple, np.argwhere(x == label).tolist())} for x in (truth, predicted))
        assert iou[label] == pytest.approx(len(own & other) / len(own | other))


def test_batches_add_up_and_are_not_averaged():
    a = metrics.confusion(np.zeros(9, int), np.zeros(9, int), 2)
    b = metrics.confusion(np.zeros(1, int), np.ones(1, int), 2)
    assert metrics.overlaps(a + b)["pixel_accuracy"] == 0.9


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: metrics.confusion(np.zeros(3, int), np.zeros(2, int), 2), r"differ in shape"),
        (
            lambda: metrics.confusion(np.full(3, 2), np.zeros(3, int), 2),
            r"^truth has classes 2 to 2, not 0 to 1",
        ),
        (lambda: metrics.confusion(np.zeros(3, int), np.full(3, -1), 2), r"^prediction has classes -1"),
        (lambda: metrics.overlaps(np.zeros((2, 2), int)), r"^no pixel"),
    ],
)
def test_mistakes_are_told(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()
