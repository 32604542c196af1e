"""Recall at k against a ranking that is sorted item by item."""

import numpy as np
import pytest

from jssl.metrics import recall_at


def oracle(queries, items, query_groups, item_groups, k):
    hits = 0
    for query, own in zip(queries, query_groups):
        cosines = [np.dot(query, item) / np.linalg.norm(query) / np.linalg.norm(item) for item in items]
        nearest = sorted(range(len(items)), key=lambda place: -cosines[place])[:k]
        hits += any(
            {x for x in own if x >= 0} & {x for x in item_groups[place] if x >= 0} for place in nearest
        )
    return hits / len(queries)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_recall_is_that_of_a_sorted_list(k):
    rng = np.random.default_rng(0)
    queries, items = rng.normal(size=(40, 4)), rng.normal(size=(25, 4))
    query_groups, item_groups = rng.integers(-1, 9, (40, 3)), rng.integers(0, 9, (25, 1))
    found = recall_at(queries, items, query_groups, item_groups, ks=(k,))
    assert found[f"r{k}"] == pytest.approx(oracle(queries, items, query_groups, item_groups, k))


def test_equal_embeddings_find_nothing_and_queries_without_partner_are_missed():
    same, groups = np.ones((8, 3)), np.arange(8)[:, None]
    assert recall_at(same, same, groups, groups, ks=(1, 8)) == {"r1": 0.0, "r8": 1.0, "median_rank": 8.0}
    assert recall_at(np.eye(8), np.eye(8), groups, groups + 100, ks=(8,))["r8"] == 0


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    a, b, groups = rng.normal(size=(30, 4)), rng.normal(size=(30, 4)), np.arange(30)[:, None]
    whole = recall_at(a, b, groups, groups)
    monkeypatch.setattr("jssl.metrics.retrieval.BLOCK", 7)
    assert recall_at(a, b, groups, groups) == whole
