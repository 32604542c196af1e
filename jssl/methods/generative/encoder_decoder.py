"""What methods share that decode a feature map to numbers for every pixel."""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp

from jssl import models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import Method, Output
from jssl.methods.networks import EncoderWithHeads, health
from jssl.methods.validation import check_one
from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, State


@dataclasses.dataclass(frozen=True)
class EncoderDecoder(EncoderWithHeads):
    """An encoder, an optional code, and a decoder of it, on one view of unlabelled images.

    params  {'encoder', 'decoder', and 'code' where there is one}
    state   {'stats': {the same names}}

    Attributes:
      decoder_dim: channels of the decoder's last layer before pixels; those before it have twice as many each. Of a map
        of one place they are the units of a dense layer, and 0 is without one.
      code_dim: size of a vector between encoder and decoder; 0 for none: the decoder sees the feature map.
    """

    views: tuple[str, ...] = ("first",)
    decoder_dim: int = settings.count(64)
    code_dim: int = settings.count(0)

    @property
    def heads(self) -> dict[str, Network]:
        return {}  # the decoder sees a map, not features

    @property
    def code(self) -> Network:
        """The bottleneck, where there is one."""
        return models.code(self.code_dim, dtype=self.dtype)

    def decoder(self, images: Array) -> Network:
        """The decoder to images like these."""
        height, width, channels = images.shape[1:]
        return models.map_decoder(channels, (height, width), self.grid(images), self.decoder_dim, self.dtype)

    def grid(self, images: Array) -> tuple[int, int, int]:
        """Shape of the feature map of images like these, (h, w, D)."""

        def feature_map(images: Array) -> Array:
            return self.encoder.feature_map(*self.encoder.init(rng.root(0), images), images)

        height, width, channels = jax.eval_shape(feature_map, images).shape[1:]
        return height, width, channels

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        name, module = type(self).__name__, self.encoder.module
        if not hasattr(module, "feature_map"):
            raise UserError(
                f"{name} decodes a feature map, and {type(module).__name__} has none: "
                "set encoder.head_layers=() or another encoder.name"
            )
        if self.encoder.pool == "cls":
            raise UserError(f"{name} decodes the patches, not the class token: set encoder.vit.pool='gap'")
        check_one(name, self.get_views(batch))

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = self.get_views(batch)[0]
        params, stats = {}, {}
        params["encoder"], stats["encoder"] = self.encoder.init(rng.derive(key, "encoder"), images)
        x = self.encoder.feature_map(params["encoder"], stats["encoder"], images)
        if self.code_dim:
            params["code"], stats["code"] = self.code.init(rng.derive(key, "code"), x)
            x, _ = self.code.apply(params["code"], stats["code"], x, train=False)
        params["decoder"], stats["decoder"] = self.decoder(images).init(rng.derive(key, "decoder"), x)
        return params, {"stats": stats}

    def encode(
        self, params: Params, stats: State, images: Array, key: Array | None
    ) -> tuple[Array, Array, State]:
        """The feature map, float32[B, h, w, D], what is decoded, and new statistics; in training if there is a key."""
        train, stats = key is not None, dict(stats)
        x, stats["encoder"] = self.encoder.apply(
            params["encoder"], stats["encoder"], images, train=train, key=key, method="feature_map"
        )
        if not self.code_dim:
            return x, x, stats
        code, stats["code"] = self.code.apply(params["code"], stats["code"], x, train=train)
        return x, code, stats

    def decode(
        self, params: Params, stats: State, code: Array, images: Array, train: bool
    ) -> tuple[Array, State]:
        """Numbers for every pixel of images like these, and the new statistics."""
        decoder = self.decoder(images)
        out, own = decoder.apply(params["decoder"], stats["decoder"], code, train=train)
        return out, {**stats, "decoder": own}

    def decoded(
        self, state: State, batch: Batch, x: Array, code: Array, metrics: Metrics | None = None
    ) -> Output:
        """The `Output` of a loss: the health of what is decoded, and the features, which are the mean of the map."""
        metrics = {**health(code.reshape(len(code), -1)), **(metrics or {})}
        labels = batch["unlabeled"].get("label")
        return Output(state, jax.lax.stop_gradient(metrics), jnp.mean(x, axis=(1, 2)), labels)

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """'features', 'embedding' (what is decoded, flat), and 'masked' and 'reconstruction' for pictures."""
        features = self.encoder.apply(params["encoder"], state["stats"]["encoder"], inputs, train=False)[0]
        _, code, _ = self.encode(params, state["stats"], inputs, None)
        found = {"features": features, "embedding": code.reshape(len(code), -1)}
        return found | self.pictures(params, state, inputs)

    @abc.abstractmethod
    def pictures(self, params: Params, state: State, images: Array) -> dict[str, Array]:
        """What is shown of images: 'masked', what the encoder sees of them in training, and 'reconstruction'."""
