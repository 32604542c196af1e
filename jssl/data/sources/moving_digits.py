"""Clips of moving digits: scikit-learn's digits that bounce on a small canvas, drawn from a seed, without files."""

from __future__ import annotations

import functools
import re

import numpy as np

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source
from jssl.data.sources.digits import digits
from jssl.errors import UserError

NAME = r"moving_digits(?:/(\d+))?"
FRAMES, SIDE = 8, 20  # of a clip, and of its frames in pixels
SPEED = 3.0  # the largest, in pixels a frame along each axis
MOST = 3  # digits of a clip
LENGTHS = {"train": 5000, "test": 1000}
SEEDS = {"train": 0, "test": 1}


def moving_digits(name: str = "moving_digits") -> dict[str, Source]:
    """Clips of one digit, or of two or three ('moving_digits/2'): 5,000 to train on and 1,000 to test.

    An image is a clip, uint8[20, 20, 8]: its channels are the frames, one after the other. Digits of 8 pixels keep
    their velocity and bounce at the borders; where they overlap the brighter pixel is seen. The label is the class of
    the first. Those of the test clips are the test digits.

    Raises:
      UserError: for more digits than there may be.

    References:
      Srivastava et al., Unsupervised Learning of Video Representations using LSTMs, 2015 (Moving MNIST).
      https://arxiv.org/abs/1502.04681

    Example:
      >>> from jssl.data import sources
      >>> clips = sources.moving_digits()["test"]
      >>> len(clips), clips.image_shape, clips.class_names[:3]
      (1000, (20, 20, 8), ('0', '1', '2'))
    """
    number = int((re.fullmatch(NAME, name) or [""])[1] or 1)
    if not 1 <= number <= MOST:
        raise UserError(f"data.name={name!r}: a clip has 1 to {MOST} digits, as in 'moving_digits/2'")
    return {split: _split(name, split, number) for split in LENGTHS}


@functools.lru_cache(maxsize=4)
def _split(name: str, split: str, number: int) -> Source:
    still = digits()[split]
    found, labels = still.gather(np.arange(len(still))), still.labels()
    assert found is not None
    assert labels is not None
    drawn = [clip(found["image"][..., 0], SEEDS[split], index, number) for index in range(LENGTHS[split])]
    firsts = np.array([first for _, first in drawn])
    return ArraySource(name, np.stack([frames for frames, _ in drawn]), labels[firsts], still.class_names)


def clip(images: np.ndarray, seed: int, index: int, number: int = 1) -> tuple[np.ndarray, int]:
    """One clip, a function of its arguments alone.

    Args:
      images: of the digits, uint8[N, h, w].
      seed, index: which clip; its first digit is number `index` modulo N.
      number: of digits.

    Returns:
      uint8[20, 20, 8], and the position of the first digit among the images.
    """
    rng = np.random.default_rng((seed, index))
    chosen = rng.integers(len(images), size=number)
    chosen[0] = index % len(images)
    room = SIDE - np.array(images.shape[1:])
    places = paths(rng.uniform(0, room, (number, 2)), rng.uniform(-SPEED, SPEED, (number, 2)), room)
    frames = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for digit, corners in zip(images[chosen], places):
        for frame, (top, left) in zip(frames, corners):
            window = frame[top : top + digit.shape[0], left : left + digit.shape[1]]
            np.maximum(window, digit, out=window)
    return np.moveaxis(frames, 0, -1), int(chosen[0])


def paths(start: np.ndarray, velocity: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Places of points that bounce between 0 and `room`, float[N, 2], frame by frame and rounded: int[N, 8, 2].

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources.moving_digits import paths
      >>> paths(np.array([[0.0, 4.0]]), np.array([[1.0, 3.0]]), np.array([12, 12]))[0].T.tolist()
      [[0, 1, 2, 3, 4, 5, 6, 7], [4, 7, 10, 11, 8, 5, 2, 1]]
    """
    straight = start[:, None] + velocity[:, None] * np.arange(FRAMES)[:, None]
    return np.rint(room - np.abs(straight % (2 * room) - room)).astype(int)
