"""MixMatch: the labelled loss, too, is on mixtures; so it is not like the other terms."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses
from jssl.errors import UserError
from jssl.methods.batching import together
from jssl.methods.semisupervised.base import Picture, Scene, Term, TermOutput, ViewNames, copies
from jssl.schedules import linear_warmup
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class MixMatch(Term):
    """Berthelot et al., 2019: pseudo-labels averaged over views and sharpened, and everything mixed with everything.

    https://arxiv.org/abs/1905.02249. It holds the labelled loss, so `method.supervised_weight` should be 0.

    Attributes:
      view: its copies in the unlabelled stream are the views that are averaged (the paper's K, 2).
      labeled_view: of the labelled stream.
      temperature: below 1 sharpens the pseudo.
      alpha: of the Beta distribution of the mixing weight.
      consistency: weight of the unlabelled part within the term, after its ramp.
      consistency_ramp: part of training, in [0, 1], in which it grows linearly.
    """

    view: str = "weak"
    labeled_view: str = "weak"
    temperature: float = 0.5
    alpha: float = 0.5
    consistency: float = 100.0
    consistency_ramp: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("temperature", "alpha"):
            if not getattr(self, name) > 0:
                raise UserError(f"MixMatch: {name}={getattr(self, name)} must be positive")

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        return copies(names, "unlabeled", self.view)

    def needs(self, names: ViewNames) -> tuple[Picture, ...]:
        return (*self.pictures(names), Picture("labeled", self.labeled_view))

    def check(self, batch: Batch, names: ViewNames) -> None:
        super().check(batch, names)
        sizes = {batch[p.stream]["views"][names[p.stream].index(p.view)].shape[1:] for p in self.needs(names)}
        if len(sizes) > 1:
            raise UserError("MixMatch mixes labelled and unlabelled images: their views must be of one size")

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        labeled = Picture("labeled", self.labeled_view)
        pictures = [picture for picture in scene.images if picture.stream == "unlabeled"]
        logits = [scene.seen[picture].logits for picture in pictures]
        mean = jnp.mean(jax.nn.softmax(jnp.stack(logits)), axis=0)
        pseudo = losses.pseudo_labels_of(losses.sharpen(mean, self.temperature))
        stream = scene.batch["labeled"]
        known = stream.get("target", jax.nn.one_hot(stream["label"], mean.shape[1]))  # of pseudo-labels, too
        images = jnp.concatenate([scene.images[labeled], together([scene.images[p] for p in pictures])])
        targets = jnp.concatenate([known, jnp.repeat(pseudo.probabilities, len(pictures), axis=0)])
        images, targets = mix(scene.ctx.key, images, targets, self.alpha)
        found, rows = scene.classify(images), len(known)
        consistency = linear_warmup(scene.ctx.progress, 0.0, self.consistency, self.consistency_ramp)
        supervised = losses.cross_entropy(found[:rows], targets[:rows])
        value = supervised + consistency * losses.softmax_mse(found[rows:], targets[rows:])
        metrics = {"supervised": supervised, "confidence": jnp.mean(pseudo.confidence)}
        return TermOutput(value, state, metrics)


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
