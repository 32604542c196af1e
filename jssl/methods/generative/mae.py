"""Masked autoencoders."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment import patches
from jssl.errors import UserError
from jssl.methods.base import Context, Method, Output, image_keys
from jssl.methods.networks import EncoderWithHeads, health
from jssl.models import Network
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class MAE(EncoderWithHeads):
    """MAE: a ViT sees some patches of an image, and a light decoder predicts the pixels of the others.

    Attributes:
      mask_ratio: part of the patches that is hidden.
      norm_pix: whether pixels of a patch are predicted without its mean and divided by its deviation.
      decoder_dim: size of the decoder's tokens.
      decoder_layers: blocks of the decoder.
      decoder_heads: its attention heads.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. https://arxiv.org/abs/2111.06377
    """

    views: tuple[str, ...] = ("first",)
    mask_ratio: float = settings.within(0.75, 0.01, 0.99)
    norm_pix: bool = True
    decoder_dim: int = settings.size(512)
    decoder_layers: int = settings.size(8)
    decoder_heads: int = settings.size(16)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.encoder.module.patch_size)

    @property
    def heads(self) -> dict[str, Network]:
        return {}  # the decoder sees tokens, not features

    def decoder(self, channels: int) -> Network:
        """The decoder of patches with so many channels."""
        return models.patch_decoder(
            self.patch_size**2 * channels,
            self.decoder_dim,
            self.decoder_layers,
            self.decoder_heads,
            class_token=self.encoder.module.pool == "cls",
            dtype=self.dtype,
        )

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        if not hasattr(self.encoder.module, "visible"):
            raise UserError(
                f"MAE takes a ViT, of which it sees some patches; {type(self.encoder.module).__name__} has none: set "
                "encoder.name='vit_s' (or vit_mini on CPUs)"
            )
        side = self.get_views(batch)[0].shape[1]
        if side % self.patch_size:
            raise UserError(f"MAE: views of {side} pixels do not divide into patches of {self.patch_size}")
        if side == self.patch_size:
            raise UserError(f"MAE: a view of {side} pixels is one patch: set encoder.vit.patch_size smaller")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = self.get_views(batch)[0]
        params, stats = {}, {}
        params["encoder"], stats["encoder"] = self.encoder.init(rng.derive(key, "encoder"), images)
        masking = self.masking(image_keys(key, batch["unlabeled"]), images)
        tokens = self.encode(params, stats, images, masking.keep, None)
        decoder = self.decoder(images.shape[-1])
        params["decoder"], _ = decoder.init(rng.derive(key, "decoder"), tokens, masking.restore)
        return params, {"stats": stats}

    def masking(self, keys: Array, images: Array) -> patches.Masking:
        """Which patches of some images are hidden."""
        count = math.prod(side // self.patch_size for side in images.shape[1:3])
        return patches.random_masking(keys, count, self.mask_ratio)

    def encode(self, params: Params, stats: State, images: Array, keep: Array, key: Array | None) -> Array:
        """Tokens of the visible patches, float32[B, V, D]; in training mode if there is a key."""
        encoder = self.encoder if key is not None else self.encoder.without_drop_path()
        tokens, _ = encoder.apply(
            params["encoder"],
            stats["encoder"],
            images,
            keep,
            train=key is not None,
            key=key,
            method="visible",
        )
        return tokens

    def predict(self, params: Params, tokens: Array, masking: patches.Masking, channels: int) -> Array:
        """Pixels of all patches, float32[B, N, size * size * C]."""
        return self.decoder(channels).apply(params["decoder"], {}, tokens, masking.restore, train=True)[0]

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        masking = self.masking(image_keys(rng.derive(ctx.key, "mask"), batch["unlabeled"]), images)
        tokens = self.encode(params, state["stats"], images, masking.keep, rng.derive(ctx.key, "encoder"))
        predicted = self.predict(params, tokens, masking, images.shape[-1])
        target = patches.patchify(images, self.patch_size)
        target = losses.normalize_patches(target) if self.norm_pix else target
        value = losses.masked_mse(predicted, target, masking.hidden)
        features = tokens[:, 0] if self.encoder.module.pool == "cls" else tokens.mean(axis=1)
        # The health of what is predicted: no loss compares features.
        metrics = jax.lax.stop_gradient(health(predicted.reshape(len(images), -1)))
        return value, Output(state, metrics, features, batch["unlabeled"].get("label"))

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """Besides features: the 'reconstruction' of images of which the patches that 'masked' lacks were hidden."""
        found = super().outputs(params, state, inputs, modality)
        keys = jax.random.split(rng.root(0), len(inputs))
        masking = self.masking(keys, inputs)
        tokens = self.encode(params, state["stats"], inputs, masking.keep, None)
        predicted = self.predict(params, tokens, masking, inputs.shape[-1])
        truth = patches.patchify(inputs, self.patch_size)
        if self.norm_pix:
            mean, deviation = losses.patch_moments(truth)
            predicted = predicted * deviation + mean
        hidden, size = masking.hidden[..., None], inputs.shape[1:3]
        filled = patches.unpatchify(jnp.where(hidden, predicted, truth), self.patch_size, *size)
        masked = patches.unpatchify(jnp.where(hidden, 0, truth), self.patch_size, *size)
        return {**found, "reconstruction": filled, "masked": masked}
