"""All evaluators of a run: during training on the holdout, at the end on the test set, beside baselines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from jssl import parallel
from jssl.data import splits
from jssl.data.datasets import Data
from jssl.data.sources import Source
from jssl.errors import UserError
from jssl.evaluation import evaluators
from jssl.evaluation.base import BASELINES, Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import (
    Features,
    embed_texts,
    extract_source,
    jit_pixels,
    never,
    outputs_of_sounds,
)
from jssl.evaluation.health import LABEL_FREE
from jssl.methods import OnlineProbe
from jssl.train import progress
from jssl.train.program import Program, output_shapes
from jssl.train.state import TrainState
from jssl.types import Array

Begin = Callable[[Program, TrainState], TrainState]

MIN_CLASSES = 2
# The first of these that there is chooses the best checkpoint.
SCORES = (
    "val/classifier/top1",
    "val/knn/top1",
    "val/linear/top1",
    "val/zero_shot/top1",
    "val/retrieval/text_to_image/r5",
    "val/correspondence/synchronisation",
    "val/correspondence/accuracy",
    "val/masked_tokens/accuracy",
)


class Suite:
    """Evaluates training states of one program on one data set: a loop over the evaluators that are enabled.

    Results are flat, `NAME/...`. Baselines have `pixels/` or `untrained/` before it, few labels are
    `NAME_10_per_class/...` with `..._std` beside, features of sounds beside images `audio_NAME/...`; what is measured
    on the holdout during training begins with `val/`.

    Args:
      program: whose states are evaluated.
      data: the images.
      begin: (program, fresh state) -> the state that training began with, which is the baseline 'untrained'.
    """

    def __init__(self, program: Program, data: Data, begin: Begin = lambda program, state: state):
        self.program, self.data, self.begin = program, data, begin
        self.config = program.config.evals
        parallel.check_batch_size(self.config.batch_size, program.mesh, "evals.batch_size")
        shape = (self.config.batch_size, *2 * (program.uncropped_size,), data.info.channels)
        parallel.check_fits(jax.ShapeDtypeStruct(shape, np.float32), "evals.batch_size")
        self.has_labels = data.num_classes >= MIN_CLASSES
        reads = data.tokenizer is not None and "text" in program.method.modalities
        hears = data.hears and "audio" in program.method.modalities
        there = {
            "labels": self.has_labels,
            "classifier": has_classifier(program),
            "text": reads,
            "audio": hears,
            "text or audio": reads or hears,
            "masks": "mask" in data.train.fields,
            "boxes": "boxes" in data.train.fields,
        }
        enabled = [evaluator for evaluator in evaluators(self.config) if evaluator.enabled]
        self.evaluators = [
            evaluator for evaluator in enabled if all(there.get(x, False) for x in evaluator.needs)
        ]
        for evaluator in enabled:
            evaluator.check_run(program, data)
        self.hears = hears
        self._check_per_class()
        self._check_best_by()
        self._cache: dict[str, Any] = {}

    def during(self, state: TrainState, stop: Callable[[], bool] = never) -> dict[str, float]:
        """Results during training, on the holdout; and a `score`, which chooses the best checkpoint.

        Args:
          state: to evaluate.
          stop: asked at every batch of images; where it says so, it raises Interrupted.
        """
        evaluators = (e for e in self.evaluators if e.during)
        found = self._evaluate(evaluators, state, "holdout", stop=stop).values
        score = score_of(found, self.program.config.checkpoint.best_by)
        return found if score is None else {**found, "score": score}

    def final(self, state: TrainState) -> Evaluation:
        """Final results on the test set, with the baselines that they should be read beside."""
        found = self._evaluate(self.evaluators, state, "test")
        for baseline in BASELINES if self.config.baselines else ():
            asked = [evaluator for evaluator in self.evaluators if baseline in evaluator.baselines]
            if asked:
                other = None if baseline == "pixels" else self.begin(self.program, self.program.init())
                found |= self._evaluate(asked, other, "test", baseline).prefixed(f"{baseline}/")
        return found

    def features(self, state: TrainState, source: Source) -> Features:
        """Features of any source under a training state."""
        return self._encode(state)(source)

    @property
    def query(self) -> Source:
        """Where final numbers come from: the test set; without one, the holdout; without that, train."""
        return self.data.test or self.data.val or self.data.train

    @property
    def query_name(self) -> str:
        """Which of those it is, in words."""
        if self.data.test is not None:
            return "test set"
        return (
            "train set, leave-one-out (no test set, no holdout)"
            if self.data.val is None
            else "holdout (no test set)"
        )

    @property
    def evaluated_on(self) -> str:
        """That again, or that nothing is scored on it."""
        scores = self.has_labels or any(evaluator.on_query for evaluator in self.evaluators)
        return self.query_name if scores else "nothing: no labels"

    def _evaluate(
        self,
        chosen: Iterable[Evaluator],
        state: TrainState | None,
        split: str,
        baseline: str = "",
        stop: Callable[[], bool] = never,
    ) -> Evaluation:
        """Values and figures of one model by some evaluators."""
        encode, data = self._encode(state, stop), self._data(split)
        ctx = EvalContext(self.program, state, split, baseline, self._cache, self.data.tokenizer)
        found = Evaluation()
        for evaluator in chosen:
            prefix = "val/" if split == "holdout" and evaluator.on_query else ""
            what = f"evaluating {evaluator.name}" + (f" of {baseline}" if baseline else "")
            with progress.doing(what):
                found |= evaluator.run(encode, data, ctx).prefixed(f"{prefix}{evaluator.name}/")
            if split == "test" and evaluator.on_sounds and self.hears and state is not None:
                with progress.doing(f"{what} on sounds"):
                    found |= evaluator.run(encode.of_sounds(), data, ctx).prefixed(f"audio_{evaluator.name}/")
            if split == "test" and evaluator.few_labels and data.query is not None:
                found |= self._with_few_labels(evaluator, encode, data, ctx)
        return found

    def _with_few_labels(
        self, evaluator: Evaluator, encode: Encode, data: EvalData, ctx: EvalContext
    ) -> Evaluation:
        """Mean and standard deviation over draws of some labels of every class."""
        assert data.labeled is not None
        train, found = encode(data.labeled), Evaluation()
        for count in self.config.per_class:
            if np.unique(train.labels, return_counts=True)[1].min() < count:
                logging.warning("too few readable images for %d labels per class", count)
                continue
            draws = []
            for draw in range(self.config.draws):
                rows = splits.label_subset(train.labels, f"{count} per class", seed=draw)
                few = data.labeled.take(train.index[rows])
                features = dataclasses.replace(train.rows(rows), index=np.arange(len(rows)))
                own = dataclasses.replace(data, labeled=few)
                draws.append(evaluator.run(encode.given(few, features), own, ctx).values)
            values = {name: [draw[name] for draw in draws] for name in evaluator.few_labels}
            means = {name: float(np.mean(each)) for name, each in values.items()}
            means |= {f"{name}_std": float(np.std(each)) for name, each in values.items()}
            found |= Evaluation(means).prefixed(f"{evaluator.name}_{count}_per_class/")
        return found

    def _encode(self, state: TrainState | None, stop: Callable[[], bool] = never) -> Encode:
        """The model of a state, or the pixels themselves."""
        apply: Mapping[str, Callable[[Array], Array]] = {"features": self._pixels}
        if state is not None:
            program, arrays = self.program, (state.params, state.method_state)
            names = program.output_names | {"features"}
            apply = {name: functools.partial(program.output(name), *arrays) for name in names}
        texts = sounds = None
        if state is not None and self.data.tokenizer is not None:
            texts = functools.partial(embed_texts, self.program, state, self.data.tokenizer)
        if state is not None and self.data.hears:
            sounds = functools.partial(outputs_of_sounds, self.program, state)

        def extract(source: Source, output: str) -> Features:
            return extract_source(self.program, apply[output], source, stop)

        return Encode(extract, texts, sounds)

    @functools.cached_property
    def _pixels(self) -> Callable[[Array], Array]:
        return jit_pixels(self.program.mesh, self.program.size, self.program.main.seen)

    def _data(self, split: str) -> EvalData:
        data = self.data
        return EvalData(
            labeled=self._labeled if self.has_labels else None,
            query=data.val if split == "holdout" else data.test or data.val,
            unlabeled=data.val or data.train,
            hidden=data.hidden if "unlabeled" in self.program.streams else lambda count: None,
            classes=data.num_classes,
            class_names=tuple(data.train.class_names or ()),
            train=data.train,
        )

    @functools.cached_property
    def _labeled(self) -> Source:
        """The training images whose labels may be used."""
        assert self.data.labeled_indices is not None
        if len(self.data.labeled_indices) == len(self.data.train):
            return self.data.train
        return self.data.train.take(self.data.labeled_indices)

    def _check_best_by(self) -> None:
        best_by = self.program.config.checkpoint.best_by
        needed = "health" if best_by in LABEL_FREE else best_by
        if best_by and needed not in {evaluator.name for evaluator in self.evaluators if evaluator.during}:
            raise UserError(
                f"checkpoint.best_by={best_by!r}: evals.{needed} does not run during training; enable it, or see what "
                "it needs"
            )

    def _check_per_class(self) -> None:
        if not (self.has_labels and self.config.per_class and self.data.train.labels_are_cheap):
            return
        labels = self._labeled.labels()
        assert labels is not None
        fewest = int(np.unique(labels, return_counts=True)[1].min())
        if fewest < max(self.config.per_class):
            raise UserError(
                f"evals.per_class={self.config.per_class}: the smallest class has only {fewest} labels to "
                "train on; set smaller numbers, or () for none"
            )


def score_of(found: Mapping[str, float], best_by: str = "") -> float | None:
    """What the checkpoint with the best is the largest of; None if it was not measured.

    Args:
      found: values by name.
      best_by: see `checkpoint.best_by`.

    Example:
      >>> from jssl.evaluation.suite import score_of
      >>> found = {"val/knn/top1": 0.5, "health/features/alpha_req": 1.25}
      >>> score_of(found), score_of(found, "alpha_req")
      (0.5, -0.25)
    """
    if not best_by:
        return next((found[name] for name in SCORES if name in found), None)
    if best_by not in LABEL_FREE:
        return found.get(f"val/{best_by}/top1")
    value = found.get(f"health/features/{best_by}")
    return -abs(value - 1) if best_by == "alpha_req" and value is not None else value


def has_classifier(program: Program) -> bool:
    """Whether a program's method itself can tell classes; a probe beside it does not count."""
    own = program.method.inner if isinstance(program.method, OnlineProbe) else program.method
    params, state = jax.eval_shape(program.init_method)
    return "logits" in output_shapes(own, params, state, program.views)
