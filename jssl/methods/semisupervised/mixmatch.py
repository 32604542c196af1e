"""MixMatch, a term whose labelled loss is on mixtures, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jssl import losses, settings
from jssl.errors import UserError
from jssl.methods.base import ViewRef, get_view
from jssl.methods.batching import interleave
from jssl.methods.view_task import TaskLoss, TermInputs, ViewTask, copies
from jssl.schedules import linear_warmup
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class MixMatch(ViewTask):
    """MixMatch: pseudo-labels averaged over views and sharpened, then all images mixed (Berthelot et al., 2019).

    https://arxiv.org/abs/1905.02249. It holds the labelled loss, so `method.supervised_weight` should be 0.

    Attributes:
      view: its copies in the unlabelled stream are the views that are averaged (the paper's K, 2).
      labeled_view: name of the view of the labelled stream.
      temperature: below 1 sharpens the pseudo-labels.
      alpha: parameter of the Beta distribution of the mixing weight.
      consistency: weight of the unlabelled part within the term, after its ramp.
      consistency_ramp: part of training, in [0, 1], in which it grows linearly.
    """

    view: str = "weak"
    labeled_view: str = "weak"
    temperature: float = settings.positive(0.5)
    alpha: float = settings.positive(0.5)
    consistency: float = settings.weight(100.0)
    consistency_ramp: float = settings.fraction(0.4)

    @property
    def labeled_ref(self) -> ViewRef:
        """The reference to the labelled images."""
        return ViewRef("labeled", self.labeled_view)

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return {"unlabeled": (self.view,), "labeled": (self.labeled_view,)}

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return copies(batch, "unlabeled", self.view)

    def needed_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return (*self.requested_views(batch), self.labeled_ref)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if len({get_view(batch, ref).shape[1:] for ref in self.needed_views(batch)}) > 1:
            raise UserError("MixMatch mixes labelled and unlabelled images: their views must be of one size")

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        refs = self.requested_views(inputs.batch)
        probabilities = [jax.nn.softmax(inputs.predictions[ref].logits) for ref in refs]
        mean = jnp.mean(jnp.stack(probabilities), axis=0)
        pseudo = losses.pseudo_labels_of(losses.sharpen(mean, self.temperature))
        stream = inputs.batch["labeled"]
        # Pseudo-labels of an earlier stage are distributions.
        known = stream.get("target", jax.nn.one_hot(stream["label"], mean.shape[1]))
        unlabeled = interleave([inputs.images[ref] for ref in refs])
        images = jnp.concatenate([inputs.images[self.labeled_ref], unlabeled])
        targets = jnp.concatenate([known, jnp.repeat(pseudo.probabilities, len(refs), axis=0)])
        images, targets = mix(inputs.ctx.key, images, targets, self.alpha)
        logits, rows = inputs.classify(images), len(known)
        consistency = linear_warmup(inputs.ctx.progress, 0.0, self.consistency, self.consistency_ramp)
        supervised = losses.cross_entropy(logits[:rows], targets[:rows])
        value = supervised + consistency * losses.softmax_mse(logits[rows:], targets[rows:])
        metrics = {"supervised": supervised, "confidence": jnp.mean(pseudo.confidence)}
        return TaskLoss(value, state, metrics)


def mix(key: Array, images: Array, targets: Array, alpha: float) -> tuple[Array, Array]:
    """Every row with one of the shuffled rows: l x + (1 - l) x', l = max(b, 1 - b), b ~ Beta(alpha, alpha) for each.

    Args:
      key: random key.
      images: float[N, H, W, C].
      targets: distributions float[N, K].

    References:
      MixMatch, eqs. 8 to 11.
    """
    order_key, weight_key = jax.random.split(key)
    order = jax.random.permutation(order_key, len(images))
    b = jax.random.beta(weight_key, alpha, alpha, (len(images),))
    weight = jnp.maximum(b, 1 - b)

    def blend(x: Array) -> Array:
        w = weight.reshape(-1, *[1] * (x.ndim - 1))
        return w * x + (1 - w) * x[order]

    return blend(images), blend(targets)
