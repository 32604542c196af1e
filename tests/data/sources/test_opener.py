import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources.digits import tinted
from jssl.errors import UserError
from tests.data.sources.files import png


def test_colored_digits_are_as_bright_as_the_grey_ones_and_edges_are_of_one_color():
    grey, colored = sources.load("digits", "test"), sources.load("colored_digits", "test")
    np.testing.assert_array_equal(colored.labels(), grey.labels())
    np.testing.assert_array_equal(colored.images.max(-1), grey.images[..., 0])
    ramp = np.tile(np.arange(20, 140, 20, dtype=np.uint8), (1, 6, 1))
    right, left = tinted(ramp)[0], tinted(ramp[..., ::-1])[0]
    assert (right[..., 0] > right[..., 1]).all()  # brighter to the right is red, to the left cyan
    assert (left[..., 1] > left[..., 0]).all()


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


def errors(tmp_path):
    (tmp_path / "empty").mkdir()
    png(tmp_path, "folder/1.png")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    np.savez(tmp_path / "words.npz", images=np.full((2, 3, 3, 3), "a"))
    np.savez(tmp_path / "short.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=[1])
    np.savez(tmp_path / "negative.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=[1, -1])
    (tmp_path / "broken.npz").write_bytes(b"PK no zip")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04abc")
    return {
        ("", "train"): "data.name is empty",
        ("digits", "validation"): "unknown split 'validation'.*valid are test, train",
        ("digits", "train[:x%]"): "cannot read the split",
        ("digits", "train[2000:]"): r"the split 'train\[2000:\]': train has only 1,437 images",
        (str(tmp_path / "empty"), "train"): "no images below",
        (str(tmp_path / "folder"), "test"): "unknown split 'test'",
        (str(tmp_path / "nowhere"), "train"): "there is no folder",
        (str(tmp_path / "nowhere.npz"), "train"): "there is no file",
        (str(tmp_path / "other.npz"), "train"): "no array 'images', only pictures",
        (str(tmp_path / "words.npz"), "train"): "must be uint8",
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
