"""All evaluations of a run: during training on the holdout, at the end on the test set, beside baselines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from jssl import parallel
from jssl.data import normalization, splits
from jssl.data.datasets import Data
from jssl.data.pipeline import BadImages, EvalBatches, TrainBatches
from jssl.data.sources import Source
from jssl.errors import UserError, check_numbers
from jssl.evaluation import classifier, health, sgd
from jssl.evaluation.extract import Features, extract, jit_pixels
from jssl.evaluation.health import Health
from jssl.evaluation.knn import check_knn, knn
from jssl.evaluation.linear import check_linear, linear
from jssl.metrics.classification import accuracy
from jssl.train.program import Program
from jssl.train.state import TrainState
from jssl.types import Array

Results = dict[str, float]
MIN_CLASSES = 2


class Suite:
    """Evaluates training states of one program on one data set.

    Results are flat: `knn/top1`, `linear/top1`, `linear_10_per_class/top1` and `.../top1_std`, `sgd/top1`, each
    with `untrained/` and (but for sgd, which needs an encoder) `pixels/` before it for the baselines, and `val/`
    during training, where neither sgd nor few labels are tried. `classifier/*` is the method's own classifier, see
    classifier.py; its baseline is the supervised baseline, which is a run of its own; `pseudo_label/*` is what its
    pseudo-labels of images without labels are worth. `health/*` (see health.py)
    needs no labels and has no `val/`; its images are those of the holdout, or of train without one.
    """

    def __init__(self, program: Program, data: Data):
        self.program, self.data = program, data
        self.config = program.config.evals
        parallel.check_batch_size(self.config.batch_size, program.mesh, "config.evals.batch_size")
        if self.config.sgd.enabled:
            parallel.check_batch_size(self.config.sgd.batch_size, program.mesh, "config.evals.sgd.batch_size")
        self.has_labels = data.num_classes >= MIN_CLASSES
        self.health = Health(program, data.val or data.train) if self.config.health.enabled else None
        if self.has_labels and self.config.per_class and data.train.labels_are_cheap:
            labels = self._visible().labels()
            assert labels is not None
            fewest = int(np.unique(labels, return_counts=True)[1].min())
            if fewest < max(self.config.per_class):
                raise UserError(
                    f"evals.per_class={self.config.per_class}: the smallest class has only {fewest} labels to "
                    "train on; set smaller numbers, or () for none"
                )

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

    def during(self, state: TrainState) -> Results:
        """Health; kNN and linear accuracy on the holdout (kNN leave-one-out on train if there is none); a `score`."""
        results = self._health(state)
        if not self.has_labels:
            return results
        results |= self._probe(self._encoder(state), self.data.val, draws=False, prefix="val/")
        if self.data.val is not None:
            results |= self._classifier(state, self.data.val, "val/")
        results |= self._guesses(state)
        name = next(
            (f"val/{n}/top1" for n in ("classifier", "knn", "linear") if f"val/{n}/top1" in results), None
        )
        return results if name is None else {**results, "score": results[name]}

    def final(self, state: TrainState) -> Results:
        """Everything, on the test set; the baselines are what any number should be read beside."""
        test, baselines = self.data.test or self.data.val, self.config.baselines
        results = self._worth(state, test)
        if test is not None:
            results |= self._classifier(state, test, "", self.data.train.class_names or ())
        results |= self._guesses(state)
        if baselines and self.has_labels:
            pixels = jit_pixels(self.program.mesh)
            results |= self._probe(pixels, test, draws=True, prefix="pixels/", center=True)
        if baselines:
            untrained = self._worth(self.program.init(), test)
            results |= {f"untrained/{name}": value for name, value in untrained.items()}
        return results

    def _worth(self, state: TrainState, test: Source | None) -> Results:
        """What one encoder has to show at the end."""
        results = self._health(state)
        if self.has_labels:
            results |= self._probe(self._encoder(state), test, draws=True)
        if self.has_labels and self.config.sgd.enabled and test is not None:
            results |= self._sgd(state, test)
        return results

    def _classifier(
        self, state: TrainState, source: Source, prefix: str, names: Sequence[str] = ()
    ) -> Results:
        """Accuracy of the method's own classifier."""
        if not (self.config.classifier.enabled and self.has_labels):
            return {}
        apply = functools.partial(self.program.logits, state.params, state.method_state)
        found = classifier.classify(self._extract(apply, source), names)
        return {f"{prefix}classifier/{name}": value for name, value in found.items()}

    def _guesses(self, state: TrainState) -> Results:
        """How good the classifier's pseudo-labels of unlabelled images are, by labels that training does not see."""
        source = self.hidden if self.config.classifier.enabled else None
        if source is None:
            return {}
        apply = functools.partial(self.program.logits, state.params, state.method_state)
        found = classifier.pseudo_label_quality(self._extract(apply, source))
        return {f"pseudo_label/{name}": value for name, value in found.items()}

    @functools.cached_property
    def hidden(self) -> Source | None:
        """Some images of the unlabelled stream whose labels are hidden from training, the same ones every time."""
        if "unlabeled" not in self.program.streams:
            return None
        return self.data.hidden(self.config.classifier.guesses)

    def features(self, state: TrainState, source: Source) -> Features:
        """Features of any source under a training state."""
        return self._extract(self._encoder(state), source)

    def _health(self, state: TrainState) -> Results:
        return {} if self.health is None else self.health(state)

    def _encoder(self, state: TrainState) -> Callable[[Array], Array]:
        return functools.partial(self.program.features, state.params, state.method_state)

    def _extract(self, apply: Callable[[Array], Array], source: Source) -> Features:
        return extract_source(self.program, apply, source)

    def _visible(self) -> Source:
        assert self.data.labeled_indices is not None
        if len(self.data.labeled_indices) == len(self.data.train):
            return self.data.train
        return self.data.train.take(self.data.labeled_indices)

    def _probe(
        self,
        apply: Callable[[Array], Array],
        test: Source | None,
        draws: bool,
        prefix: str = "",
        center: bool = False,
    ) -> Results:
        """kNN and linear accuracy of one kind of features, of all visible labels and of draws of them."""
        if not (self.config.knn.enabled or self.config.linear.enabled):
            return {}
        train_features = self._extract(apply, self._visible())
        test_features = None if test is None else self._extract(apply, test)
        results: Results = {}
        for name, values in self._classifiers(train_features, test_features, center=center).items():
            results |= {f"{name}/{key}": value for key, value in values.items()}
        if draws and test_features is not None:
            for count in self.config.per_class:
                results |= self._draws(train_features, test_features, count, center)
        return {prefix + name: value for name, value in results.items()}

    def _classifiers(self, train: Features, test: Features | None, center: bool) -> dict[str, Results]:
        config, mesh, classes = self.config, self.program.mesh, self.data.num_classes
        results: dict[str, Results] = {}
        query = train if test is None else test
        arrays = (train.x, train.labels, query.x, query.labels)
        if config.knn.enabled:
            results["knn"] = knn(
                *arrays,
                classes=classes,
                mesh=mesh,
                k=config.knn.k,
                temperature=config.knn.temperature,
                center=center or config.knn.center,
                leave_one_out=test is None,
            )
        if config.linear.enabled and test is not None:
            results["linear"] = linear(
                *arrays,
                classes=classes,
                mesh=mesh,
                l2=config.linear.l2,
                max_iterations=config.linear.max_iterations,
            )
        return results

    def _draws(self, train: Features, test: Features, count: int, center: bool) -> Results:
        """Mean and standard deviation over draws of `count` labels of every class."""
        found: dict[str, list[float]] = {}
        if np.unique(train.labels, return_counts=True)[1].min() < count:
            logging.warning("too few readable images for %d labels per class", count)
            return {}
        for draw in range(self.config.draws):
            rows = splits.label_subset(train.labels, f"{count} per class", seed=draw)
            for name, values in self._classifiers(train.rows(rows), test, center).items():
                for key in ("top1", "top5"):
                    found.setdefault(f"{name}_{count}_per_class/{key}", []).append(values[key])
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return means | {f"{name}_std": float(np.std(values)) for name, values in found.items()}

    def _sgd(self, state: TrainState, test: Source) -> Results:
        """The papers' protocol: SGD on augmented images."""
        source, config = self._visible(), self.program.config
        clock = sgd.probe_clock(config, len(source))
        batches = TrainBatches(
            source,
            clock.batch_size,
            config.seed,
            clock.total_steps,
            source.labels(),
            sgd.probe_views(config) if self.program.main.host_crops else None,
        )
        probe, trained = sgd.train_probe(self.program, batches, state, self.data.num_classes)
        scores = self._extract(functools.partial(probe.features, trained.params, trained.method_state), test)
        ranked = np.argsort(-scores.x, axis=1, kind="stable")
        return {f"sgd/{name}": value for name, value in accuracy(ranked, scores.labels).items()}


