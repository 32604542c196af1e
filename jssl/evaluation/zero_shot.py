"""Zero-shot classification: the class whose name, in a sentence, is nearest to the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jssl import settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics.classification import accuracy
from jssl.metrics.retrieval import unit_rows


@dataclasses.dataclass(frozen=True)
class ZeroShot(Evaluator):
    """Accuracy of class names as a classifier; see `class_embeddings`. No label is learnt from.

    Attributes:
      templates: sentences with {} where the name goes; several are averaged.
      classes: what there is to choose from: all classes of the data set, or those present in what is scored.
    """

    name = "zero_shot"
    needs = frozenset({"labels", "text"})
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    templates: tuple[str, ...] = ("a photo of a {}.",)
    classes: str = settings.choice("present", ("present", "all"))

    def check(self) -> None:
        valid = bool(self.templates) and all("{}" in template for template in self.templates)
        self.require("templates", valid, "must be sentences with {} in each: ('a photo of a {}.',)")

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        images = encode(data.query, "embedding")
        chosen = np.arange(data.classes) if self.classes == "all" else np.unique(images.labels)
        names = [data.class_names[label] for label in chosen]
        classes = class_embeddings(encode.texts, names, self.templates)
        ranked = chosen[np.argsort(-images.x @ classes.T, axis=1, kind="stable")]
        return Evaluation({**accuracy(ranked, images.labels), "chance": 1 / len(chosen)})


def class_embeddings(
    texts: Callable[[Sequence[str]], np.ndarray], names: Sequence[str], templates: Sequence[str]
) -> np.ndarray:
    """A direction for every class: the mean of those of its name in all sentences.

    Args:
      texts: gives embeddings float[N, D] of N texts; need not be normalised.
      names: of the classes.
      templates: sentences with {} where a name goes.

    Returns:
      float[classes, D] of norm 1.

    References:
      Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 3.1.4.
      https://arxiv.org/abs/2103.00020

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> length = lambda texts: np.array([[len(text), 1.0] for text in texts])
      >>> evaluation.class_embeddings(length, ["cat", "horse"], ["{}", "a {}"]).shape
      (2, 2)
    """
    found = texts([template.replace("{}", name) for name in names for template in templates])
    found = unit_rows(found).reshape(len(names), len(templates), -1)
    return unit_rows(found.mean(axis=1))
