"""The pseudo-labels of a method's classifier, beside labels that training does not see."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jssl import settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import Features

CONFIDENT = 0.95  # FixMatch's threshold


@dataclasses.dataclass(frozen=True)
class PseudoLabel(Evaluator):
    """Quality of the pseudo-labels of unlabelled training images; see `pseudo_label_quality`.

    Attributes:
      images: how many of the unlabelled stream at most, the same ones every time; 0 for none.

    References:
      Sohn et al., FixMatch, 2020, whose threshold it has. https://arxiv.org/abs/2001.07685
    """

    name = "pseudo_label"
    needs = frozenset({"labels", "classifier"})
    on_query = False
    possible_baselines = ("untrained",)

    images: int = settings.count(1000)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        source = data.hidden(self.images)
        if source is None:
            return Evaluation()
        return Evaluation(pseudo_label_quality(encode(source, "logits")))


def pseudo_label_quality(scores: Features) -> dict[str, float]:
    """Quality of pseudo-labels: accuracy, confidence and balance.

    Args:
      scores: class scores float32[N, C] of images without labels, with the labels that training does not see.

    Returns:
      `top1` of all pseudo-labels, `largest_class_fraction` as in `classify`, `confident_fraction` (the part with a
      confidence of .95 or more), and, if there are some, `confident_top1`: how many of those are right.

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> logits, labels = np.array([[5.0, 0.0], [0.0, 1.0]]), np.array([0, 0])
      >>> quality = evaluation.pseudo_label_quality(evaluation.Features(logits, labels, np.arange(2)))
      >>> quality["top1"], quality["confident_fraction"], quality["confident_top1"]
      (0.5, 0.5, 1.0)
    """
    p = np.asarray(jax.nn.softmax(scores.x))
    right = p.argmax(axis=1) == scores.labels
    confident = p.max(axis=1) >= CONFIDENT
    shares = np.bincount(p.argmax(axis=1)) / len(p)
    found = {
        "top1": right.mean(),
        "largest_class_fraction": shares.max(),
        "confident_fraction": confident.mean(),
    }
    found |= {"confident_top1": right[confident].mean()} if confident.any() else {}
    return {name: float(value) for name, value in found.items()}
