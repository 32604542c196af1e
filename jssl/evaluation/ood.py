"""Out-of-distribution detection: are images of another data set told from those of this one?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jssl import settings
from jssl.data import sources
from jssl.data.sources import Source
from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics import ood
from jssl.metrics.retrieval import BLOCK, unit_rows

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.program import Program


@dataclasses.dataclass(frozen=True)
class OOD(Evaluator):
    """Area under the ROC curve of scores that shall be higher for images of what is scored than for other data.

    'knn/auroc' is of the mean cosine with the nearest training images; for a method with a classifier,
    'max_softmax/auroc' and 'energy/auroc' are of its class scores. .5 is chance.

    Attributes:
      data: the other data: a folder, an .npz, or a TFDS name.
      split: of the other data; '' for test or validation, or train if there is neither.
      k: number of neighbours.
      images: at most so many of either set, drawn at random.

    References:
      Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors, 2022. https://arxiv.org/abs/2204.06507
      Hendrycks and Gimpel, 2016 (max softmax). https://arxiv.org/abs/1610.02136
      Liu et al., Energy-based Out-of-distribution Detection, 2020. https://arxiv.org/abs/2010.03759
    """

    name = "ood"
    during = False

    enabled: bool = False
    baselines: tuple[str, ...] = ("pixels", "untrained")
    data: str = ""
    split: str = ""
    k: int = settings.size(10)
    images: int = settings.size(2000)

    def check(self) -> None:
        self.require(
            "data", bool(self.data) or not self.enabled, "must name other data: a folder or a TFDS name"
        )

    def check_run(self, program: Program, data: Data) -> None:
        self.other(data.train)

    def other(self, like: Source) -> Source:
        """The other images, with pixels of the kind that the encoder takes."""
        try:
            split = self.split or sources.split_for_tests(self.data) or "train"
            found = sources.load(self.data, split, captions=False).converted(like.channels, like.dtype)
        except UserError as error:
            raise UserError(f"evals.ood.data={self.data!r}: {error}") from error
        return some(found, self.images)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        train = data.labeled or data.unlabeled
        key = "ood/sources"  # once for the model and its baselines
        if key not in ctx.cache:
            ctx.cache[key] = (some(data.query, self.images), self.other(data.query))
        own, other = ctx.cache[key]
        bank = encode(train).x
        inside, outside = (nearness(encode(source).x, bank, self.k) for source in (own, other))
        values = {"knn/auroc": ood.auroc(inside, outside)}
        if ctx.state is not None and "logits" in ctx.program.output_names:
            logits = [encode(source, "logits").x for source in (own, other)]
            for kind in ood.SCORES:
                values[f"{kind}/auroc"] = ood.auroc(*(ood.score(each, kind) for each in logits))
        return Evaluation(values)


def some(source: Source, most: int) -> Source:
    """At most so many images of a source, drawn at random."""
    if len(source) <= most:
        return source
    return source.take(np.sort(np.random.default_rng(0).permutation(len(source))[:most]))


def nearness(x: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    """The mean cosine of every row with its k nearest in a bank, float[N].

    Args:
      x: float[N, D].
      bank: float[M, D].
      k: cut to M.
    """
    x, bank, k = unit_rows(x), unit_rows(bank), min(k, len(bank))
    found = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        found[rows] = np.partition(x[rows] @ bank.T, -k, axis=1)[:, -k:].mean(axis=1)
    return found
