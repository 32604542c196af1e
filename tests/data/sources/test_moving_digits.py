"""Clips of moving digits: a function of seed and index, inside of the canvas, at constant speed."""

import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources.moving_digits import FRAMES, SIDE, clip, paths
from jssl.errors import UserError

DIGITS = np.full((5, 8, 8), 200, np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]


@pytest.fixture(scope="module")
def clips():
    return {split: sources.load("moving_digits", split) for split in ("train", "test")}


def test_a_clip_is_a_function_of_seed_and_index():
    first, number = clip(DIGITS, 0, 7)
    assert (first.shape, first.dtype, number) == ((SIDE, SIDE, FRAMES), np.uint8, 2)
    np.testing.assert_array_equal(first, clip(DIGITS, 0, 7)[0])
    assert (first != clip(DIGITS, 1, 7)[0]).any()
    assert (first != clip(DIGITS, 0, 12)[0]).any()  # of the same digit


def test_digits_stay_whole_and_bounce():
    for index in range(50):
        frames, number = clip(DIGITS, 0, index)
        assert (frames.max(axis=(0, 1)) == DIGITS[number, 0, 0]).all()
        assert ((frames > 0).sum(axis=(0, 1)) == 64).all()
    start, velocity = np.array([[1.0, 11.0]]), np.array([[-3.0, 2.0]])
    assert paths(start, velocity, np.array([12, 12]))[0, :, 0].tolist() == [1, 2, 5, 8, 11, 10, 7, 4]
    assert paths(start, velocity, np.array([12, 12]))[0, :, 1].tolist() == [11, 11, 9, 7, 5, 3, 1, 1]
    assert (paths(start, 0 * velocity, np.array([12, 12])) == [1, 11]).all()


def test_two_digits_overlap_by_their_brighter_pixel():
    frames, number = clip(DIGITS, 0, 3, number=2)
    assert number == 3
    assert (((frames > 0).sum(axis=(0, 1)) <= 128) & ((frames > 0).sum(axis=(0, 1)) >= 64)).all()
    assert len(np.unique(frames)) in (2, 3)
    assert sources.load("moving_digits/2", "test[:10%]").image_shape == (SIDE, SIDE, FRAMES)


def test_train_and_test_are_of_other_digits_and_labels_are_theirs(clips):
    for split, source in clips.items():
        digits = sources.load("digits", split)
        images, labels = digits.gather(np.arange(len(digits)))["image"][..., 0], digits.labels()
        order = np.arange(len(source)) % len(digits)
        np.testing.assert_array_equal(source.labels(), labels[order])
        found = source.gather(np.arange(30))["image"]
        for index in range(30):
            assert found[index, ..., 0].sum() == images[order[index]].sum()
    assert len(clips["train"]) == 5000
    assert clips["train"].class_names == sources.load("digits", "train").class_names


@pytest.mark.parametrize("name", ["moving_digits/0", "moving_digits/4"])
def test_too_many_digits_are_told(name):
    with pytest.raises(UserError, match=f"data.name='{name}': a clip has 1 to 3 digits"):
        sources.load(name, "train")
