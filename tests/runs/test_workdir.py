"""Who may use a folder, and with which config it goes on."""

import contextlib
import os
import shutil

import pytest
from etils import epath
from PIL import Image

import jssl
from jssl import storage
from jssl.data import sources
from jssl.errors import UserError
from jssl.runs import workdir
from jssl.runs.restore import open_run
from jssl.train.metrics_file import read_lines
from tests.conftest import tiny_config


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    folder = epath.Path(tmp_path / "run")
    with workdir.locked(folder):
        workdir.prepare(folder, tiny_config())
        before = (folder / workdir.CONFIG_FILE).read_text()
        with pytest.raises(
            UserError, match=r"is in use by process \d+ on .+: wait for its end, or choose another"
        ):
            jssl.run(tiny_config(log__every_steps=3), folder)
        assert (folder / workdir.CONFIG_FILE).read_text() == before
    assert jssl.run(tiny_config(), folder)["step"] == 6  # a lock of one that has ended is none


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to --workdir="):
        jssl.run(tiny_config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"log__every_steps": 3},
        {"evals__knn__k": 5, "evals__baselines": True},
        {"checkpoint__keep_last": 5, "checkpoint__every_steps": 2},
        {"data__max_bad_fraction": 0.5},
    ],
)
def test_what_does_not_train_may_change(tmp_path, changes):
    folder = epath.Path(tmp_path / "run")
    workdir.prepare(folder, tiny_config())
    workdir.check(folder, tiny_config(**changes))
    workdir.prepare(folder, tiny_config(**changes))
    assert workdir.as_json(workdir.read_config(folder), folder) == workdir.as_json(
        tiny_config(**changes), folder
    )


def test_what_trains_may_not_and_a_longer_run_is_told_how(tmp_path):
    folder = epath.Path(tmp_path / "run")
    workdir.prepare(folder, tiny_config())
    with pytest.raises(UserError, match=r"evals\.online: False there, True now"):
        workdir.check(folder, tiny_config(evals__online=True))
    with pytest.raises(
        UserError, match=r"total_steps: 6 there, 12 now.*--config\.init_from=.* begins with its weights"
    ):
        workdir.check(folder, tiny_config(total_steps=12))


def test_the_same_data_at_another_place(tmp_path, photos):
    config = tiny_config(data__name=str(photos), data__holdout=0.0, data__unlabeled__batch_size=8)
    folder = tmp_path / "run"
    jssl.run(config, folder)
    (folder / "result.json").unlink()
    moved = photos.rename(photos.parent / "elsewhere")
    config.data.name = f"{moved}/"
    jssl.run(config, folder)
    assert workdir.read_config(epath.Path(folder)).data.name == f"{moved}/"


def test_a_finished_run_says_what_it_does_not_apply(tmp_path, caplog):
    folder = tmp_path / "run"
    first = jssl.run(tiny_config(), folder)
    with caplog.at_level("WARNING", logger="absl"):
        again = jssl.run(tiny_config(evals__knn__k=5), folder)
    assert again.values == first.values
    assert "is finished, this is its result: evals.knn.k not applied; python -m jssl.evaluate" in caplog.text


DAMAGE = {
    "bytes": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "null": lambda path: path.write_text("null"),
    "list": lambda path: path.write_text("[1]"),
    "cut": lambda path: path.write_text('{"name": '),
    "deep": lambda path: path.write_text("[" * 100_000),
    "folder": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "splits.json", "result.json"])
def test_damaged_files_of_a_run_are_one_line(name, damage, tmp_path):
    folder = epath.Path(tmp_path / "run")
    workdir.prepare(folder, tiny_config())
    workdir.write_json(folder / "splits.json", {"info": {}})
    workdir.write_json(folder / "result.json", {"step": 1})
    (tmp_path / "run" / name).unlink()
    DAMAGE[damage](tmp_path / "run" / name)
    read = {
        "config.json": workdir.read_config,
        "splits.json": workdir.read_info,
        "result.json": workdir.read_result,
    }
    with pytest.raises(UserError, match=rf"{name} is (damaged|no file).*choose another --workdir"):
        read[name](folder)


def test_lines_of_metrics_that_cannot_be_read_are_passed_over(tmp_path, caplog):
    path = epath.Path(tmp_path / "metrics.jsonl")
    path.write_bytes(b'{"step": 1, "loss": 2}\n\xff\xfe\n[3]\n{"loss": 1}\n{"step": 4}\n{"step": 5, "lo')
    with caplog.at_level("WARNING", logger="absl"):
        assert [line["step"] for line in read_lines(path)] == [1, 4]
    assert "lines that cannot be read are passed over: 2, 3, 4" in caplog.text


def test_a_file_is_written_whole_and_follows_no_planted_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    path = epath.Path(tmp_path / "config.json")
    for name in ("config.part", ".config.json.part", "config.json.part"):
        (tmp_path / name).symlink_to(victim)
    storage.write_whole(path, "one")
    assert (path.read_text(), victim.read_text()) == ("one", "of somebody else")
    assert path.stat().mode & 0o777 == 0o666 & ~storage._UMASK
    with contextlib.suppress(RuntimeError), storage.writing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "one"
    assert [name for name in os.listdir(tmp_path) if storage.is_part(name)] == [".config.json.part"]


def changed_pixels(folder):
    """Another image in a file of the same name and size."""
    path = folder / "train" / "a" / "0.bmp"
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)


def changed_test(folder):
    Image.new("L", (9, 9), 7).save(folder / "test" / "b" / "0.bmp")


def renamed_class(folder):
    (folder / "train" / "b" / "1.bmp").rename(folder / "train" / "a" / "10.bmp")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_pixels, "labels of train"),
        (changed_test, "of the test set"),
        (renamed_class, "labels of train"),
    ],
)
def test_data_that_changed_are_noticed_by_whoever_opens_them(change, words, tmp_path):
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for number in range(10):
                image = Image.new("L", (8, 8), 10 * number + ord(label))
                image.save(tmp_path / "data" / split / label / f"{number}.bmp")
    config = tiny_config(data__name=str(tmp_path / "data"), data__holdout=0.0, total_steps=1)
    for view in config.data.unlabeled.views.values():
        view.size = 8
    jssl.run(config, tmp_path / "run")
    open_run(tmp_path / "run")
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    config.data.name = str(tmp_path / "elsewhere")
    open_run(tmp_path / "run", config)  # the same
    change(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"the data changed since the run in .* began \(other .*{words}"):
        open_run(tmp_path / "run", config)


def test_a_workdir_that_is_not_shared_is_told_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "SHARED_SECONDS", 0.0)
    with pytest.raises(UserError, match=r"config.json of process 0 is not to be seen in process 0: give all"):
        workdir._wait_for(epath.Path(tmp_path / "config.json"))


@pytest.mark.parametrize("name", ["http://host/run", "file:///somewhere/run", "memory://run"])
def test_addresses_that_are_not_written_are_one_line(name):
    with pytest.raises(UserError, match=f"--workdir={name}: give a local folder, or one in gs://, s3://"):
        jssl.run(tiny_config(), name)
    with pytest.raises(UserError, match=f"{name}: addresses of .*:// are not read"):
        sources.load(name, "train")
