"""Rotation prediction: RotNet, and S4L's term."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from jssl import losses, models
from jssl.methods.base import ViewRef
from jssl.methods.view_task import TaskLoss, TermInputs, ViewTask, streams_of
from jssl.models import Network
from jssl.types import Batch, Params, State


@dataclasses.dataclass(frozen=True)
class Rotation(ViewTask):
    """Rotation prediction: by which multiple of 90 degrees is an image turned?

    All four turns of every image are in the batch. As a term of S4L `method.class_on_copies` decides whether those of
    labelled images go into the class loss.

    Attributes:
      view: name of the view that is turned, of either stream.
      on_labeled: whether the labelled images, if there are some, are turned, too.

    References:
      Gidaris et al., Unsupervised Representation Learning by Predicting Image Rotations, 2018.
      https://arxiv.org/abs/1803.07728
      Zhai et al., S4L, 2019, section 3.1. https://arxiv.org/abs/1905.03670
    """

    view: str = "weak"
    on_labeled: bool = True

    @property
    def uses_classifier(self) -> bool:
        return False

    @property
    def head(self) -> Network:
        return models.linear(4, kernel_init="normal")

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        streams = ("unlabeled", *streams_of(batch, self.on_labeled))
        return dict.fromkeys(streams, (self.view,))

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        streams = streams_of(batch, self.on_labeled)
        return tuple(ViewRef(stream, self.view, 0, turns) for stream in streams for turns in range(4))

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        refs = self.requested_views(inputs.batch)
        features = [inputs.predictions[ref].features for ref in refs]
        logits = jnp.concatenate([self.head.apply(params, {}, x, train=True)[0] for x in features])
        turns = jnp.concatenate([jnp.full(len(x), ref.quarter_turns) for ref, x in zip(refs, features)])
        right = jnp.mean(jnp.argmax(logits, axis=-1) == turns)
        return TaskLoss(losses.cross_entropy(logits, turns), state, {"top1": right})
