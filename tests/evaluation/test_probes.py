import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl.errors import UserError
from jssl.evaluation.knn import knn
from jssl.evaluation.linear import linear

CLASSES = 6


def clusters(n, seed, noise=1.1):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, 10))
    labels = rng.integers(0, CLASSES, n)
    return (centres[labels] + noise * rng.normal(size=(n, 10))).astype(np.float32), labels.astype(np.int32)


TRAIN_X, TRAIN_Y = clusters(500, 0)
TEST_X, TEST_Y = clusters(300, 1)


def knn_oracle(k, temperature, train_x=TRAIN_X, test_x=TEST_X, leave_one_out=False):
    a = train_x / np.linalg.norm(train_x, axis=1, keepdims=True)
    b = test_x / np.linalg.norm(test_x, axis=1, keepdims=True)
    guesses = []
    for row, query in enumerate(b):
        similarity = a @ query
        if leave_one_out:
            similarity[row] = -np.inf
        votes = np.zeros(CLASSES)
        for neighbour in np.argsort(-similarity)[:k]:
            votes[TRAIN_Y[neighbour]] += np.exp(similarity[neighbour] / temperature)
        guesses.append(np.argsort(-votes))
    return np.asarray(guesses)


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


def test_linear_agrees_with_scikit_learn_on_any_mesh(mesh1, mesh8):
    l2 = 1e-2
    mean, std = TRAIN_X.mean(0), TRAIN_X.std(0)
    reference = LogisticRegression(C=1 / (l2 * len(TRAIN_X)), tol=1e-8, max_iter=1000)
    reference.fit((TRAIN_X - mean) / std, TRAIN_Y)
    expected = reference.score((TEST_X - mean) / std, TEST_Y)
    for mesh in (mesh1, mesh8):
        result = linear(TRAIN_X, TRAIN_Y, TEST_X, TEST_Y, classes=CLASSES, mesh=mesh, l2=(l2,))
        np.testing.assert_allclose(result["top1"], expected, atol=0.004)
        assert result["top5"] > result["top1"]


def test_linear_chooses_its_penalty_without_the_test_set(mesh1):
    rng = np.random.default_rng(0)
    noisy = np.concatenate([TRAIN_X, rng.normal(size=(500, 400)).astype(np.float32)], axis=1)
    noisy_test = np.concatenate([TEST_X, rng.normal(size=(300, 400)).astype(np.float32)], axis=1)
    options = {"classes": CLASSES, "mesh": mesh1}
    arrays = (noisy, TRAIN_Y, noisy_test, TEST_Y)
    chosen = linear(*arrays, l2=(1e-6, 0.3), **options)
    again = linear(*arrays[:3], np.roll(TEST_Y, 1), l2=(1e-6, 0.3), **options)
    assert chosen["l2"] == again["l2"] > 1e-6
    assert chosen["top1"] == linear(*arrays, l2=(chosen["l2"],), **options)["top1"]


def test_constant_features_and_single_examples_do_no_harm(mesh1):
    dead = np.concatenate([TRAIN_X, np.full((500, 1), 7, np.float32)], axis=1)
    dead_test = np.concatenate([TEST_X, np.full((300, 1), 9, np.float32)], axis=1)
    options = {"classes": CLASSES, "mesh": mesh1, "l2": (1e-2,)}
    with_dead = linear(dead, TRAIN_Y, dead_test, TEST_Y, **options)["top1"]
    np.testing.assert_allclose(
        with_dead, linear(TRAIN_X, TRAIN_Y, TEST_X, TEST_Y, **options)["top1"], atol=0.004
    )
    rows = [int(np.flatnonzero(label == TRAIN_Y)[0]) for label in range(CLASSES)]
    one_each = linear(TRAIN_X[rows], TRAIN_Y[rows], TEST_X, TEST_Y, classes=CLASSES, mesh=mesh1)
    assert 1 / CLASSES < one_each["top1"] < 1


def test_bad_arguments(mesh1):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    with pytest.raises(UserError, match="k=0"):
        knn(*arrays, classes=CLASSES, mesh=mesh1, k=0)
    with pytest.raises(UserError, match="temperature=0"):
        knn(*arrays, classes=CLASSES, mesh=mesh1, temperature=0)
    with pytest.raises(UserError, match="l2"):
        linear(*arrays, classes=CLASSES, mesh=mesh1, l2=())
