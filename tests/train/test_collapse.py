"""A whole run that collapses, and the alarm that says why.

What keeps BYOL and DINO from it is tried in tests/methods/test_byol.py and test_dino.py.
"""

import logging

import jssl
from jssl.configs import byol
from tests.conftest import tiny


def test_byol_collapses_without_its_predictor(tmp_path, caplog):
    config = tiny(byol.get_config())
    config.method.update({"predictor": False, "momentum": 0.9})
    config.total_steps, config.log.every_steps, config.checkpoint.every_steps = 100, 10, 0
    config.data.unlabeled.batch_size = 64
    config.optim.update({"lr": 3e-3, "schedule": "constant"})
    config.evals.update({"knn": {"enabled": False}, "baselines": False})
    caplog.set_level(logging.WARNING)
    result = jssl.run(config, tmp_path / "run")
    assert result["collapsed"]
    assert caplog.text.count("the embeddings have collapsed") == 1
    assert "Likely causes: method.predictor=False: without a predictor" in caplog.text
    assert "COLLAPSED" in str(result)
