"""Accuracy of a method's own classifier, to be read beside the supervised baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jssl import settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import Features
from jssl.metrics.classification import accuracy

TOP1 = "classifier/top1"


@dataclasses.dataclass(frozen=True)
class Classifier(Evaluator):
    """Accuracy of the method's own classifier; see `classify`. At the end that of every class, too.

    Its baseline is a run of its own: `evals.supervised_baseline`.

    Attributes:
      median_of: the result has the median of so many last accuracies on the holdout.
    """

    name = "classifier"
    needs = frozenset({"labels", "classifier"})
    possible_baselines = ("untrained",)

    enabled: bool = False
    median_of: int = settings.size(20)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        names = data.class_names if ctx.split == "test" else ()
        return Evaluation(classify(encode(data.query, "logits"), names))


def classify(scores: Features, class_names: Sequence[str] = ()) -> dict[str, float]:
    """Accuracies of class scores, over all images and of every class.

    Args:
      scores: x float32[N, C], with labels.
      class_names: one for each class whose accuracy shall be listed.

    Returns:
      Those of `metrics.accuracy`, `largest_class_fraction` (the part of all predictions that fall on one class), and
      `of/NAME` for every class named that occurs.

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> logits, labels = np.array([[2.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
      >>> found = evaluation.classify(evaluation.Features(logits, labels, np.arange(2)))
      >>> found["top1"], found["worst_class"], found["largest_class_fraction"]
      (0.5, 0.0, 1.0)
    """
    ranked = np.argsort(-scores.x, axis=1, kind="stable")
    right = ranked[:, 0] == scores.labels
    each = {int(label): float(right[scores.labels == label].mean()) for label in np.unique(scores.labels)}
    shares = np.bincount(ranked[:, 0]) / len(ranked)
    named = {f"of/{name}": each[label] for label, name in enumerate(class_names) if label in each}
    return {
        **accuracy(ranked, scores.labels),
        "largest_class_fraction": float(shares.max()),
        **named,
    }


def median_of_last(history: Sequence[Mapping[str, float]], name: str, count: int) -> dict[str, float]:
    """The median of an evaluation's last `count` results; nothing if there is none."""
    values = [line[name] for line in history if name in line][-count:]
    return {f"{name}_median": float(np.median(values))} if values else {}
