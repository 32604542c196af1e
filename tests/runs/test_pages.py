"""Pages of runs: what is read of their folders."""

import json

import pytest

from jssl.configs import simclr
from jssl.errors import UserError
from jssl.runs import pages, workdir


@pytest.fixture
def folder(tmp_path):
    """What a run leaves, but for what it learnt."""
    config = simclr.get_config("digits")
    config.optim.lr, config.data.name = 0.5, "it's mine"
    folder = workdir.epath.Path(tmp_path / "run")
    folder.mkdir()
    workdir.write_json(folder / workdir.CONFIG_FILE, workdir.as_json(config, folder))
    return folder


def test_a_run_that_is_not_finished_has_none(folder):
    with pytest.raises(UserError, match=r"holds no finished run: the same command of jssl\.main"):
        pages.shown(folder)


def test_what_is_read_of_a_folder(folder, tmp_path):
    (folder / "result.json").write_text(
        json.dumps({"knn/top1": 0.5, "evaluated_on": "test set", "step": 1000, "seconds": 61.0})
    )
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (folder / "bad_files.txt").write_text("a.jpg: truncated\nb.jpg: empty\n")
    (folder / "views.png").write_bytes(b"png")
    shown = pages.shown(folder)
    assert shown.unread == ["a.jpg: truncated", "b.jpg: empty"]
    assert shown.pictures == {"views": b"png"}
    assert shown.made.startswith("simclr with convnet on it's mine, 1,000 steps, 1 min 1 s in all, jssl ")
    words = shown.command.split(" \\\n    ")
    assert words[0] == "python -m jssl.main --config=simclr:digits"
    assert set(words[1:]) == {
        "--config.optim.lr=0.5",
        "--config.data.name='it'\"'\"'s mine'",
        "--workdir=run",
    }
    pages.write([str(folder)], workdir.epath.Path(tmp_path / "page.html"))
    assert "50.0 % of the test set right" in (tmp_path / "page.html").read_text()
