"""python -m jssl.sweep as users type it."""

import json
import re

import pytest

from tests.commands import SIMCLR, TINY, called
from tests.test_command_lines import refused

RUN = (SIMCLR, *TINY, "--config.total_steps=10", "--config.evals.every_steps=5")


def test_a_grid_runs_and_the_same_command_shows_it_again(tmp_path):
    command = (*RUN, "--grid=optim.lr=.001,.01", f"--out={tmp_path}/out", "--parallel=2")
    status, out, err = called(*command, module="jssl.sweep")
    assert status == 0, err
    assert out.count(" of 2 finished: lr=0.0") == 2
    assert re.search(r"^score +lr +step$", out, re.MULTILINE)
    values = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert values["score"] == "val/knn/top1"
    assert {run["lr"]: run["status"] for run in values["runs"]} == {"0.001": "finished", "0.01": "finished"}
    config = json.loads((tmp_path / "out" / "lr=0.01" / "config.json").read_text())
    assert config["optim"]["lr"] == 0.01

    status, again, err = called(*command, "--per_class=1", "--draws=20", module="jssl.sweep")
    assert status == 0, err
    assert "2 runs, 2 of them finished before" in again
    assert re.findall("the winner is .*", again) == re.findall("the winner is .*", out)
    assert "small validation sets" in again


# Each is one line, and makes no folder.
MISTAKES = {
    "nothing to run": ([SIMCLR], "give --grid=.* or --sweep"),
    "two kinds": ([SIMCLR, "--grid=seed=1", "--sweep=augmentations"], "--sweep has a config of its own"),
    "no config": (["--grid=seed=1"], "--config is missing"),
    "a key mistyped": ([SIMCLR, "--grid=optim.lrr=1"], r"did you mean optim\.lr"),
    "a key for all and for each": ([SIMCLR, "--grid=seed=1", "--config.seed=2"], r"--config\.seed differs"),
    "one of a sweep": (["--sweep=temperature_batch", "--config.method.temperature=1"], "temperature differs"),
    "two words": ([SIMCLR, "--grid=seed=1", "--config.seed", "2"], "written --name=value"),
    "a sweep in two words": ([SIMCLR, "--sweep", "augmentations"], "written --name=value"),
    "draws of a sweep": (["--sweep=augmentations", "--random=2"], "leave out --sweep"),
    "sizes": ([SIMCLR, "--grid=seed=1", "--per_class=0"], "--per_class takes numbers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_helpful_line(mistake, tmp_path):
    arguments, words = MISTAKES[mistake]
    said = refused(*arguments, f"--out={tmp_path}/out", module="jssl.sweep")
    assert re.search(words, said), said
    assert not (tmp_path / "out").exists()


def test_what_the_runs_of_a_shipped_sweep_share_may_be_changed(tmp_path):
    arguments = (
        "--sweep=temperature_batch",
        "--config.total_epochs=3",
        f"--out={tmp_path}",
        "--print=commands",
    )
    status, out, err = called(*arguments, module="jssl.sweep")
    assert status == 0, err
    lines = out.splitlines()
    assert len(lines) == 15
    assert all(line.count("total_epochs=3") == line.count("total_epochs=") == 1 for line in lines)
    assert not list(tmp_path.iterdir())
