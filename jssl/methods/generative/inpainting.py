"""Context encoders: holes of an image are filled in."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment import masks
from jssl.methods.base import Context, Output, image_keys
from jssl.methods.generative.encoder_decoder import EncoderDecoder
from jssl.models import Network
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class Inpainting(EncoderDecoder):
    """Context encoder: an image with a hole is encoded, and the hole is decoded.

    The encoder sees 0 in the hole: after normalisation the mean colour, where `data.mean` is that of the data. The loss
    is the squared error within the hole, and in a visible border around it, which weighs more so that the filling fits.
    With `adversarial_weight` a discriminator learns beside it to tell what was filled in from what was there:
    `params['discriminator']`, for which `optim.groups` may set a rate of its own. Of a hole in the centre it sees the
    hole alone, otherwise the whole image.

    params  {'encoder', 'decoder', 'code' and 'discriminator' where there are any}
    state   {'stats': {the same names}}

    Attributes:
      mask: shape of the hole: 'center', 'blocks', 'free_form', see `augment.masks.holes`.
      mask_ratio: part of the pixels that is hidden.
      border: width in pixels of the border that is predicted too.
      border_weight: weight of a pixel of it, beside 1 of a hidden one.
      adversarial_weight: weight of the adversarial loss; the squared error has the rest of 1. 0 is without one.
      discriminator_dim: channels of the discriminator's first layer; each further one has twice as many.

    References:
      Pathak et al., Context Encoders, 2016. https://arxiv.org/abs/1604.07379
    """

    code_dim: int = settings.count(4000)
    mask: str = settings.choice("center", masks.KINDS)
    mask_ratio: float = settings.within(0.25, 0.01, 0.99)
    border: int = settings.count(4)
    border_weight: float = settings.weight(10.0)
    adversarial_weight: float = settings.part(0.001)
    discriminator_dim: int = settings.size(64)

    @property
    def auxiliary(self) -> tuple[str, ...]:
        return ("discriminator",) if self.adversarial_weight else ()

    def discriminator(self, images: Array) -> Network:
        """Strided convolutions from images like these to a logit each."""
        return models.discriminator(min(images.shape[1:3]), self.discriminator_dim, self.dtype)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        if self.adversarial_weight:
            images = self.judged(self.get_views(batch)[0])
            own = self.discriminator(images).init(rng.derive(key, "discriminator"), images)
            params["discriminator"], state["stats"]["discriminator"] = own
        return params, state

    def hole(self, keys: Array, images: Array) -> Array:
        """Which pixels are hidden, bool[B, H, W]."""
        return masks.holes(keys, images.shape[1:3], self.mask, self.mask_ratio)

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        hidden = self.hole(image_keys(rng.derive(ctx.key, "hole"), batch["unlabeled"]), images)
        seen = jnp.where(hidden[..., None], 0, images)
        x, code, stats = self.encode(params, state["stats"], seen, rng.derive(ctx.key, "encoder"))
        predicted, stats = self.decode(params, stats, code, images, train=True)
        error = losses.weighted_mse(predicted, images, self.weights(hidden))
        metrics = {"reconstruction/mse": error, **self.measures(predicted, images, hidden)}
        if self.adversarial_weight:
            filled = jnp.where(hidden[..., None], predicted, images)
            own, fooling, stats = self.players(params, stats, self.judged(images), self.judged(filled))
            metrics |= {"adversarial/discriminator": own, "adversarial/generator": fooling}
            value = (1 - self.adversarial_weight) * error + self.adversarial_weight * fooling + own
        else:
            value = error
        return value, self.decoded({**state, "stats": stats}, batch, x, code, metrics)

    def judged(self, images: Array) -> Array:
        """What the discriminator sees of images."""
        if self.mask != "center":
            return images
        rows, columns = masks.center_box(images.shape[1:3], self.mask_ratio)
        return images[:, rows, columns]

    def weights(self, hidden: Array) -> Array:
        """How much the error of a pixel counts, float32[B, H, W]."""
        border = masks.dilate(hidden, self.border) & ~hidden
        return hidden + self.border_weight * border

    def players(self, params: Params, stats: State, real: Array, filled: Array) -> tuple[Array, Array, State]:
        """The losses of the discriminator and of the one who fills, and the new statistics.

        Neither learns from the loss of the other: the discriminator sees images without a way back, and the other one
        a discriminator that stands still. Real and filled images have batch statistics of their own.
        """
        network = self.discriminator(real)
        own, fixed = params["discriminator"], jax.lax.stop_gradient(params["discriminator"])
        old = stats["discriminator"]
        seen_real, new = network.apply(own, old, real, train=True)
        seen_filled, new = network.apply(own, new, jax.lax.stop_gradient(filled), train=True)
        judged, _ = network.apply(fixed, old, filled, train=True)
        loss, fooling = losses.non_saturating_gan(seen_real, seen_filled, judged)
        return loss, fooling, {**stats, "discriminator": new}

    def measures(self, predicted: Array, images: Array, hidden: Array) -> dict[str, Array]:
        """Mean absolute error, after normalisation, and PSNR within the hole."""
        each = jnp.mean(jnp.abs(predicted - images), axis=-1)
        return {
            "hole/l1": jnp.sum(each, where=hidden) / jnp.maximum(1, jnp.sum(hidden)),
            "hole/psnr": losses.psnr(predicted, images, hidden),
        }

    def pictures(self, params: Params, state: State, images: Array) -> dict[str, Array]:
        hidden = self.hole(jax.random.split(rng.root(0), len(images)), images)[..., None]
        seen = jnp.where(hidden, 0, images)
        _, code, _ = self.encode(params, state["stats"], seen, None)
        predicted, _ = self.decode(params, state["stats"], code, images, train=False)
        return {"masked": seen, "reconstruction": jnp.where(hidden, predicted, images)}
