"""Handwritten digits scattered over an image with boxes around them: object detection without files."""

from __future__ import annotations

import numpy as np

from jssl.data.sources.annotations import Boxes
from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source
from jssl.data.sources.digits import grey_digits, split_rows
from jssl.data.sources.images import from_array

SIDE = 48  # of an image, in pixels
SIZES = (10, 20)  # of a digit's height, the least and the most
SQUEEZE = 0.7  # least width of a digit, as a part of its height
MOST = 4  # digits of an image
TRIES = 20  # places that are tried for a digit
LENGTHS = {"train": 1500, "test": 300}


def scattered_digits() -> dict[str, Source]:
    """One to four digits of several sizes on an image, with their boxes: 1,500 images to train on and 300 to test.

    Images are uint8[48, 48, 1]; boxes do not overlap and are of classes '0' to '9'. The images have no labels. Digits
    of the test set are test digits.

    Example:
      >>> from jssl.data import sources
      >>> source = sources.scattered_digits()["train"]
      >>> len(source), source.image_shape, source.boxes()[0].where.shape
      (1500, (48, 48, 1), (4, 4))
    """
    images, labels = grey_digits()
    found: dict[str, Source] = {}
    for number, (split, rows) in enumerate(split_rows(labels).items()):
        rng = np.random.default_rng(number)
        drawn = [scattered(images[rows], labels[rows], rng) for _ in range(LENGTHS[split])]
        canvas = np.stack([image for image, _ in drawn])[..., None]
        source = ArraySource("scattered_digits", canvas)
        found[split] = source.with_boxes([boxes for _, boxes in drawn], [str(digit) for digit in range(10)])
    return found


def scattered(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Boxes]:
    """One image of digits that do not overlap.

    Args:
      images, labels: of digits, uint8[N, 8, 8] and int[N].
      rng: draws which, how large and where.

    Returns:
      uint8[48, 48] and its boxes.
    """
    canvas, taken = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), bool)
    places, classes = list[list[int]](), list[int]()
    for row in rng.integers(len(images), size=rng.integers(1, MOST + 1)):
        height = int(rng.integers(SIZES[0], SIZES[1] + 1))
        width = round(height * rng.uniform(SQUEEZE, 1))
        for _ in range(TRIES):
            top, left = (int(rng.integers(0, SIDE - side + 1)) for side in (height, width))
            window = slice(top, top + height), slice(left, left + width)
            if not taken[window].any():
                taken[window], canvas[window] = (
                    True,
                    np.asarray(from_array(images[row][..., None]).resize((width, height))),
                )
                places.append([top, left, top + height, left + width])
                classes.append(int(labels[row]))
                break
    return canvas, Boxes.of(np.array(places) / SIDE, classes)
