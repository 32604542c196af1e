"""Colorization: the colours of an image from its lightness."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses, metrics, models, rng, settings
from jssl.data.augment import color_space
from jssl.errors import UserError
from jssl.methods.base import Context, Output
from jssl.methods.generative.encoder_decoder import EncoderDecoder
from jssl.models import Network
from jssl.models.filters import Channels
from jssl.types import Array, Batch, Params, State

GREY = 5.0  # an image all of whose a and b are within this of 0 has no colours
BINS = color_space.ab_bins()


@dataclasses.dataclass(frozen=True)
class LabPrediction(EncoderDecoder):
    """An encoder of some channels of Lab, and a decoder to a distribution over bins for every few pixels.

    Attributes:
      color_space: of the images; the config knows it.
      stride: sides of the squares of pixels, in whose middle one is predicted.
      sigma: of the Gaussian that spreads a colour over bins.
      temperature: by which logits are divided for the mean of a prediction.
    """

    color_space: str = "lab"
    stride: int = settings.size(4)
    sigma: float = settings.within(5.0, 0.1, 1000)
    temperature: float = settings.within(0.38, 0.01, 1)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if self.color_space != "lab":
            raise UserError(f"{type(self).__name__} predicts channels of Lab: set data.color_space='lab'")
        side = self.get_views(batch)[0].shape[1]
        if self.stride // 2 >= side:
            raise UserError(
                f"method.stride={self.stride} leaves no pixel of views of {side} pixels: set it smaller"
            )

    def decoder(self, images: Array) -> Network:
        return self.decoder_to(len(BINS), images, self.grid(images))

    def decoder_to(self, outputs: int, images: Array, grid: tuple[int, int, int]) -> Network:
        """A decoder of a feature map of shape (h, w, D) to so many numbers for every pixel that is predicted."""
        height, width = self.sampled(images).shape[1:3]
        return models.map_decoder(outputs, (height, width), grid, self.decoder_dim, self.dtype, kernel=1)

    def sampled(self, images: Array) -> Array:
        """The pixels that are predicted, float32[B, h, w, 3]."""
        start = self.stride // 2
        return images[:, start :: self.stride, start :: self.stride]

    def encode_colors(self, ab: Array) -> Array:
        """Colours float32[..., 2] as distributions over bins, float32[..., 261]."""
        return losses.soft_encode(ab, jnp.asarray(BINS), self.sigma)

    def read_colors(self, logits: Array) -> Array:
        """The colours that a prediction means, float32[..., 2]."""
        return losses.annealed_mean(logits, jnp.asarray(BINS), self.temperature)


@dataclasses.dataclass(frozen=True)
class Colorization(LabPrediction):
    """Colorization: an encoder of the lightness alone, from whose feature map a decoder predicts colours.

    Colours are classes, bins of the ab plane, and the cross entropy of a pixel is weighted by how rare its colour is.
    That the loss knows from a histogram of all colours that it has seen: part of the state, so that it is resumed, and
    the same on any mesh. Images without colours count for nothing.

    params  {'encoder', 'decoder', and 'code' where there is one}
    state   {'stats': {the same names}, 'histogram': float32[261], in images}

    Attributes:
      uniform_mix: part of the colours' distribution that is uniform where they are weighted; 1 for no weights.

    References:
      Zhang et al., Colorful Image Colorization, 2016. https://arxiv.org/abs/1603.08511
    """

    uniform_mix: float = settings.fraction(0.5)

    def check(self, batch: Batch) -> None:
        module = self.encoder.module
        if not (isinstance(module, Channels) and module.channels == (0,)):
            raise UserError(
                "Colorization predicts colours from the lightness, and its encoder must not see them: "
                "set encoder.channels=(0,) and encoder.head_layers=()"
            )
        super().check(batch)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        # As if one image of all colours had been seen: no colour is impossible.
        return params, {**state, "histogram": jnp.full(len(BINS), 1 / len(BINS), jnp.float32)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        key = rng.derive(ctx.key, "encoder")
        x, code, stats = self.encode(params, state["stats"], images, key)
        logits, stats = self.decode(params, stats, code, images, train=True)
        ab = color_space.unscale_lab(self.sampled(images))[..., 1:]
        target, colored = self.encode_colors(ab), has_colors(images)
        shares = jnp.mean(target, axis=(1, 2)) * colored[:, None]
        histogram = state["histogram"] + jnp.sum(shares, axis=0)
        prior = histogram / jnp.sum(histogram)
        bins = jnp.argmax(target, axis=-1)
        weight = losses.rebalancing_weights(prior, self.uniform_mix)[bins] * colored[:, None, None]
        value = losses.cross_entropy(rows(logits), rows(target), weight.ravel())
        error = jnp.linalg.norm(self.read_colors(logits) - ab, axis=-1)
        found = {
            "color_auc": metrics.color_auc(error),
            "color_auc_balanced": metrics.color_auc(error, 1 / prior[bins]),
        }
        return value, self.decoded({"stats": stats, "histogram": histogram}, batch, x, code, found)

    def pictures(self, params: Params, state: State, images: Array) -> dict[str, Array]:
        _, code, stats = self.encode(params, state["stats"], images, None)
        logits, _ = self.decode(params, stats, code, images, train=False)
        return recolored(images, self.read_colors(logits))


def has_colors(images: Array) -> Array:
    """Which images, of Lab as networks see it, have a pixel whose a or b is not nearly 0: float32[B], 0 or 1."""
    ab = color_space.unscale_lab(images)[..., 1:]
    return jnp.any(jnp.abs(ab) > GREY, axis=(1, 2, 3)).astype(jnp.float32)


def rows(x: Array) -> Array:
    """[B, h, w, Q] as [B * h * w, Q]."""
    return x.reshape(-1, x.shape[-1])


def recolored(images: Array, ab: Array) -> dict[str, Array]:
    """Pictures of what is predicted: 'masked', the images without colours, and 'reconstruction', with colours ab."""
    lightness = images[..., :1]
    size = (*images.shape[:-1], 2)
    colors = jax.image.resize(ab / color_space.SCALE, size, "bilinear")
    grey = jnp.concatenate([lightness, jnp.zeros(size)], axis=-1)
    return {"masked": grey, "reconstruction": jnp.concatenate([lightness, colors], axis=-1)}
