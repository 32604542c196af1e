import numpy as np
import pytest

from jssl.data import splits
from jssl.errors import UserError

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [40, 100, 200, 300, 360]))


def test_fractions_are_balanced_and_nested():
    one, ten = (splits.label_subset(LABELS, spec, seed=3) for spec in ("1%", "10%"))
    np.testing.assert_array_equal(np.bincount(LABELS[one]), [1, 1, 2, 3, 4])
    np.testing.assert_array_equal(np.bincount(LABELS[ten]), [4, 10, 20, 30, 36])
    assert set(one) < set(ten)
    np.testing.assert_array_equal(ten, np.sort(ten))


def test_counts_are_nested_and_seeded():
    four, forty = (splits.label_subset(LABELS, f"{n} per class", seed=0) for n in (4, 40))
    np.testing.assert_array_equal(np.bincount(LABELS[four]), [4] * 5)
    assert set(four) < set(forty)
    assert set(four) == set(splits.label_subset(LABELS, "4 per class", seed=0))
    assert set(four) != set(splits.label_subset(LABELS, "4 per class", seed=1))
    assert len(splits.label_subset(LABELS, "all", seed=0)) == len(LABELS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ten", "cannot read the labels 'ten'"),
        ("0%", "cannot read"),
        ("101%", "cannot read"),
        ("0 per class", "cannot read"),
        ("41 per class", "smallest class has only 40"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(UserError, match=message):
        splits.label_subset(LABELS, spec, seed=0)


def test_holdout_is_a_balanced_partition():
    rest, held = splits.holdout(len(LABELS), LABELS, 0.1, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, held])), np.arange(len(LABELS)))
    np.testing.assert_array_equal(np.bincount(LABELS[held]), [4, 10, 20, 30, 36])
    rest, held = splits.holdout(10, None, 0.0, seed=0)
    assert (len(rest), len(held)) == (10, 0)
    for fraction in (1.0, -0.1):
        with pytest.raises(UserError, match="holdout"):
            splits.holdout(10, None, fraction, seed=0)


EVEN = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 200))


def test_long_tail_is_nested_and_seeded():
    few, more = (splits.imbalance_ratio(EVEN, factor, seed=0) for factor in (100, 10))
    # 200 / 100^(c/9) and 200 / 10^(c/9), rounded down.
    np.testing.assert_array_equal(np.bincount(EVEN[few]), [200, 119, 71, 43, 25, 15, 9, 5, 3, 2])
    np.testing.assert_array_equal(np.bincount(EVEN[more]), [200, 154, 119, 92, 71, 55, 43, 33, 25, 20])
    assert set(few) < set(more)
    assert few.dtype == np.int64
    np.testing.assert_array_equal(few, np.sort(few))
    np.testing.assert_array_equal(few, splits.imbalance_ratio(EVEN, 100, seed=0))
    assert set(few) != set(splits.imbalance_ratio(EVEN, 100, seed=1))
    np.testing.assert_array_equal(splits.imbalance_ratio(EVEN, 1, seed=0), np.arange(2000))


def test_long_tail_of_unequal_classes():
    """Where a class is smaller than its share all of it stays; one of each stays in any case."""
    labels = np.repeat([0, 2, 5], [8, 50, 100])
    kept = splits.imbalance_ratio(labels, 4, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[kept])[[0, 2, 5]], [8, 50, 25])
    assert np.bincount(labels[splits.imbalance_ratio(labels, 1e9, 0)])[[0, 2, 5]].tolist() == [8, 1, 1]
    np.testing.assert_array_equal(splits.imbalance_ratio(np.zeros(5, int), 10, 0), np.arange(5))
    assert len(splits.imbalance_ratio(np.zeros(0, int), 10, 0)) == 0


@pytest.mark.parametrize("factor", [0.5, -1, float("inf"), float("nan")])
def test_bad_factor(factor):
    with pytest.raises(UserError, match=r"imbalance ratio is .*; set it to at least 1"):
        splits.imbalance_ratio(EVEN, factor, seed=0)
