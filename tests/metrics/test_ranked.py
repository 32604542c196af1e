"""Recall and average precision against loops over sorted lists, and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jssl.metrics import by_class, ranked


def test_average_precision_is_scikit_learns_and_recall_that_of_a_list():
    rng = np.random.default_rng(0)
    similarity, relevance = rng.normal(size=(20, 30)), rng.integers(-1, 2, (20, 30))
    relevance[0] = 0  # without a right item: left out
    found = ranked(similarity, relevance, ks=(1, 3))
    expected, hits = [], []
    for row, own in zip(similarity[1:], relevance[1:]):
        counts = own >= 0
        expected.append(average_precision_score(own[counts], row[counts]))
        best = own[counts][np.argsort(-row[counts])]
        hits.append([best[:k].max() == 1 for k in (1, 3)])
    assert found["map"] == pytest.approx(np.mean(expected))
    assert [found["r1"], found["r3"]] == pytest.approx(np.mean(hits, axis=0).tolist())


def test_equal_similarities_find_the_right_item_last():
    found = ranked(np.zeros((1, 4)), np.array([[1, 0, 0, 0]]), ks=(1, 3, 4))
    assert found == {"r1": 0.0, "r3": 0.0, "r4": 1.0, "map": 0.25}


def test_an_image_does_not_find_itself_and_chance_is_that_of_its_class():
    x = np.eye(4)
    found = by_class(x, np.array([0, 0, 1, 2]), ks=(1, 3))  # two images without a partner are no queries
    assert found["r3"] == 1.0
    assert found["r1"] == 0.0
    assert found["chance_r1"] == pytest.approx(1 / 3)
    assert np.isnan(by_class(x, np.arange(4))["map"])


def test_some_queries_are_drawn():
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(300, 5)), rng.integers(0, 3, 300)
    assert by_class(x, labels, queries=50) != by_class(x, labels)
    assert by_class(x, labels, queries=300) == by_class(x, labels)
