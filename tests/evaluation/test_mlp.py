import numpy as np
import pytest

from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.evaluation.linear import linear
from jssl.evaluation.mlp import MLP, mlp
from jssl.evaluation.suite import Suite
from jssl.report.tables import table
from jssl.train.program import make_program
from tests.conftest import tiny_config

SMALL = {"hidden_dim": 32, "steps": 60}


def test_a_hidden_layer_tells_what_a_linear_classifier_cannot_on_any_mesh(mesh1, mesh8):
    """Whether two numbers have the same sign."""
    x = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    arrays = (x[:400], y[:400], x[400:], y[400:])
    assert linear(*arrays, mesh=mesh1, l2=(1e-3,))["top1"] < 0.65
    one, again, eight = (mlp(*arrays, mesh=mesh, **SMALL) for mesh in (mesh1, mesh1, mesh8))
    assert one["top1"] > 0.9
    assert one == again
    assert eight["top1"] == pytest.approx(one["top1"], abs=0.02)


def test_it_stands_in_the_table_beside_its_baselines():
    section = {"evals__mlp__enabled": True, "evals__mlp__hidden_dim": 8, "evals__mlp__steps": 40}
    config = tiny_config(**section, evals__knn__enabled=False, evals__baselines=True)
    data = open_data(config)
    suite = Suite(make_program(config, data.info), data)
    values = {**suite.final(suite.program.init()).values, "evaluated_on": "test set"}
    for prefix in ("", "pixels/", "untrained/"):
        assert values[f"{prefix}mlp/top1"] > 2 * values["mlp/commonest_class"]
    assert "mlp" in table(values).splitlines()[1]


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
