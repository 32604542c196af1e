"""Does a small validation set choose the same run as a large one? Zhai et al., 2019, section 7."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import rankdata

from jssl.data.splits import class_order
from jssl.errors import UserError


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a small validation set's ranking of runs with that of the full set, over many draws of it.

    Attributes:
      per_class: its images of every class.
      correlation: Spearman's, with the ranking by the full set: mean over the draws.
      low, high: 2.5 and 97.5 % of the draws lie below.
      same_winner: part of the draws whose best run is that of the full set.
      lost: accuracy on the full set that is lost by the choice, mean over the draws.
    """

    per_class: int
    correlation: float
    low: float
    high: float
    same_winner: float
    lost: float


def agreement(
    right: np.ndarray, labels: np.ndarray, per_class: int, draws: int = 1000, seed: int = 0
) -> Agreement:
    """Ranks runs by small validation sets and by the full one.

    Args:
      right: whether a run classified an image rightly, bool[R, N]; at least two runs.
      labels: int[N].
      per_class: images of every class in a small set, drawn without replacement.
      draws: small sets drawn.
      seed: of the draws.

    Raises:
      UserError: if there are fewer than two runs, or a class has fewer images.
    """
    if len(right) < 2:
        raise UserError("ranking takes two runs at least")
    smallest = np.unique(labels, return_counts=True)[1].min()
    if not 1 <= per_class <= smallest:
        raise UserError(
            f"--per_class={per_class} must be from 1 to {smallest}, the size of the smallest class"
        )
    full = right.mean(axis=1)
    rows = np.stack([draw(labels, per_class, seed + number) for number in range(draws)])
    small = right[:, rows].mean(axis=2).T  # [draws, R]
    correlations = np.array([spearman(accuracies, full) for accuracies in small])
    winners = small.argmax(axis=1)
    low, high = np.quantile(correlations, (0.025, 0.975))
    return Agreement(
        per_class,
        float(correlations.mean()),
        float(low),
        float(high),
        same_winner=float((full[winners] == full.max()).mean()),
        lost=float((full.max() - full[winners]).mean()),
    )


def draw(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of so many images of every class."""
    return np.concatenate([order[:per_class] for order in class_order(labels, seed)])


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation in [-1, 1]; ties share their mean rank. 0 where all of one side are tied."""
    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def bootstrap_interval(right: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Between which accuracies 95 % of resampled validation sets lie; right is bool[N]."""
    rng = np.random.default_rng(seed)
    found = rng.binomial(len(right), right.mean(), draws) / len(right)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
