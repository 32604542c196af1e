import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jssl import evaluation
from jssl.errors import UserError
from jssl.evaluation.linear import Linear, linear
from tests.evaluation.clusters import CLASSES, TEST_X, TEST_Y, TRAIN_X, TRAIN_Y


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


def test_without_a_mesh_all_devices_are_taken_and_classes_are_counted(mesh8):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    assert evaluation.linear(*arrays) == linear(*arrays, classes=CLASSES, mesh=mesh8)


@pytest.mark.parametrize("options", [{"l2": ()}, {"l2": (-1e-3,)}, {"max_iterations": 0}])
def test_bad_arguments(mesh1, options):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    with pytest.raises(UserError, match=next(iter(options))):
        linear(*arrays, classes=CLASSES, mesh=mesh1, **options)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"l2": ()}, r"^evals\.linear\.l2=\(\) must be one or more numbers"),
        ({"l2": (1e-3, -1e-3)}, r"^evals\.linear\.l2=\(0\.001, -0\.001\) must be"),
        ({"l2": "1e-3"}, r"^evals\.linear\.l2='1e-3' must be numbers in parentheses"),
        ({"max_iterations": 0}, r"^evals\.linear\.max_iterations=0 must be at least 1$"),
    ],
)
def test_fields_that_cannot_be(section, message):
    with pytest.raises(UserError, match=message):
        Linear.from_config(section)
