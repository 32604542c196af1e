"""Workdirs and data on gs://: a stand-in that is as strict as an object store where that is awkward.

Orbax writes arrays by tensorstore, which goes past epath to the real store: here, and only for it, the checkpoints are
on the local disk.
"""

import json
import pathlib

import jax
import numpy as np
import pytest
from etils import epath
from etils.epath import backend, gpath
from PIL import Image

from jssl import storage
from jssl.data import sources
from jssl.errors import UserError
from jssl.runs import stages, workdir
from jssl.train import checkpoint
from jssl.train.metrics_file import read_lines, truncate
from jssl.train.signals import Interrupted
from tests.conftest import tiny_config
from tests.holds import stop_after


class Store(backend._OsPathBackend):
    """gs://bucket/... in a local folder: no appending, no renaming, no folder but by the objects in it."""

    def __init__(self, root):
        self.root = root
        self.writes = []

    def local(self, path):
        path = str(path)
        assert path.startswith("gs://"), f"{path} is not in the store"
        return self.root / path.removeprefix("gs://")

    def open(self, path, mode):
        assert "a" not in mode, f"{path}: object stores cannot append"
        if "w" in mode:
            self.writes.append(str(path))
            self.local(path).parent.mkdir(parents=True, exist_ok=True)
        return super().open(self.local(path), mode)

    def exists(self, path):
        return super().exists(self.local(path)) and (not self.isdir(path) or bool(self.listdir(path)))

    def isdir(self, path):
        return super().isdir(self.local(path))

    def listdir(self, path):
        return super().listdir(self.local(path))

    def makedirs(self, path, *, exist_ok=False, mode=None):
        """There are no folders to make."""

    mkdir = makedirs

    def remove(self, path):
        super().remove(self.local(path))

    def stat(self, path):
        return super().stat(self.local(path))

    def copy(self, path, dst, overwrite):
        with self.open(dst, "wb") as file:
            file.write(self.local(path).read_bytes())

    def rmtree(self, path):
        super().rmtree(self.local(path))

    def refuse(self, *_, **__):
        raise NotImplementedError("not one request, or one that leaves a mess if it is interrupted")

    rename = replace = walk = glob = refuse


@pytest.fixture
def store(tmp_path, monkeypatch):
    result = Store(tmp_path / "store")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", result)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(checkpoint, "FOLDER", str(tmp_path / "checkpoints"))
    return result


def digits(**changes):
    return tiny_config(log__pictures=True, log__tensorboard=True, log__every_steps=1, **changes)


def test_a_run_on_an_object_store_is_stopped_and_goes_on(store, monkeypatch):
    """It leaves the files that a run on the local disk does, and every line once."""
    config = digits()
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Interrupted):
            stages.run(config, "gs://bucket/run", profile_steps=1)
    bucket = store.root / "bucket" / "run"
    assert [line["step"] for line in read_lines(epath.Path("gs://bucket/run/metrics.jsonl"))] == [1, 2, 3, 4]
    with (bucket / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 0.0}\n{"step": 6, "lo')  # of a session that died before it saved
    result = stages.run(config, "gs://bucket/run")
    assert str(result.workdir) == "gs://bucket/run"
    assert {path.name for path in bucket.iterdir()} == {
        "config.json", "splits.json", "metrics.jsonl", "result.json", "tensorboard", "profile",
        "views.png", "features.png", "neighbours.png", "curves.png", "report.html",
    }  # fmt: skip
    lines = read_lines(epath.Path("gs://bucket/run/metrics.jsonl"))
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["loss"] > 0 for line in lines)
    assert list(bucket.glob("tensorboard/events*"))
    assert list(bucket.glob("profile/**/*.xplane.pb"))
    before = len(store.writes)
    assert stages.run(config, "gs://bucket/run").values == result.values
    assert len(store.writes) == before, "a finished run is only read"
    with pytest.raises(UserError, match="holds a run of another config"):
        stages.run(digits(seed=1), "gs://bucket/run")


