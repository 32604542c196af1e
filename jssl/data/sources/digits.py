"""Scikit-learn's 1,797 handwritten digits, 8x8, grey or coloured, embedded: no download."""

from __future__ import annotations

import numpy as np

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source

SATURATION = 0.8


def digits() -> dict[str, Source]:
    """Scikit-learn's digits: train 1,437 and test 360, drawn once, the same share of every class."""
    images, labels = grey_digits()
    return _splits("digits", images[..., None], labels)


def colored_digits() -> dict[str, Source]:
    """The same digits with coloured ink: its hue is the direction in which the image gets brighter.

    So colours are made of the grey image alone, and not of its class; and to tell them from it, one must see edges.
    """
    images, labels = grey_digits()
    return _splits("colored_digits", tinted(images), labels)


def grey_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[1797, 8, 8] and labels int32[1797]."""
    from sklearn import datasets

    data = datasets.load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8), data.target.astype(np.int32)


def split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the digits that train and of those that test, drawn once, the same share of every class."""
    from sklearn import model_selection

    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return {"train": np.sort(train), "test": np.sort(test)}


def _splits(name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Source]:
    return {
        split: ArraySource(name, images[rows], labels[rows]) for split, rows in split_rows(labels).items()
    }


def tinted(images: np.ndarray) -> np.ndarray:
    """Grey images uint8[N, H, W] as uint8[N, H, W, 3] of the same brightness (V of HSV) and of a hue for every edge."""
    down, right = np.gradient(images.astype(np.float64), axis=(1, 2))
    hue = np.arctan2(down, right) * (3 / np.pi)  # in sixths of the circle
    distance = np.abs((hue[..., None] + np.array([0.0, 4.0, 2.0])) % 6 - 3)
    pure = np.clip(distance - 1, 0, 1)
    return np.round(images[..., None] * (1 - SATURATION + SATURATION * pure)).astype(np.uint8)