def check(config: Any) -> None:
    """Raises UserError for evaluation settings that cannot be."""
    evals = config.evals
    check_numbers("evals.per_class", evals.per_class)
    check_numbers("evals.linear.l2", evals.linear.l2)
    normalization.check(config.data)
    if evals.draws < 1 or any(n < 1 for n in evals.per_class):
        raise UserError("evals.draws and the numbers in evals.per_class must be at least 1")
    if not 0 < evals.crop_fraction <= 1:
        raise UserError(f"evals.crop_fraction={evals.crop_fraction} must be in (0, 1]")
    if evals.classifier.median_of < 1:
        raise UserError(f"evals.classifier.median_of={evals.classifier.median_of} must be at least 1")
    if evals.classifier.guesses < 0:
        raise UserError(f"evals.classifier.guesses={evals.classifier.guesses} must not be negative")
    health.check(config)
    check_knn(evals.knn.k, evals.knn.temperature)
    check_linear(evals.linear.l2, evals.linear.max_iterations)
    if evals.sgd.enabled:
        sgd.check(config)


def extract_source(program: Program, apply: Callable[[Array], Array], source: Source) -> Features:
    """Features of all readable images of a source, cropped on the host where the program's data are."""
    data, evals = program.config.data, program.config.evals
    crop = program.main.host_crops or source.image_shape is None
    size = program.size if crop else None
    batches = EvalBatches(source, evals.batch_size, size, evals.crop_fraction)
    bad_images = BadImages(source, max_fraction=1.0)  # they are left out; training is what they may stop
    return extract(apply, batches, program.mesh, bad_images, data.workers, data.threads)
