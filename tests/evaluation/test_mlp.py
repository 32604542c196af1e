import numpy as np
import pytest

import jssl
from jssl.errors import UserError
from jssl.evaluation.linear import linear
from jssl.evaluation.mlp import MLP, mlp
from tests.conftest import tiny_config
from tests.evaluation.clusters import CLASSES, TEST_X, TEST_Y, TRAIN_X, TRAIN_Y

SMALL = {"hidden_dim": 32, "steps": 60}


def test_a_hidden_layer_tells_what_a_linear_classifier_cannot(mesh1):
    """Which of two signs multiplied is which: chance for a linear classifier."""
    x = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    arrays = (x[:400], y[:400], x[400:], y[400:])
    assert linear(*arrays, mesh=mesh1, l2=(1e-3,))["top1"] < 0.65
    assert mlp(*arrays, mesh=mesh1, **SMALL)["top1"] > 0.9


def test_the_same_on_any_mesh_and_again(mesh1, mesh8):
    arrays = (TRAIN_X, TRAIN_Y, TEST_X, TEST_Y)
    first, again = (mlp(*arrays, classes=CLASSES, mesh=mesh1, **SMALL) for _ in range(2))
    assert first == again
    assert mlp(*arrays, mesh=mesh8, **SMALL)["top1"] == pytest.approx(first["top1"], abs=0.01)
    assert first["top1"] > 0.8 * linear(*arrays, mesh=mesh1, l2=(1e-2,))["top1"]


def test_it_stands_in_the_table_beside_its_baselines(tmp_path):
    section = {"evals__mlp__enabled": True, "evals__mlp__hidden_dim": 8, "evals__mlp__steps": 40}
    config = tiny_config(**section, evals__baselines=True, total_steps=2)
    result = jssl.run(config, tmp_path / "run")
    for prefix in ("", "pixels/", "untrained/"):
        assert result[f"{prefix}mlp/top1"] > 2 * result["mlp/commonest_class"]
    title, *_ = (line for line in str(result).splitlines() if " knn" in line)
    assert "mlp" in title
    assert not any("mlp" in name for line in result.metrics() for name in line)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"hidden_dim": 0}, r"^evals\.mlp\.hidden_dim=0 must be at least 1"),
        ({"lr": 0.0}, r"^evals\.mlp\.lr=0\.0 must be positive"),
    ],
)
def test_fields_that_cannot_be(section, message):
    with pytest.raises(UserError, match=message):
        MLP.from_config(section)
