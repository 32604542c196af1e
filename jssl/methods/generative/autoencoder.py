"""Autoencoders: plain, sparse and denoising."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment import masks
from jssl.errors import UserError
from jssl.methods.base import Context, Output, image_keys
from jssl.methods.generative.encoder_decoder import EncoderDecoder
from jssl.models import Network
from jssl.types import Array, Batch, Params, State

SPARSITIES = ("none", "kl", "l1", "top_k")


@dataclasses.dataclass(frozen=True)
class Autoencoder(EncoderDecoder):
    """Autoencoder: images are encoded and decoded again; the code may be sparse, the input corrupted.

    The loss is the mean squared error of all pixels of the clean image.

    Attributes:
      corruption: what is done to the encoder's input: 'none', 'masking' (pixels become 0, after normalisation),
        'salt_and_pepper', 'gaussian'.
      corruption_strength: part of the pixels that is changed, or the deviation of Gaussian noise, after normalisation.
      code_activation: of the code: 'none', 'relu', 'sigmoid'.
      sparsity: what keeps most units of the code silent: 'none'; 'kl', which holds the mean activation of sigmoid units
        at `target_activation`; 'l1', a penalty of absolute values; 'top_k', the `active_units` greatest of an image.
      sparsity_weight: weight of 'kl' (mean over units) or 'l1' (mean over units) beside the squared error.
      target_activation: wanted mean activation of a unit, for 'kl'.
      active_units: units of an image that are not silenced, for 'top_k'.

    References:
      Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
      https://www.science.org/doi/10.1126/science.1127647
      Vincent et al., Stacked Denoising Autoencoders, 2010. https://jmlr.org/papers/v11/vincent10a.html
      Makhzani and Frey, k-Sparse Autoencoders, 2013. https://arxiv.org/abs/1312.5663
    """

    corruption: str = settings.choice("none", masks.CORRUPTIONS)
    corruption_strength: float = settings.weight(0.25)
    code_activation: str = settings.choice("none", ("none", "relu", "sigmoid"))
    sparsity: str = settings.choice("none", SPARSITIES)
    sparsity_weight: float = settings.weight(0.1)
    target_activation: float = settings.within(0.05, 1e-6, 1 - 1e-6)
    active_units: int = settings.size(16)

    @property
    def code(self) -> Network:
        return models.code(self.code_dim, self.code_activation, self.dtype)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if self.corruption not in ("gaussian", "none") and self.corruption_strength > 1:
            raise UserError(
                f"method.corruption_strength={self.corruption_strength} must be at most 1: of {self.corruption!r} "
                "it is a part of the pixels"
            )
        if self.sparsity != "none" and not self.code_dim:
            raise UserError(
                f"method.sparsity={self.sparsity!r} is of the units of a code: set method.code_dim"
            )
        if self.sparsity == "kl" and self.code_activation != "sigmoid":
            raise UserError(
                "method.sparsity='kl' is of units in (0, 1): set method.code_activation='sigmoid'"
            )
        if self.sparsity == "top_k" and self.active_units > self.code_dim:
            raise UserError(
                f"method.active_units={self.active_units}: there are method.code_dim={self.code_dim} units"
            )

    def encode(
        self, params: Params, stats: State, images: Array, key: Array | None
    ) -> tuple[Array, Array, State]:
        x, code, stats = super().encode(params, stats, images, key)
        return x, losses.top_k_units(code, self.active_units) if self.sparsity == "top_k" else code, stats

    def corrupted(self, key: Array, batch: Batch, images: Array) -> Array:
        """What the encoder sees in training."""
        return masks.corrupt(
            image_keys(key, batch["unlabeled"]), images, self.corruption, self.corruption_strength
        )

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        seen = self.corrupted(rng.derive(ctx.key, "corruption"), batch, images)
        x, code, stats = self.encode(params, state["stats"], seen, rng.derive(ctx.key, "encoder"))
        predicted, stats = self.decode(params, stats, code, images, train=True)
        error = jnp.mean((predicted - images) ** 2)
        metrics = {"reconstruction/mse": error, **self.activity(code)}
        output = self.decoded({**state, "stats": stats}, batch, x, code, metrics)
        return error + self.sparsity_weight * self.penalty(code), output

    def penalty(self, code: Array) -> Array:
        """What sparsity costs, float[]."""
        if self.sparsity == "kl":
            return losses.sparsity_kl(code, self.target_activation)
        return jnp.mean(jnp.abs(code)) if self.sparsity == "l1" else jnp.zeros(())

    def activity(self, code: Array) -> dict[str, Array]:
        """The mean activation of the code's units, and the part of them that is not silent."""
        if not self.code_dim:
            return {}
        return {"code/activation": jnp.mean(code), "code/active_fraction": jnp.mean(jnp.abs(code) > 1e-3)}

    def pictures(self, params: Params, state: State, images: Array) -> dict[str, Array]:
        rows = {"views": images}
        seen = self.corrupted(rng.root(0), {"unlabeled": rows}, images)
        _, code, _ = self.encode(params, state["stats"], seen, None)
        found, _ = self.decode(params, state["stats"], code, images, train=False)
        return {"masked": seen, "reconstruction": found}

    def collapse_causes(self) -> tuple[str, ...]:
        if self.sparsity in ("kl", "l1"):
            return (f"method.sparsity_weight={self.sparsity_weight:g} (large ones silence every unit)",)
        return ()
