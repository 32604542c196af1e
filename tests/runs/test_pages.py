"""Pages of runs: what is read of their folders."""

import json
import shutil

import pytest

from jssl.configs import simclr
from jssl.errors import UserError
from jssl.runs import pages, workdir
from tests.commands import called


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
    shutil.copytree(folder, tmp_path / "other" / "run")
    folders = [str(folder), str(tmp_path / "other" / "run")]
    pages.write(folders, workdir.epath.Path(tmp_path / "both.html"))
    assert all(f"<td>{name}</td>" in (tmp_path / "both.html").read_text() for name in folders)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs=", "--out={tmp}/p.html"], "--runs is empty"),
        (["--runs={tmp}", "--out={tmp}"], "is a folder: name a file"),
        (["--runs={tmp}", "--out={tmp}/no/p.html"], "there is no folder"),
        (["--runs={tmp}", "--out={tmp}/p.html"], "holds no run"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, tmp_path):
    status, _, err = called(*(text.format(tmp=tmp_path) for text in arguments), module="jssl.page")
    assert (status, err.count("\n")) == (2, 1), err
    assert message in err
