"""Split-brain autoencoders: each half of the network predicts the channels that the other one sees."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from jssl import losses, metrics, rng, settings
from jssl.data.augment import color_space
from jssl.errors import UserError
from jssl.methods.base import Context, Output
from jssl.methods.generative.colorization import LabPrediction, recolored, rows
from jssl.models import Network
from jssl.models.filters import SplitBrain as TwoEncoders
from jssl.types import Array, Batch, Params, State

LIGHTNESS = 100  # bins of lightness, of width 1
LIGHTNESS_BINS = np.arange(LIGHTNESS, dtype=np.float32)[:, None] + 0.5  # their middles
HALVES = ("first", "others")  # of the encoder: of lightness, and of colours


@dataclasses.dataclass(frozen=True)
class SplitBrain(LabPrediction):
    """Split-brain autoencoder: of two encoders, one predicts the colours from the lightness, the other the reverse.

    The encoder is both, see `models.filters.SplitBrain`: evaluators see the features of both. Each has a decoder:
    colours are 261 bins of the ab plane, the lightness 100 bins, and no bin is weighted.

    params  {'encoder': {'first', 'others'}, 'decoder': {the same names}}
    state   {'stats': {'encoder', 'decoder'}}

    References:
      Zhang et al., Split-Brain Autoencoders, 2017. https://arxiv.org/abs/1611.09842
    """

    code_dim: int = settings.choice(0, (0,), "the halves must not mix")

    def check(self, batch: Batch) -> None:
        if not isinstance(self.encoder.module, TwoEncoders):
            raise UserError(
                "SplitBrain takes an encoder of two halves alone: set encoder.split_brain=True, "
                "encoder.channels=() and encoder.head_layers=()"
            )
        super().check(batch)

    def decoders(self, images: Array) -> dict[str, Network]:
        """The decoder of either half: of colours, and of lightness."""
        height, width, features = self.grid(images)
        grid = (height, width, features // 2)
        sizes = (len(color_space.ab_bins()), LIGHTNESS)
        return {name: self.decoder_to(size, images, grid) for name, size in zip(HALVES, sizes)}

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = self.get_views(batch)[0]
        params, stats = self.encoder.init(rng.derive(key, "encoder"), images)
        halves = jnp.split(self.encoder.feature_map(params, stats, images), 2, axis=-1)
        made = {
            name: decoder.init(rng.derive(key, name), half)
            for (name, decoder), half in zip(self.decoders(images).items(), halves)
        }
        decoders, own = ({name: pair[part] for name, pair in made.items()} for part in (0, 1))
        return {"encoder": params, "decoder": decoders}, {"stats": {"encoder": stats, "decoder": own}}

    def predict(
        self, params: Params, stats: State, x: Array, images: Array, train: bool
    ) -> tuple[Array, Array, State]:
        """Logits of colours, float32[B, h, w, 261], and of lightness, float32[B, h, w, 100], and new statistics."""
        halves, logits, own = jnp.split(x, 2, axis=-1), {}, {}
        for (name, decoder), half in zip(self.decoders(images).items(), halves):
            given = params["decoder"][name], stats["decoder"][name]
            logits[name], own[name] = decoder.apply(*given, half, train=train)
        colors, lightness = logits.values()
        return colors, lightness, {**stats, "decoder": own}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        x, _, stats = self.encode(params, state["stats"], images, rng.derive(ctx.key, "encoder"))
        colors, lightness, stats = self.predict(params, stats, x, images, train=True)
        lab = color_space.unscale_lab(self.sampled(images))
        bins = jnp.clip(jnp.floor(lab[..., 0]), 0, LIGHTNESS - 1).astype(jnp.int32)
        color_loss = losses.cross_entropy(rows(colors), rows(self.encode_colors(lab[..., 1:])))
        lightness_loss = losses.cross_entropy(rows(lightness), bins.ravel())
        error = jnp.linalg.norm(self.read_colors(colors) - lab[..., 1:], axis=-1)
        found = {
            "color_loss": color_loss,
            "lightness_loss": lightness_loss,
            "color_auc": metrics.color_auc(error),
            "lightness_error": jnp.mean(jnp.abs(self.read_lightness(lightness) - lab[..., 0])),
        }
        return color_loss + lightness_loss, self.decoded({"stats": stats}, batch, x, x, found)

    def read_lightness(self, logits: Array) -> Array:
        """The lightness that a prediction means, float32[...] in [0, 100]."""
        return losses.annealed_mean(logits, jnp.asarray(LIGHTNESS_BINS), self.temperature)[..., 0]

    def pictures(self, params: Params, state: State, images: Array) -> dict[str, Array]:
        x, _, stats = self.encode(params, state["stats"], images, None)
        colors, _, _ = self.predict(params, stats, x, images, train=False)
        return recolored(images, self.read_colors(colors))
