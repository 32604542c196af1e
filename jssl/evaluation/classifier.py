"""What a method's own classifier is worth, beside that of the supervised baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jssl.evaluation.extract import Features
from jssl.metrics.classification import accuracy

SURE = 0.95  # FixMatch's threshold
TOP1 = "classifier/top1"


def classify(scores: Features, class_names: Sequence[str] = ()) -> dict[str, float]:
    """Accuracy of class scores.

    Args:
      scores: x float32[N, C], with labels.
      class_names: one for each class whose accuracy shall be listed.

    Returns:
      `top1`, `top5`, `worst_class` (of the classes that occur), `largest_class_fraction` (the part of all
      pseudo-labels that fall on one class), and `of/NAME` for every class named that occurs.
    """
    ranked = np.argsort(-scores.x, axis=1, kind="stable")
    right = ranked[:, 0] == scores.labels
    each = {int(label): float(right[scores.labels == label].mean()) for label in np.unique(scores.labels)}
    shares = np.bincount(ranked[:, 0]) / len(ranked)
    named = {f"of/{name}": each[label] for label, name in enumerate(class_names) if label in each}
    return {
        **accuracy(ranked, scores.labels),
        "worst_class": min(each.values()),
        "largest_class_fraction": float(shares.max()),
        **named,
    }


def pseudo_label_quality(scores: Features) -> dict[str, float]:
    """Quality of pseudo-labels, over time where it is asked again and again.

    Args:
      scores: class scores float32[N, C] of images without labels, with the labels that training does not see.

    Returns:
      `top1` of all pseudo-labels, `largest_class_fraction` as in `classify`, `sure` (the part with a confidence of
      .95 or more), and, if there are some, `sure_top1`: how many of those are right.
    """
    p = np.asarray(jax.nn.softmax(scores.x))
    right = p.argmax(axis=1) == scores.labels
    sure = p.max(axis=1) >= SURE
    shares = np.bincount(p.argmax(axis=1)) / len(p)
    found = {"top1": right.mean(), "largest_class_fraction": shares.max(), "confident_fraction": sure.mean()}
    found |= {"confident_top1": right[sure].mean()} if sure.any() else {}
    return {name: float(value) for name, value in found.items()}


def median_of_last(history: Sequence[Mapping[str, float]], name: str, count: int) -> dict[str, float]:
    """The median of an evaluation's last `count` results; nothing if there is none."""
    values = [line[name] for line in history if name in line][-count:]
    return {f"{name}_median": float(np.median(values))} if values else {}