def test_metrics_are_rewritten_now_and_then_not_at_every_line(store, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(storage.time, "monotonic", lambda: clock[0])
    path = epath.Path("gs://bucket/metrics.jsonl")
    growing = storage.GrowingFile(path)
    for number in range(100):
        clock[0] += 1.0
        growing.append(f'{{"step": {number}}}')
    assert len(store.writes) == 3, "every half minute"
    growing.sync()
    growing.sync()
    assert len(store.writes) == 4, "nothing new, nothing to write"
    assert [line["step"] for line in read_lines(path)] == list(range(100))
    truncate(path, 9)
    storage.GrowingFile(path).append("")
    assert [line["step"] for line in read_lines(path)] == list(range(10)), "later sessions keep what is there"


def test_a_store_that_fails_for_a_moment_stops_nothing(store, monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(storage.time, "monotonic", lambda: clock[0])
    growing = storage.GrowingFile(epath.Path("gs://bucket/metrics.jsonl"))
    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", Store.refuse)
        clock[0] += 60
        growing.append("1")
        with pytest.raises(NotImplementedError):
            growing.sync()
    assert "cannot write gs://bucket/metrics.jsonl for now" in caplog.text
    growing.sync()
    assert epath.Path("gs://bucket/metrics.jsonl").read_text() == "1\n"


def test_without_the_package_for_the_store_the_user_is_told(monkeypatch):
    def missing(*_):
        raise ImportError("Install gcsfs to access GCS")

    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(backend._FileSystemSpecBackend, "exists", missing)
    with pytest.raises(UserError, match=r"pip install 'jssl\[gcs\]'"):
        workdir.check(epath.Path("gs://bucket/run"), tiny_config())


def test_images_and_arrays_on_an_object_store(store, photos):
    store.root.mkdir()
    photos.rename(store.root / "photos")
    folder = sources.load("gs://photos", "train")
    local = sources.load(str(store.root / "photos"), "train")
    assert [folder.filename(i) for i in range(len(folder))] == [local.filename(i) for i in range(len(local))]
    for index in (0, 3, 23):
        pixels = [source.decode(source.open(index), index) for source in (folder, local)]
        np.testing.assert_array_equal(*pixels)
    for name in ("cat", "dog"):
        (store.root / "animals" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(store.root / "animals" / name / "one.png")
    assert sources.load("gs://animals", "train").class_names == ("cat", "dog")
    images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    np.savez(store.root / "images.npz", images=images, labels=np.asarray([0, 1]))
    arrays = sources.load("gs://images.npz", "train")
    np.testing.assert_array_equal(np.stack(arrays.handles([0, 1])), images)
    with pytest.raises(UserError, match="there is no folder gs://nothing"):
        sources.load("gs://nothing", "train")


def test_checkpoints_go_to_the_store(store, monkeypatch):
    """And not to a local folder called gs:, as pathlib would have it; broken ones are moved object by object."""
    folders = []

    class Manager:
        def __init__(self, folder, options):
            folders.append(str(folder))

        def close(self):
            pass

    monkeypatch.setattr(checkpoint, "FOLDER", "checkpoints")
    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", Manager)
    writer = checkpoint.Checkpointer(epath.Path("gs://bucket/run"))
    assert folders == ["gs://bucket/run/checkpoints"]
    broken = epath.Path("gs://bucket/run/checkpoints/5")
    (broken / "state" / "d").mkdir(parents=True)
    (broken / "state" / "d" / "array").write_bytes(b"1")
    (broken / "extra").write_bytes(b"2")
    writer._set_aside(5)
    assert not broken.exists()
    aside = store.root / "bucket/run/corrupt_checkpoints/5"
    found = [str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file()]
    assert sorted(found) == ["extra", "state/d/array"]


def test_json_appears_whole_or_not_at_all(store, tmp_path):
    path = epath.Path("gs://bucket/run/result.json")
    workdir.write_json(path, {"a": 1})
    assert workdir.read_json(path) == {"a": 1}
    assert store.writes == [str(path)], "one object, one request"
    assert json.loads((store.root / "bucket/run/result.json").read_text()) == {"a": 1}
    assert jax.process_count() == 1
    assert pathlib.Path(storage.LocalFolder(epath.Path(tmp_path)).path) == tmp_path, (
        "a local folder is itself"
    )
