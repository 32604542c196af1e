"""Losses on the features and class scores of views: pretext tasks, consistency, pseudo-labels.

Each is a method that can run alone. As terms of a semi-supervised loss they share one pass through the encoder.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from jssl import models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import (
    Context,
    Method,
    Output,
    Predictions,
    ViewRef,
    features_of_images,
    get_view,
    some_images,
    view_copies,
)
from jssl.methods.batching import deinterleave, interleave
from jssl.methods.networks import health
from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, State


@dataclasses.dataclass(frozen=True)
class TermInputs:
    """The inputs of the loss of a view task.

    Attributes:
      predictions: of the views that the task requested, and perhaps of others.
      images: of all views that it names, in its order, float32[B, H, W, C].
      batch: as the method got it.
      classify: images float32[N, H, W, C] to logits, in training mode: the batch statistics are those of the images,
        and the running ones do not move. A second argument, if given, are other parameters than the current ones.
      params: of 'encoder', 'classifier' and the task's own.
      ctx: with a key of the task's own.
    """

    predictions: Mapping[ViewRef, Predictions]
    images: Mapping[ViewRef, Array]
    batch: Batch
    classify: Callable[..., Array]
    params: Params
    ctx: Context


class TaskLoss(NamedTuple):
    """The value of a task's loss, the task's new state, and scalars to log."""

    value: Array
    state: State
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class ViewTask(Method):
    """A loss on the features or class scores of views.

    params  {'encoder', 'classifier' if the task uses one, 'head' if it has one}
    state   {'stats': {'encoder'}, and what the task keeps}

    Attributes:
      classes: of the data set; the program knows it.
    """

    classes: int = 0

    def __post_init__(self) -> None:
        settings.check(self)

    @property
    def uses_classifier(self) -> bool:
        """Whether the loss uses class scores; such a task learns nothing of use without a class loss beside it."""
        return True

    @functools.cached_property
    def classifier(self) -> Network | None:
        """The linear layer on the features that gives class scores."""
        return make_classifier(self.classes) if self.uses_classifier else None

    @property
    def head(self) -> Network | None:
        """A network of the task's own on the features."""
        return None

    def head_inputs(self, features: Array) -> Array:
        """Something of the shape that the head takes, but for the rows, given features of a view."""
        return features

    @abc.abstractmethod
    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        """Views whose predictions the loss needs."""

    def needed_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        """All views that the loss uses, whether it needs predictions of them or passes them itself."""
        return self.requested_views(batch)

    @abc.abstractmethod
    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        """The loss, of the head's parameters and of what the task keeps."""

    def init_state(self, params: Params) -> State:
        """The task's own state, given fresh parameters of encoder and classifier."""
        del params
        return {}

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if self.uses_classifier and not self.classes:
            raise UserError(
                f"{type(self).__name__} needs classes: the data have no labels, or data.labels='none'"
            )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = get_view(batch, self.requested_views(batch)[0])
        params, stats, features = init_encoder(self.encoder, self.classifier, key, images)
        if self.head is not None:
            params["head"], _ = self.head.init(rng.derive(key, "head"), self.head_inputs(features))
        return params, {"stats": {"encoder": stats}, **self.init_state(params)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        own_state = {name: part for name, part in state.items() if name != "stats"}
        stats, predictions = state["stats"]["encoder"], ctx.predictions
        alone, tiles = predictions is None, rng.derive(ctx.key, "tiles")
        if predictions is None:
            images = {ref: get_view(batch, ref, tiles) for ref in self.requested_views(batch)}
            predictions, stats = forward_views(self.encoder, self.classifier, params, stats, images, ctx.key)
        needed = {ref: get_view(batch, ref, tiles) for ref in self.needed_views(batch)}
        classify = functools.partial(self._classify, params, stats, ctx.key)
        inputs = TermInputs(predictions, needed, batch, classify, params, ctx)
        found = self.task_loss(params.get("head", {}), own_state, inputs)
        first = self.requested_views(batch)[0]
        features = features_of_images(first, predictions)
        metrics = {**health(features), **found.metrics} if alone else found.metrics
        state = {"stats": {"encoder": stats}, **found.state}
        labels = batch[first.stream].get("label")
        return found.value, Output(state, jax.lax.stop_gradient(metrics), features, labels)

    def _classify(
        self, params: Params, stats: State, key: Array, images: Array, other: Params | None = None
    ) -> Array:
        """See `TermInputs.classify`."""
        assert self.classifier is not None
        chosen = params if other is None else other
        features, _ = self.encoder.apply(chosen["encoder"], stats, images, train=True, key=key)
        return self.classifier.apply(chosen["classifier"], {}, features, train=True)[0]

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        found = super().outputs(params, state, inputs, modality)
        if self.classifier is None:
            return found
        logits = self.classifier.apply(params["classifier"], {}, found["features"], train=False)[0]
        return {**found, "logits": logits}


def make_classifier(classes: int) -> Network:
    """The linear layer that gives class scores."""
    return models.linear(max(1, classes), kernel_init="normal")


def init_encoder(
    encoder: Network, classifier: Network | None, key: Array, images: Array
) -> tuple[dict[str, Params], State, Array]:
    """Fresh parameters of encoder and classifier, the encoder's statistics, and features for shapes."""
    params: dict[str, Params] = {}
    params["encoder"], stats = encoder.init(rng.derive(key, "encoder"), images)
    features = encoder.apply(params["encoder"], stats, images, train=False)[0]
    if classifier is not None:
        params["classifier"], _ = classifier.init(rng.derive(key, "classifier"), features)
    return params, stats, features


def forward_views(
    encoder: Network,
    classifier: Network | None,
    params: Params,
    stats: State,
    images: Mapping[ViewRef, Array],
    key: Array,
    by_stream: bool = False,
) -> tuple[dict[ViewRef, Predictions], State]:
    """One pass of encoder and classifier over all views of one size, or one for each stream.

    Args:
      params: of 'encoder' and 'classifier'.
      stats: of the encoder.
      images: float32[B, H, W, C] by view; streams may differ in B.
      by_stream: whether every stream passes on its own, with batch statistics of its own.

    Returns:
      The predictions for every view, and the encoder's new statistics.
    """
    groups: dict[tuple[object, ...], list[ViewRef]] = {}
    for ref, x in images.items():
        groups.setdefault((ref.stream if by_stream else "", x.shape[1:]), []).append(ref)
    found: dict[ViewRef, Predictions] = {}
    for number, refs in enumerate(groups.values()):
        rows = [len(images[ref]) for ref in refs]
        own = rng.derive(key, "pass", number)
        batch = interleave([images[ref] for ref in refs])
        features, stats = encoder.apply(params["encoder"], stats, batch, train=True, key=own)
        logits = features[:, :0]
        if classifier is not None:
            logits = classifier.apply(params["classifier"], {}, features, train=True)[0]
        parts = zip(deinterleave(features, rows), deinterleave(logits, rows))
        found |= {ref: Predictions(*part) for ref, part in zip(refs, parts)}
    return {ref: found[ref] for ref in images}, stats


def copies(batch: Batch, stream: str, view: str) -> tuple[ViewRef, ...]:
    """A reference to every copy of a view; to one where the stream does not have it, which `check` tells."""
    there = stream in batch and view in batch[stream]["views"]
    return view_copies(batch, stream, view) if there else (ViewRef(stream, view),)


def streams_of(batch: Batch, with_labeled: bool) -> tuple[str, ...]:
    """The streams that a task uses: the unlabelled one, and the labelled one if it is asked for and there."""
    return tuple(
        name for name in ("unlabeled", "labeled") if name in batch and (with_labeled or name == "unlabeled")
    )


__all__ = [
    "TaskLoss",
    "TermInputs",
    "ViewTask",
    "copies",
    "forward_views",
    "init_encoder",
    "make_classifier",
    "some_images",
    "streams_of",
]
