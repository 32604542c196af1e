"""Masked images: a transformer sees some patches, and the pixels of the others are predicted."""

from __future__ import annotations

import abc
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.data.augment import patches
from jssl.errors import UserError
from jssl.methods.base import Context, Method, Output, image_keys
from jssl.methods.networks import EncoderWithHeads, health
from jssl.methods.validation import check_one
from jssl.models import Network
from jssl.types import Array, Batch, Params, State


class Predicted(NamedTuple):
    """What is predicted of images.

    Attributes:
      pixels: of all patches, float32[B, N, size * size * C].
      hidden: which patches the encoder did not see, bool[B, N].
      features: of the images so seen, float32[B, D].
    """

    pixels: Array
    hidden: Array
    features: Array


@dataclasses.dataclass(frozen=True)
class MaskedImages(EncoderWithHeads):
    """A ViT sees some patches of an image; the loss is on the pixels of the others.

    params  {'encoder', and what predicts}
    state   {'stats': {'encoder'}}

    Attributes:
      mask_ratio: part of the patches that is hidden.
      norm_pix: whether pixels of a patch are predicted without its mean and divided by its deviation.
    """

    views: tuple[str, ...] = ("first",)
    mask_ratio: float = settings.within(0.75, 0.01, 0.99)
    norm_pix: bool = True

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.encoder.module.patch_size)

    @property
    def heads(self) -> dict[str, Network]:
        return {}  # tokens are decoded, not features

    def grid(self, images: Array) -> tuple[int, int]:
        """Rows and columns of the patches of images."""
        return images.shape[1] // self.patch_size, images.shape[2] // self.patch_size

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        name = type(self).__name__
        if not hasattr(self.encoder.module, "visible"):
            raise UserError(
                f"{name} takes a ViT, of which it sees some patches; {type(self.encoder.module).__name__} has none: "
                "set encoder.name='vit_s' (or vit_mini on CPUs) and encoder.head_layers=()"
            )
        check_one(name, self.get_views(batch))
        height, side = self.get_views(batch)[0].shape[1:3]
        if height != side:
            raise UserError(f"{name} takes square views, not {height} x {side} pixels")
        if side % self.patch_size:
            raise UserError(f"{name}: views of {side} pixels do not divide into patches of {self.patch_size}")
        if side == self.patch_size:
            raise UserError(
                f"{name}: a view of {side} pixels is one patch: set encoder.vit.patch_size smaller"
            )

    @abc.abstractmethod
    def predict(
        self, params: Params, stats: State, images: Array, keys: Array, key: Array | None
    ) -> Predicted:
        """Hides patches of images, by a key for each, and predicts all; in training mode if there is a `key`."""

    def error(self, predicted: Array, target: Array, hidden: Array) -> Array:
        """The loss of predictions, float[]."""
        return losses.masked_mse(predicted, target, hidden)

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images = self.get_views(batch)[0]
        keys = image_keys(rng.derive(ctx.key, "mask"), batch["unlabeled"])
        found = self.predict(params, state["stats"], images, keys, rng.derive(ctx.key, "encoder"))
        target = patches.patchify(images, self.patch_size)
        target = losses.normalize_patches(target) if self.norm_pix else target
        # The health of what is predicted: no loss compares features.
        metrics = jax.lax.stop_gradient(health(found.pixels.reshape(len(images), -1)))
        output = Output(state, metrics, found.features, batch["unlabeled"].get("label"))
        return self.error(found.pixels, target, found.hidden), output

    def encoder_apply(
        self, params: Params, stats: State, images: Array, *more: Array, key: Array | None, method: str
    ) -> Array:
        """Tokens by a method of the encoder but registers, float32[B, V, D]; in training mode if there is a key."""
        encoder = self.encoder if key is not None else self.encoder.without_drop_path()
        own, train = (params["encoder"], stats["encoder"]), key is not None
        tokens = encoder.apply(*own, images, *more, train=train, key=key, method=method)[0]
        first, registers = int(encoder.module.pool == "cls"), encoder.registers
        return jnp.concatenate([tokens[:, :first], tokens[:, first + registers :]], axis=1)

    def pooled(self, tokens: Array) -> Array:
        """The features of tokens, as the encoder makes them, float32[B, D]."""
        return tokens[:, 0] if self.encoder.module.pool == "cls" else tokens.mean(axis=1)

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """Besides features the 'reconstruction' of images of which the patches that 'masked' lacks were hidden."""
        found = super().outputs(params, state, inputs, modality)
        predicted = self.predict(
            params, state["stats"], inputs, jax.random.split(rng.root(0), len(inputs)), None
        )
        truth = patches.patchify(inputs, self.patch_size)
        pixels = predicted.pixels
        if self.norm_pix:
            mean, deviation = losses.patch_moments(truth)
            pixels = pixels * deviation + mean
        hidden, size = predicted.hidden[..., None], inputs.shape[1:3]
        filled = patches.unpatchify(jnp.where(hidden, pixels, truth), self.patch_size, *size)
        masked = patches.unpatchify(jnp.where(hidden, 0, truth), self.patch_size, *size)
        return {**found, "reconstruction": filled, "masked": masked}


