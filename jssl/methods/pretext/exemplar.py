"""Exemplar: views of an image are nearer to one another than to those of other images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp

from jssl import losses, models, settings
from jssl.errors import UserError
from jssl.methods.base import ViewRef
from jssl.methods.batching import interleave
from jssl.methods.view_task import TaskLoss, TermInputs, ViewTask, copies, streams_of
from jssl.models import Network
from jssl.types import Batch, Params, State


@dataclasses.dataclass(frozen=True)
class Exemplar(ViewTask):
    """Exemplar: batch-hard triplets of Euclidean distances between unit embeddings, see `losses.batch_hard_triplet`.

    Attributes:
      view: name of the view whose copies (the paper's 8) are compared, of either stream.
      on_labeled: whether those of labelled images, if there are some, are, too.
      proj_dim: width of the linear embedding.

    References:
      Zhai et al., S4L, 2019, section 3.2. https://arxiv.org/abs/1905.03670
    """

    view: str = "weak"
    on_labeled: bool = True
    proj_dim: int = settings.size(1000)

    @property
    def uses_classifier(self) -> bool:
        return False

    @property
    def head(self) -> Network:
        return models.linear(self.proj_dim, kernel_init="normal")

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        streams = ("unlabeled", *streams_of(batch, self.on_labeled))
        return dict.fromkeys(streams, (self.view,))

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        streams = streams_of(batch, self.on_labeled)
        return tuple(ref for stream in streams for ref in copies(batch, stream, self.view))

    def check(self, batch: Batch) -> None:
        super().check(batch)
        for stream in streams_of(batch, self.on_labeled):
            if len(copies(batch, stream, self.view)) < 2:
                raise UserError(
                    f"Exemplar compares views of an image: set data.{stream}.views.{self.view}.copies to 2 or more (8)"
                )

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        z, labels, begin = [], [], 0
        for stream in streams_of(inputs.batch, self.on_labeled):
            refs = copies(inputs.batch, stream, self.view)
            features = interleave([inputs.predictions[ref].features for ref in refs])
            z.append(losses.normalize(self.head.apply(params, {}, features, train=True)[0]))
            rows = len(features) // len(refs)
            labels.append(begin + jnp.repeat(jnp.arange(rows), len(refs)))
            begin += rows
        return TaskLoss(losses.batch_hard_triplet(jnp.concatenate(z), jnp.concatenate(labels)), state, {})
