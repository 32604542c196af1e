"""Retrieval among images: are those of the same class the nearest?"""

from __future__ import annotations

import dataclasses

from jssl import settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics import by_class


@dataclasses.dataclass(frozen=True)
class ImageRetrieval(Evaluator):
    """Recall at k and mean average precision of every image of what is scored among all others; see `metrics.by_class`.

    Attributes:
      ks: numbers of neighbours.
      queries: at most so many images, drawn at random, are queries; 0 for all.
    """

    name = "image_retrieval"
    needs = frozenset({"labels"})
    during = False

    enabled: bool = False
    baselines: tuple[str, ...] = ("pixels", "untrained")
    ks: tuple[int, ...] = settings.sizes((1, 5, 10))
    queries: int = settings.count(2000)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        found = encode(data.query)
        return Evaluation(by_class(found.x, found.labels, self.ks, self.queries))
