"""A whole run that collapses, and the alarm that says why; the same run, put right, and no alarm.

DINO's collapse is in tests/methods/test_dino.py.
"""

import logging

import jssl
from configs import byol
from tests.conftest import set_key, tiny


def run(config, folder, steps, **changes):
    config = tiny(config)
    config.total_steps, config.log.every_steps = steps, 10
    config.optim.update({"lr": 3e-3, "schedule": "constant"})
    config.data.unlabeled.batch_size = 64
    config.evals.update({"knn": {"enabled": False}, "baselines": False})
    config.checkpoint.every_steps = 0
    for key, value in changes.items():
        set_key(config, key, value)
    return jssl.run(config, folder)


def test_byol_collapses_without_its_predictor(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    well = run(byol.get_config(), tmp_path / "well", 100)
    assert not well["collapsed"]
    assert "collapsed" not in caplog.text
    ill = run(byol.get_config(), tmp_path / "ill", 100, method__predictor=False, method__ema=0.9)
    assert ill["collapsed"]
    assert "Likely causes: method.predictor=False: without a predictor" in caplog.text
    assert "COLLAPSED" in str(ill)