@dataclasses.dataclass(frozen=True)
class MAE(MaskedImages):
    """MAE: the encoder sees the visible patches alone, and a light decoder predicts the pixels of the others.

    Attributes:
      decoder_dim: size of the decoder's tokens.
      decoder_layers: blocks of the decoder.
      decoder_heads: its attention heads.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. https://arxiv.org/abs/2111.06377
    """

    decoder_dim: int = settings.size(512)
    decoder_layers: int = settings.size(8)
    decoder_heads: int = settings.size(16)

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
        rows, columns = self.grid(images)
        return patches.random_masking(keys, rows * columns, self.mask_ratio)

    def encode(self, params: Params, stats: State, images: Array, keep: Array, key: Array | None) -> Array:
        """Tokens of the visible patches, float32[B, V, D]; in training mode if there is a key."""
        return self.encoder_apply(params, stats, images, keep, key=key, method="visible")

    def predict(
        self, params: Params, stats: State, images: Array, keys: Array, key: Array | None
    ) -> Predicted:
        masking = self.masking(keys, images)
        tokens = self.encode(params, stats, images, masking.keep, key)
        decoder = self.decoder(images.shape[-1])
        pixels, _ = decoder.apply(params["decoder"], {}, tokens, masking.restore, train=True)
        return Predicted(pixels, masking.hidden, self.pooled(tokens))


@dataclasses.dataclass(frozen=True)
class SimMIM(MaskedImages):
    """SimMIM: the encoder sees a learned token in the place of hidden squares, and one linear layer predicts pixels.

    Attributes:
      mask_unit: side in patches of the squares that are hidden.

    References:
      Xie et al., SimMIM, 2021. https://arxiv.org/abs/2111.09886
    """

    mask_ratio: float = settings.within(0.6, 0.01, 0.99)
    norm_pix: bool = False
    mask_unit: int = settings.size(2)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        rows, _ = self.grid(self.get_views(batch)[0])
        if rows % self.mask_unit:
            raise UserError(
                f"method.mask_unit={self.mask_unit}: {rows} patches a side do not divide into squares of so many"
            )
        if rows == self.mask_unit:
            raise UserError(f"method.mask_unit={self.mask_unit}: that hides the whole image; set it smaller")

    def head(self, channels: int) -> Network:
        """The linear layer from a token to the pixels of its patch."""
        return models.linear(self.patch_size**2 * channels, kernel_init="normal", dtype=self.dtype)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = self.get_views(batch)[0]
        encoder, stats = self.encoder.init(rng.derive(key, "encoder"), images)
        tokens = self.encoder.tokens(encoder, stats, images)
        token = 0.02 * jax.random.normal(rng.derive(key, "mask_token"), tokens.shape[-1:])
        head, _ = self.head(images.shape[-1]).init(rng.derive(key, "head"), tokens)
        return {"encoder": encoder, "mask_token": token, "head": head}, {"stats": {"encoder": stats}}

    def predict(
        self, params: Params, stats: State, images: Array, keys: Array, key: Array | None
    ) -> Predicted:
        hidden = patches.unit_masking(keys, self.grid(images), self.mask_unit, self.mask_ratio)
        token = jnp.tile(params["mask_token"], (len(images), 1, 1))
        tokens = self.encoder_apply(params, stats, images, hidden, token, key=key, method="masked")
        pixels, _ = self.head(images.shape[-1]).apply(
            params["head"], {}, tokens[:, -hidden.shape[1] :], train=True
        )
        return Predicted(pixels, hidden, self.pooled(tokens))

    def error(self, predicted: Array, target: Array, hidden: Array) -> Array:
        return losses.masked_l1(predicted, target, hidden)
