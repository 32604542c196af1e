"""Which examples train, which choose, and which of them show their labels. All seeded, all nested."""

from __future__ import annotations

import math
import re

import numpy as np

from jssl.errors import UserError


def class_order(labels: np.ndarray, seed: int) -> list[np.ndarray]:
    """For every class its positions in a seeded random order; prefixes of it give nested subsets."""
    return [
        np.random.default_rng((seed, int(label))).permutation(np.flatnonzero(labels == label))
        for label in np.unique(labels)
    ]


def parsed(spec: str) -> tuple[float, int]:
    """The per cent of every class, or the number of each, that a spec of labels names; the other one is 0.

    Raises:
      UserError: if it cannot be read.
    """
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", spec)
    count = re.fullmatch(r"(\d+) per class", spec)
    if spec == "all":
        return 100.0, 0
    if percent and 0 < float(percent[1]) <= 100:
        return float(percent[1]), 0
    if count and int(count[1]) > 0:
        return 0.0, int(count[1])
    raise UserError(f"cannot read the labels {spec!r}: write 'all', '10%' or '25 per class'")


def label_subset(labels: np.ndarray, spec: str, seed: int) -> np.ndarray:
    """Positions whose labels may be used, sorted.

    Args:
      labels: int[N].
      spec: 'all', a percentage of every class ('1%', at least one each), or a number of each ('25 per class').
      seed: a smaller subset of the same seed lies inside a larger one.

    Raises:
      UserError: if the spec cannot be read, or a class has too few examples.
    """
    if spec == "all":
        return np.arange(len(labels))
    percent, count = parsed(spec)
    orders = class_order(labels, seed)
    sizes = [count or max(1, round(len(order) * percent / 100)) for order in orders]
    short = min(len(order) for order in orders)
    if max(sizes) > max(len(order) for order in orders) or (count and sizes[0] > short):
        raise UserError(f"labels={spec!r}: the smallest class has only {short} examples")
    return np.sort(np.concatenate([order[:size] for order, size in zip(orders, sizes)]))


def imbalance_ratio(labels: np.ndarray, factor: float, seed: int) -> np.ndarray:
    """Positions of a long-tailed subset: the classes shrink exponentially in the order of their labels.

    Args:
      labels: int[N].
      factor: the first of the C classes over the last, at least 1. Class c keeps
        n_max factor^(-c / (C - 1)) examples, rounded down, n_max being the size of the largest class;
        all of its own where those are fewer, and at least one.
      seed: for one seed the subset of a larger factor lies inside that of a smaller one.

    Returns:
      int64[M], sorted.

    Raises:
      UserError: unless factor is at least 1 and finite.

    References:
      Cui et al., Class-balanced loss, 2019, section 5.1. https://arxiv.org/abs/1901.05555
    """
    if not 1 <= factor < math.inf:
        raise UserError(f"the imbalance ratio is {factor}; set it to at least 1, which leaves all images in")
    orders = class_order(labels, seed)
    most = max(map(len, orders), default=0)
    decay = factor ** (-1.0 / max(1, len(orders) - 1))
    sizes = [max(1, int(most * decay**c + 1e-6)) for c in range(len(orders))]
    chosen = [order[:size] for order, size in zip(orders, sizes)]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def holdout(
    length: int, labels: np.ndarray | None, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits positions into (train, held out), the same share of every class where there are labels.

    Raises:
      UserError: unless 0 <= fraction < 1 and something is left to train on.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"data.holdout={fraction} must be at least 0 and less than 1")
    groups = class_order(np.zeros(length, np.int32) if labels is None else labels, seed)
    held = np.concatenate([group[: round(len(group) * fraction)] for group in groups])
    if not len(held) and round(length * fraction):  # classes too small for a share of each
        return holdout(length, None, fraction, seed)
    rest = np.setdiff1d(np.arange(length), held)
    if not len(rest):
        raise UserError(f"data.holdout={fraction} leaves nothing to train on")
    return rest, np.sort(held)
