"""What a method's own classifier is worth, beside that of the supervised control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from jssl import workdir
from jssl.errors import UserError
from jssl.evaluation.extract import Features
from jssl.evaluation.knn import accuracy

SURE = 0.95  # FixMatch's threshold
TOP1 = "classifier/top1"
CONTROL = f"control/{TOP1}"


def classify(scores: Features, class_names: Sequence[str] = ()) -> dict[str, float]:
    """Accuracy of class scores.

    Args:
      scores: x float32[N, C], with labels.
      class_names: one for each class whose accuracy shall be listed.

    Returns:
      `top1`, `top5`, `worst_class` (of the classes that occur), `largest_class` (the part of all guesses that fall on
      one class), and `of/NAME` for every class named that occurs.
    """
    ranked = np.argsort(-scores.x, axis=1, kind="stable")
    right = ranked[:, 0] == scores.labels
    each = {int(label): float(right[scores.labels == label].mean()) for label in np.unique(scores.labels)}
    shares = np.bincount(ranked[:, 0]) / len(ranked)
    named = {f"of/{name}": each[label] for label, name in enumerate(class_names) if label in each}
    return {
        **accuracy(ranked, scores.labels),
        "worst_class": min(each.values()),
        "largest_class": float(shares.max()),
        **named,
    }


def guesses(scores: Features) -> dict[str, float]:
    """Quality of pseudo-labels, over time where it is asked again and again.

    Args:
      scores: class scores float32[N, C] of images without labels, with the labels that training does not see.

    Returns:
      `top1` of all guesses, `largest_class` as in `classify`, `sure` (the part with a confidence of .95 or more), and,
      if there are some, `sure_top1`: how many of those are right.
    """
    p = np.asarray(jax.nn.softmax(scores.x))
    right = p.argmax(axis=1) == scores.labels
    sure = p.max(axis=1) >= SURE
    shares = np.bincount(p.argmax(axis=1)) / len(p)
    found = {"top1": right.mean(), "largest_class": shares.max(), "sure": sure.mean()}
    found |= {"sure_top1": right[sure].mean()} if sure.any() else {}
    return {name: float(value) for name, value in found.items()}


def median_of_last(history: Sequence[Mapping[str, float]], name: str, count: int) -> dict[str, float]:
    """The median of an evaluation's last `count` results; nothing if there is none."""
    values = [line[name] for line in history if name in line][-count:]
    return {f"{name}_median": float(np.median(values))} if values else {}


def control(folder: str) -> dict[str, float]:
    """The result of the supervised control in a run's folder, as `control/classifier/top1`; nothing for ''.

    Raises:
      UserError: if there is no finished run, or it has no classifier.
    """
    if not folder:
        return {}
    result = workdir.read_result(epath.Path(folder))
    if result is None or TOP1 not in result:
        raise UserError(
            f"config.evals.control={folder}: there is no finished run with a classifier; "
            "run the supervised control first (configs/supervised.py)"
        )
    return {CONTROL: float(result[TOP1])}


def hurt(values: Mapping[str, Any]) -> str:
    """A line for a result below its control's; '' if it is not, or there is no control."""
    if values.get(CONTROL, -1.0) <= values.get(TOP1, 1.0):
        return ""
    return (
        f"UNLABELLED DATA HURT: {100 * values[TOP1]:.1f} % with them, {100 * values[CONTROL]:.1f} % in the supervised "
        "control without. Are they of the same classes? Is a term's weight too large?"
    )
