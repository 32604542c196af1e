"""Images that show several classes: a linear support vector machine for each (the protocol of VOC 2007)."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from jssl import settings
from jssl.data.sources import Source, label_sets
from jssl.errors import UserError
from jssl.evaluation import dense
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics.classification import average_precision

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.program import Program

POSITIVE_WEIGHT = 2.0  # of an image of the class, beside 1 of others
MAX_ITERATIONS = 2000
EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class MultiLabel(Evaluator):
    """Mean average precision of linear classifiers of the classes whose objects an image shows.

    The features of whole images, as squares of the size of the run, are divided by their length; every class has a
    support vector machine with the squared hinge, and its own cost, chosen by cross-validation on train. 'map' is the
    mean over the classes that train and the scored set both show, 'ap/CLASS' one of them, 'classes' their number, and
    'chance' the map of a ranking at random, the mean part of images that show a class. The classes of an image are
    those of its boxes; objects that are crowds or difficult alone leave it out of the score of their class.

    Attributes:
      costs: of a training image on the wrong side, to choose from.
      folds: of the cross-validation; a class with fewer images takes the middle cost.
      points: 0 for the area under the curve of precision and recall (VOC 2010), 11 for eleven points of it (VOC 2007).

    References:
      Goyal et al., Scaling and Benchmarking Self-Supervised Visual Representation Learning, 2019, section 6.1.
      https://arxiv.org/abs/1905.01235
    """

    name = "multilabel"
    needs = frozenset({"boxes"})
    during = False

    enabled: bool = False
    baselines: tuple[str, ...] = ("pixels", "untrained")
    costs: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    folds: int = settings.size(3, at_least=2)
    points: int = settings.choice(0, (0, 11))

    def check(self) -> None:
        valid = bool(self.costs) and min(self.costs) > 0
        self.require("costs", valid, "must be one or more positive numbers")

    def check_run(self, program: Program, data: Data) -> None:
        dense.check_annotated("boxes", "evals.multilabel.enabled", data)
        train, query = data.train, data.test or data.val
        assert query is not None
        dense.check_same_classes("evals.multilabel", train, query)
        scored_classes(train, query)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None or data.train is None:
            return Evaluation()
        names = data.train.fields["boxes"].classes or ()
        classes = scored_classes(data.train, data.query)
        if len(classes) < len(names):
            logging.warning(
                "multilabel: %d of %d classes are scored; the others are not in both sets, or in all images",
                *(len(classes), len(names)),
            )
        train, query = (dense.features(x, ctx.program.size, ctx) for x in (data.train, data.query))
        shown, truth = (
            sets_of(source)[found.index] for source, found in ((data.train, train), (data.query, query))
        )
        values, parts = {}, []
        for label in classes:
            scores = svm_scores(train.x, shown[:, label] == 1, query.x, self.costs, self.folds)
            scored, positive = truth[:, label] >= 0, truth[:, label] == 1
            if not positive.any():
                continue
            values[f"ap/{names[label]}"] = average_precision(scores[scored], positive[scored], self.points)
            parts.append(float(positive[scored].mean()))
        means = {"map": float(np.mean([*values.values()])), "chance": float(np.mean(parts))}
        return Evaluation({**means, "classes": float(len(values)), **values})


def sets_of(source: Source) -> np.ndarray:
    """Which classes every image of a source shows, int8[N, classes], see `label_sets`."""
    boxes = source.boxes()
    assert boxes is not None, "check_run looked"
    return label_sets(boxes, len(source.fields["boxes"].classes or ()))


def scored_classes(train: Source, query: Source) -> list[int]:
    """The classes that images of both sources show, and not all of train.

    Raises:
      UserError: if there is none.
    """
    shown, truth = (sets_of(source) == 1 for source in (train, query))
    found = np.flatnonzero(shown.any(axis=0) & ~shown.all(axis=0) & truth.any(axis=0))
    if not len(found):
        raise UserError(f"evals.multilabel: no class is in boxes of both {train.name} and {query.name}")
    return [int(label) for label in found]


def svm_scores(
    train_x: np.ndarray,
    positive: np.ndarray,
    test_x: np.ndarray,
    costs: Sequence[float] = (0.01, 0.1, 1.0, 10.0, 100.0),
    folds: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """Scores of a linear support vector machine of one class against the rest, float[M].

    Args:
      train_x: float[N, D]; rows are divided by their length.
      positive: bool[N], some True and some False.
      test_x: float[M, D].
      costs: to choose from, by the mean average precision over folds of train; the smallest of equal ones.
      folds: their number; with fewer images of either kind the middle cost is taken.
      seed: of the folds.

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> x = np.array([[1.0, 0.1], [1.0, -0.1], [0.9, 0.0], [0.1, 1.0], [-0.1, 1.0], [0.0, 0.9]])
      >>> scores = evaluation.svm_scores(x, np.arange(6) < 3, x)
      >>> (scores[:3].min() > scores[3:].max()).item()
      True
    """
    from sklearn.model_selection import StratifiedKFold

    train_x, test_x = (
        (x / (np.linalg.norm(x, axis=1, keepdims=True) + EPSILON)).astype(np.float64)
        for x in (train_x, test_x)
    )
    costs = sorted(costs)
    chosen = costs[len(costs) // 2]
    if len(costs) > 1 and min(positive.sum(), (~positive).sum()) >= folds:
        parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(train_x, positive))

        def validated(cost: float) -> float:
            each = [
                average_precision(_fitted(train_x[own], positive[own], train_x[held], cost), positive[held])
                for own, held in parts
            ]
            return float(np.mean(each))

        chosen = max(costs, key=validated)
    return _fitted(train_x, positive, test_x, chosen)


def _fitted(train_x: np.ndarray, positive: np.ndarray, x: np.ndarray, cost: float) -> np.ndarray:
    """Scores of other images by a machine of one cost."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(
        C=cost, class_weight={True: POSITIVE_WEIGHT}, max_iter=MAX_ITERATIONS, dual="auto", random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol stops there, too
        scores: np.ndarray = machine.fit(train_x, positive).decision_function(x)
    return scores
