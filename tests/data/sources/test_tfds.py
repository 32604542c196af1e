import io
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jssl.data import sources
from jssl.data.pipeline import EvalBatches
from jssl.data.sources import tfds as tfds_source
from jssl.errors import UserError
from jssl.runs import workdir
from tests.commands import HANG
from tests.conftest import tiny_config
from tests.data.sources.files import TFDS, needs_tfds


@needs_tfds
def test_tfds_decodes_to_what_pil_decodes():
    source = sources.load("cifar10", "test[:64]", TFDS)
    assert (len(source), source.image_shape, source.class_names[3]) == (64, (32, 32, 3), "cat")
    (encoded,) = source.handles([5])
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    memory = sources.in_memory(source)
    np.testing.assert_array_equal(memory.images[5], pixels)
    np.testing.assert_array_equal(memory.labels(), source.labels())
    assert np.bincount(memory.labels()).size <= 10


def test_an_unprepared_set_fails_soon_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "reachable", lambda url: False)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)  # is not even tried
    with pytest.raises(UserError, match=r"not prepared in .* cannot be reached.*TFDS_DATA_DIR"):
        sources.load("cifar10", "train", str(tmp_path))
    with pytest.raises(UserError, match="must be downloaded by hand"):
        sources.load("imagenet2012", "train", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_reachable_asks_once_and_briefly():
    """A server that never answers is asked once, no longer than the timeout, which only a test may shorten."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert not tfds_source.reachable(f"http://{address}/", timeout=0.1)
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert not tfds_source.reachable(f"http://{address}/", timeout=HANG)  # nobody listens any more: a refusal


@needs_tfds
def test_an_unknown_split_lists_those_there_are():
    with pytest.raises(UserError, match=r"no split 'validation'.*train \(50000\)"):
        sources.load("cifar10", "validation", TFDS)


class Records:
    """What TFDS gives: records by position; remembers which were read."""

    def __init__(self, images, labels):
        self.images, self.labels, self.read = images, labels, []

    def __len__(self):
        return len(self.labels)

    def __getitems__(self, indices):
        self.read += indices
        return [{"image": self.images[i], "label": self.labels[i]} for i in indices]


def as_npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def prepared(monkeypatch, count=60):
    """A set of PNGs in records, as `sources.load` would open it; gives its records."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(out, "png")
        images.append(out.getvalue())
    records = Records(images, rng.permutation(count) % 3)

    class Builder:
        info = type("Info", (), {"splits": {}})
        info.features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 1)),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
        )

        def as_data_source(self, split, decoders):
            return records

    monkeypatch.setattr(tfds_source, "prepared_builder", lambda name, data_dir: Builder())
    return records


def test_labels_are_read_for_the_positions_asked_for_and_once(monkeypatch):
    records = prepared(monkeypatch)
    source = sources.load("shapes", "train")
    part = source.take([5, 7, 50])
    np.testing.assert_array_equal(part.labels(), records.labels[[5, 7, 50]])
    assert records.read == [5, 7, 50]
    batches = EvalBatches(source.take(np.arange(8)), 4, 6)
    assert records.read == [5, 7, 50], "nothing is read before it is asked for"
    np.testing.assert_array_equal(batches[1]["label"], records.labels[4:8])
    assert records.read == [5, 7, 50, 4, 5, 6, 7]
    np.testing.assert_array_equal(source.labels(), records.labels)
    assert sorted(records.read) == sorted([*range(60), 5, 7])


def test_a_run_notes_the_labels_it_had_to_read(monkeypatch, tmp_path):
    records = prepared(monkeypatch)
    config = tiny_config(data__name="shapes", data__test="", data__labels="5 per class", data__holdout=0.2)
    workdir.write_splits(tmp_path, workdir.open_recorded(tmp_path, config))
    assert sorted(records.read) == list(range(60))
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), records.labels)
    records.read.clear()
    again = workdir.open_recorded(tmp_path, config)
    assert records.read == []
    workdir.write_splits(tmp_path, again)  # the same
    np.testing.assert_array_equal(again.labeled()[1], again.train.labels()[again.labeled_indices])
    right = (tmp_path / "labels.npy").read_bytes()
    for damage in (
        b"cut",
        b"PK\3\4xxxxxxxxxx",
        right[:40] + b"[(" + right[42:],
        as_npy(records.labels[::-1].copy()),
    ):
        records.read.clear()
        (tmp_path / "labels.npy").write_bytes(damage)
        workdir.write_splits(tmp_path, workdir.open_recorded(tmp_path, config))
        assert sorted(records.read) == list(range(60))
        assert (tmp_path / "labels.npy").read_bytes() == right
