"""Curves of a probe on several runs: its accuracy on the way, the untrained encoder beside, one picture."""

import numpy as np
import pytest

import jssl
from jssl.errors import UserError
from jssl.runs.probe_curves import OtherData, probe_curves
from tests.commands import called
from tests.conftest import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curves") / "pretrained"
    config = tiny_config(total_steps=2, evals__sgd__batch_size=64, evals__sgd__lr=1.0)
    config.evals.sgd.view.size = 8
    jssl.run(config, folder)
    return folder


def test_the_command_line_draws_a_run_beside_the_untrained_encoder(run, tmp_path):
    out = tmp_path / "curves.png"
    arguments = (f"--runs={run}", f"--out={out}", "--epochs=0.5", "--points=2")
    status, printed, err = called(*arguments, module="jssl.probe_curves")
    assert status == 0, err
    rows = [line.split() for line in printed.splitlines()]
    assert [row[0] for row in rows] == ["epochs", "pretrained", "untrained"]
    assert float(rows[0][-1]) == 0.5
    assert all(0 <= float(cell) <= 100 for row in rows[1:] for cell in row[1:])
    assert len(rows[1]) == 3
    assert out.stat().st_size > 1000


def test_a_curve_of_other_data_rises_to_the_closing_accuracy(run, tmp_path):
    rng = np.random.default_rng(0)
    labels = (np.arange(160) % 2).astype(np.int32)
    images = (rng.integers(60, 120, (160, 8, 8, 1)) * (1 + labels[:, None, None, None])).astype(np.uint8)
    np.savez(tmp_path / "bright_or_dark.npz", images=images, labels=labels)
    found = probe_curves([str(run)], 10, 4, OtherData(str(tmp_path / "bright_or_dark.npz")))
    assert {*found} == {"pretrained", "untrained"}
    curve = found["pretrained"]
    assert [round(epoch) for epoch in curve] == [2, 5, 8, 10]
    assert curve[10] > 0.9


def test_mistakes_are_told(run, tmp_path):
    status, _, err = called(f"--runs={run}", f"--out={tmp_path}/x.jpg", module="jssl.probe_curves")
    assert (status, err.count("\n")) == (2, 1)
    assert "--out a .png" in err
    status, _, err = called(f"--runs={run}", f"--out={tmp_path}/no/x.png", module="jssl.probe_curves")
    assert (status, "there is no folder" in err) == (2, True)
    with pytest.raises(UserError, match="no run"):
        probe_curves([str(tmp_path)], 1, 1)
    np.save(tmp_path / "plain.npy", np.zeros((40, 8, 8, 1), np.uint8))
    with pytest.raises(
        UserError, match="a probe needs labels of two classes or more, and the data have none"
    ):
        probe_curves([str(run)], 1, 1, OtherData(str(tmp_path / "plain.npy")))
