"""Audio-visual correspondence: do an image and a sound belong together? L3-Net and AVE-Net."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax.numpy as jnp
import optax

from jssl import models, rng, settings
from jssl.errors import UserError
from jssl.losses import normalize
from jssl.methods.base import Context, Output
from jssl.methods.multimodal.two_towers import TwoTowers
from jssl.types import Array, Batch, Params, State

SCALE, THRESHOLD = 2.0, 1.0  # of the classifier of distances, at first


@dataclasses.dataclass(frozen=True)
class AudioVisual(TwoTowers):
    """Tells images with their own sound from images with that of another one.

    Every image meets its own sound and that of the next image in the batch, so that half of the pairs belong together.
    The sound is a picture of mel bands over time, which a ConvNet of its own sees.

    params  {'encoder', 'sound', 'pair_classifier', and with fusion 'distance' 'projector' and 'sound_projector'}

    Attributes:
      fusion: 'concat' classifies both features side by side (L3-Net); 'distance' only how far apart two embeddings of
        norm 1 are (AVE-Net), so that images and sounds find one another.
      hidden_dim: of the classifier, or of the projectors.
      proj_dim: of the embeddings.
      sound_width: channels of the first layer of the ConvNet that hears.
      sound_strides: of its layers.

    References:
      Arandjelovic and Zisserman, Look, Listen and Learn, 2017. https://arxiv.org/abs/1705.08168
      Arandjelovic and Zisserman, Objects that Sound, 2018. https://arxiv.org/abs/1712.06651
    """

    modality = "audio"
    how_to_get_it = "sound: set data.audio.enabled=True"

    fusion: str = settings.choice("distance", ("distance", "concat"))
    hidden_dim: int = settings.size(128)
    proj_dim: int = settings.size(128)
    sound_width: int = settings.size(64)
    sound_strides: tuple[int, ...] = settings.sizes((2, 2, 2, 2))

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"projector": self._projector} if self.fusion == "distance" else {}

    @functools.cached_property
    def towers(self) -> dict[str, models.Network]:
        config = {"name": "convnet", "convnet": {"width": self.sound_width, "strides": self.sound_strides}}
        sound = models.encoder(config, dtype=self.dtype)
        sound = dataclasses.replace(sound, chunks=self.encoder.chunks)
        return {"sound": sound, **({"sound_projector": self._projector} if self.fusion == "distance" else {})}

    @functools.cached_property
    def classifier(self) -> models.Network:
        """Two logits of both features side by side."""
        return models.mlp((self.hidden_dim, 2), batch_norm=False, dtype=self.dtype)

    @functools.cached_property
    def _projector(self) -> models.Network:
        return models.mlp((self.hidden_dim, self.proj_dim), batch_norm=False, dtype=self.dtype)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if len(batch["unlabeled"]["audio"]) < 2:
            raise UserError(
                "AudioVisual needs a batch of two or more: a sound of another image is the next one's"
            )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        if self.fusion == "distance":
            own = {"scale": jnp.float32(math.log(SCALE)), "threshold": jnp.float32(THRESHOLD)}
            return {**params, "pair_classifier": own}, state
        seen, _ = self.forward(params, state["stats"], self.get_views(batch)[0], train=False)
        heard, _ = self.forward_beside(params, state["stats"], batch["unlabeled"]["audio"], train=False)
        pair = jnp.concatenate([seen["encoder"], heard["sound"]], axis=1)
        own, _ = self.classifier.init(rng.derive(key, "pair_classifier"), pair)
        return {**params, "pair_classifier": own}, state

    def pair_logits(self, params: Params, images: Array, sounds: Array) -> Array:
        """Logits float32[B, 2] of 'another one's' and 'its own'.

        With fusion 'distance' they are of embeddings, and the nearer the likelier; else of features.
        """
        own = params["pair_classifier"]
        if self.fusion == "distance":
            nearness = jnp.exp(own["scale"]) * (own["threshold"] - distance(images, sounds))
            return jnp.concatenate([-nearness, nearness], axis=1)
        pair = jnp.concatenate([images, sounds], axis=1)
        return self.classifier.apply(own, {}, pair, train=False)[0]

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        (images,) = self.get_views(batch)
        seen, stats = self.forward(params, state["stats"], images, key=ctx.key)
        key = rng.derive(ctx.key, "sound")
        heard, stats = self.forward_beside(params, stats, batch["unlabeled"]["audio"], key=key)
        a, b = list(seen.values())[-1], list(heard.values())[-1]
        own = self.pair_logits(params, a, b)
        other = self.pair_logits(params, a, jnp.roll(b, -1, axis=0))
        logits = jnp.concatenate([own, other])
        labels = jnp.repeat(jnp.array([1, 0]), len(a), total_repeat_length=2 * len(a))
        value = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))
        metrics = {"correspondence/accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == labels)}
        if self.fusion == "distance":
            metrics["correspondence/own_distance"] = jnp.mean(distance(a, b))
            metrics["correspondence/other_distance"] = jnp.mean(distance(a, jnp.roll(b, -1, axis=0)))
        return value, self.output({**state, "stats": stats}, batch, seen, metrics)

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        if modality != "audio":
            found = super().outputs(params, state, inputs, modality)
            return found if self.fusion == "distance" else {"features": found["features"]}
        heard, _ = self.forward_beside(params, state["stats"], inputs, train=False)
        found = {"features": heard["sound"]}
        return {**found, "embedding": heard["sound_projector"]} if self.fusion == "distance" else found

    def collapse_causes(self) -> tuple[str, ...]:
        return ("sounds that hardly differ",)


def distance(first: Array, second: Array) -> Array:
    """The distance of rows that are normalised first, float32[B, 1] in [0, 2]."""
    squared = jnp.sum((normalize(first) - normalize(second)) ** 2, axis=1, keepdims=True)
    return jnp.sqrt(jnp.maximum(squared, 1e-12))
