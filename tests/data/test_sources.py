import io
import os
import pathlib
import time

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.sources import ArraySource, BadImage
from jssl.data.sources import tfds as tfds_source
from jssl.errors import UserError

TFDS = os.environ.get("TFDS_DATA_DIR", str(pathlib.Path(__file__).parents[3] / "shared" / "tfds"))
needs_tfds = pytest.mark.skipif(
    not pathlib.Path(TFDS, "cifar10").is_dir(), reason="no prepared cifar10 below TFDS_DATA_DIR"
)


def png(folder, name, colour=(10, 20, 30), size=(5, 4)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def test_digits_are_real_and_split_evenly():
    train, test = sources.load("digits", "train"), sources.load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.image_shape == (8, 8, 1)
    assert train.images.max() == 255
    assert train.images.min() == 0
    assert np.bincount(test.labels()).min() >= 34
    both = np.concatenate([train.images, test.images]).reshape(1797, -1)
    assert len(np.unique(both, axis=0)) == 1797  # no image stands in both


@pytest.mark.parametrize(
    ("spec", "rows"),
    [("train[:10%]", range(144)), ("train[1400:]", range(1400, 1437)), ("train[5:7]", (5, 6))],
)
def test_slicing(spec, rows):
    whole, part = sources.load("digits", "train"), sources.load("digits", spec)
    np.testing.assert_array_equal(part.images, whole.images[list(rows)])
    np.testing.assert_array_equal(part.labels(), whole.labels()[list(rows)])


def test_a_flat_folder_is_unlabelled(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "deep/d.png"):
        png(tmp_path, name)
    (tmp_path / "notes.txt").write_text("not an image")
    source = sources.load(str(tmp_path), "train")
    assert [source.filename(i) for i in range(len(source))] == ["a.JPG", "b.png", "c.webp", "deep/d.png"]
    assert source.labels() is None
    assert source.class_names is None
    assert source.image_shape is None
    np.testing.assert_array_equal(
        source.decode(source.open(1), 1), np.full((4, 5, 3), [10, 20, 30], np.uint8)
    )


def test_a_folder_of_classes(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "ant/x/1.png"):
        png(tmp_path, name)
    source = sources.load(str(tmp_path), "train")
    assert source.class_names == ("ant", "cat")
    np.testing.assert_array_equal(source.labels(), [0, 1, 1])


def test_train_and_val_folders(tmp_path):
    for name in ("train/1.png", "train/2.png", "val/1.png"):
        png(tmp_path, name)
    assert len(sources.load(str(tmp_path), "train")) == 2
    assert len(sources.load(str(tmp_path), "test")) == 1
    assert sources.has_split(str(tmp_path), "test")
    assert not sources.has_split(str(tmp_path / "train"), "test")


def test_arrays(tmp_path):
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.savez(tmp_path / "a.npz", images=images, labels=[1, 0], test_images=images[:1], test_labels=[1])
    train = sources.load(str(tmp_path / "a.npz"), "train")
    assert train.image_shape == (3, 3, 1)
    np.testing.assert_array_equal(train.labels(), [1, 0])
    assert len(sources.load(str(tmp_path / "a.npz"), "test")) == 1
    np.save(tmp_path / "b.npy", images)
    assert sources.load(str(tmp_path / "b.npy"), "train").labels() is None


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


def test_in_memory_keeps_count_of_the_unreadable(tmp_path):
    good = ArraySource("x", np.ones((3, 2, 2, 3), np.uint8), np.arange(3))

    class Broken(sources.Subset):
        def handles(self, indices):
            return [b"no image" if i == 1 else good.images[i] for i in indices]

    memory = sources.in_memory(Broken(good, np.arange(3)))
    assert list(memory.bad) == [1]
    with pytest.raises(BadImage, match=r"x\[1\]"):
        memory.open(1)
    assert list(sources.subset(memory, np.array([2, 1])).bad) == [1]
    assert not sources.subset(memory, np.array([2, 0])).bad


def errors(tmp_path):
    (tmp_path / "empty").mkdir()
    png(tmp_path, "folder/1.png")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 3, 3, 3)))
    np.savez(tmp_path / "short.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=[1])
    np.savez(tmp_path / "negative.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=[1, -1])
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04abc")
    return {
        ("", "train"): "config.data.name is empty",
        ("digits", "validation"): "unknown split 'validation'.*valid are test, train",
        ("digits", "train[:x%]"): "cannot read the split",
        (str(tmp_path / "empty"), "train"): "no images below",
        (str(tmp_path / "folder"), "test"): "unknown split 'test'",
        (str(tmp_path / "nowhere"), "train"): "there is no folder",
        (str(tmp_path / "nowhere.npz"), "train"): "there is no file",
        (str(tmp_path / "other.npz"), "train"): "no array 'images', only pictures",
        (str(tmp_path / "floats.npz"), "train"): "must be uint8",
        (str(tmp_path / "short.npz"), "train"): r"labels must be int\[2\]",
        (str(tmp_path / "negative.npz"), "train"): "labels must not be negative",
        (str(tmp_path / "broken.npz"), "train"): "cannot read",
        (str(tmp_path / "cut.npz"), "train"): "cannot read",
        ("cifar11", "train"): "unknown data set 'cifar11': did you mean 'cifar1",
    }


def test_every_mistake_is_named(tmp_path):
    for (name, split), message in errors(tmp_path).items():
        with pytest.raises(UserError, match=message):
            sources.load(name, split, str(tmp_path))


def test_an_unprepared_set_fails_soon_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "reachable", lambda url: False)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not prepared in .* cannot be reached.*TFDS_DATA_DIR"):
        sources.load("cifar10", "train", str(tmp_path))
    with pytest.raises(UserError, match="must be downloaded by hand"):
        sources.load("imagenet2012", "train", str(tmp_path))
    assert time.monotonic() - start < 10
    assert not list(tmp_path.iterdir())


def test_reachable_asks_once_and_briefly():
    start = time.monotonic()
    assert not tfds_source.reachable("http://127.0.0.1:9/", timeout=1)  # nobody listens on the discard port
    assert time.monotonic() - start < 3


@needs_tfds
def test_an_unknown_split_lists_those_there_are():
    with pytest.raises(UserError, match=r"no split 'validation'.*train \(50000\)"):
        sources.load("cifar10", "validation", TFDS)


def test_a_folder_may_have_a_dot_in_its_name(tmp_path):
    png(tmp_path, "holiday.2024/1.png")
    folder = str(tmp_path / "holiday.2024")
    assert len(sources.load(folder, "train")) == 1
    assert not sources.has_split(folder, "test")


def test_sixteen_bit_images_keep_their_greys(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    source = sources.load(str(tmp_path), "train")
    np.testing.assert_array_equal(source.decode(source.open(0), 0)[..., 0], ramp >> 8)


def test_files_that_need_converting_are_named(tmp_path, caplog):
    png(tmp_path, "1.png")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"phone")
    with caplog.at_level("WARNING", logger="absl"):
        sources.FolderSource(tmp_path)
    assert "1 files left out, convert them to JPEG first: IMG_1.HEIC" in caplog.text
