"""Scikit-learn's 1,797 handwritten digits, 8x8 grey, embedded: no download."""

from __future__ import annotations

import numpy as np

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source


def digits() -> dict[str, Source]:
    """Scikit-learn's digits: train 1,437 and test 360, drawn once, the same share of every class."""
    from sklearn import datasets, model_selection

    data = datasets.load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int32)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return {
        split: ArraySource("digits", images[np.sort(rows)], labels[np.sort(rows)])
        for split, rows in {"train": train, "test": test}.items()
    }
