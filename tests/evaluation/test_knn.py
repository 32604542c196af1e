import functools

import jax
import numpy as np
import pytest

from jssl import evaluation
from jssl.errors import UserError
from jssl.evaluation.knn import KNN, knn
from tests.evaluation.clusters import CLASSES, TEST_X, TEST_Y, TRAIN_X, TRAIN_Y


def knn_oracle(k, temperature, train_x=TRAIN_X, test_x=TEST_X, leave_one_out=False):
    a = train_x / np.linalg.norm(train_x, axis=1, keepdims=True)
    b = test_x / np.linalg.norm(test_x, axis=1, keepdims=True)
    ranked = []
    for row, query in enumerate(b):
        similarity = a @ query
        if leave_one_out:
            similarity[row] = -np.inf
        votes, first = np.zeros(CLASSES), np.full(CLASSES, k)
        for place, neighbour in enumerate(np.argsort(-similarity)[:k]):
            votes[TRAIN_Y[neighbour]] += np.exp(similarity[neighbour] / temperature)
            first[TRAIN_Y[neighbour]] = min(first[TRAIN_Y[neighbour]], place)
        order = np.lexsort((first, -votes))
        ranked.append(np.where(votes[order] > 0, order, -1))
    return np.asarray(ranked)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (200, 0.07), (10_000, 1.0)])
def test_knn_is_its_definition_on_any_mesh(mesh1, mesh8, k, temperature):
    ranked = knn_oracle(k, temperature)
    top1, top5 = (ranked[:, 0] == TEST_Y).mean(), (ranked[:, :5] == TEST_Y[:, None]).any(1).mean()
    for mesh in (mesh1, mesh8):
        result = knn(
            TRAIN_X, TRAIN_Y, TEST_X, TEST_Y, classes=CLASSES, mesh=mesh, k=k, temperature=temperature
        )
        np.testing.assert_allclose([result["top1"], result["top5"]], [top1, top5], atol=1e-6)
    assert 0.5 < top1 < 0.99  # the task can be failed and can be passed


def test_a_class_without_a_vote_is_not_predicted_and_its_number_decides_nothing(mesh1):
    """With one neighbour there is one prediction; of two neighbours alike the nearer one's class comes first."""
    train_x, train_y = np.eye(6), np.array([5, 4, 3, 2, 1, 0])
    one = knn(train_x, train_y, train_x, np.zeros(6, int), mesh=mesh1, k=1)
    assert one["top1"] == one["top5"] == 1 / 6
    query = np.array([[1.0, 1.0, 0, 0, 0, 0]])  # as near to a 5 as to a 4, of which the 5 stands first
    assert knn(train_x, train_y, query, np.array([5]), mesh=mesh1, k=2, classes=6)["top1"] == 1
    mirrored = knn(train_x, 5 - train_y, query, np.array([0]), mesh=mesh1, k=2, classes=6)
    assert mirrored["top1"] == 1


def test_leave_one_out_and_centring(mesh8):
    same = (TRAIN_X, TRAIN_Y, TRAIN_X, TRAIN_Y)
    assert knn(*same, classes=CLASSES, mesh=mesh8, k=1)["top1"] == 1
    result = knn(*same, classes=CLASSES, mesh=mesh8, k=5, leave_one_out=True)
    ranked = knn_oracle(5, 0.1, test_x=TRAIN_X, leave_one_out=True)
    np.testing.assert_allclose(result["top1"], (ranked[:, 0] == TRAIN_Y).mean(), atol=1e-6)

    shifted = (TRAIN_X + 50, TRAIN_Y, TEST_X + 50, TEST_Y)
    centred = knn(*shifted, classes=CLASSES, mesh=mesh8, center=True)["top1"]
    mean = TRAIN_X.mean(0)
    ranked = knn_oracle(20, 0.1, TRAIN_X - mean, TEST_X - mean)
    np.testing.assert_allclose(centred, (ranked[:, 0] == TEST_Y).mean(), atol=0.01)
    assert knn(*shifted, classes=CLASSES, mesh=mesh8)["top1"] < centred


def test_without_a_mesh_all_devices_are_taken_and_classes_are_counted(mesh8):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    assert len(jax.devices()) == 8
    assert evaluation.knn(*arrays) == knn(*arrays, classes=CLASSES, mesh=mesh8)


def test_bad_arguments(mesh1):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    with pytest.raises(UserError, match="k=0"):
        knn(*arrays, classes=CLASSES, mesh=mesh1, k=0)
    with pytest.raises(UserError, match="temperature=0"):
        knn(*arrays, classes=CLASSES, mesh=mesh1, temperature=0)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"k": -1}, r"^evals\.knn\.k=-1 must be at least 0$"),
        ({"temperature": 0.0}, r"^evals\.knn\.temperature=0\.0 must be positive$"),
        ({"temperature": float("nan")}, r"evals\.knn\.temperature=nan"),
    ],
)
def test_fields_that_cannot_be(section, message):
    with pytest.raises(UserError, match=message):
        KNN.from_config(section)


def test_k_may_be_chosen_on_training_images(mesh1):
    """The candidate with the best leave-one-out accuracy of the training images, whatever the test images say."""
    from jssl.evaluation.base import Encode, EvalContext, EvalData
    from jssl.evaluation.extract import Features

    train, query = (Features(x, y, np.arange(len(y))) for x, y in ((TRAIN_X, TRAIN_Y), (TEST_X, TEST_Y)))
    sources = {"labeled": train, "query": query}

    class Program:
        mesh = mesh1

    data = EvalData(labeled="labeled", query="query", unlabeled=None, classes=CLASSES)
    encode = Encode(lambda source, output: sources[source])
    values = KNN(k=0, candidates=(1, 5, 200)).run(encode, data, EvalContext(Program(), None)).values
    measure = functools.partial(knn, TRAIN_X, TRAIN_Y, classes=CLASSES, mesh=mesh1)
    alone = {k: measure(TRAIN_X, TRAIN_Y, k=k, leave_one_out=True)["top1"] for k in (1, 5, 200)}
    assert values["k"] == max(alone, key=alone.get)
    assert values["top1"] == measure(TEST_X, TEST_Y, k=values["k"])["top1"]
    with pytest.raises(UserError, match=r"evals\.knn\.candidates=\(0,\) must be a tuple of whole numbers"):
        KNN.from_config({"candidates": (0,)})
