"""SimCLR v1 and v2."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jssl import losses, models, rng
from jssl.errors import UserError
from jssl.evaluation import diagnostics
from jssl.methods.base import Context, Method, Output
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SimCLR(Method):
    """Two views of an image attract, those of all other images in the global batch repel.

    As in the official code both views pass the encoder in one batch, every layer of the head has batch
    normalisation (the last one without bias), and representations are taken before the head.

    Attributes:
      version: 1 has a head of two layers, 2 of three (Chen et al., Big Self-Supervised Models, 2020).
      hidden: width of the head's hidden layers.
      out: width of the embedding that the loss sees.
      temperature: of the softmax.
      block_size: rows of the similarity matrix held at a time; 0 holds all.
      head_batch_norm: False gives the plain head of solo-learn.
      dtype: of the head's matrix products.

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
      https://arxiv.org/abs/2002.05709
    """

    version: int = 1
    hidden: int = 2048
    out: int = 128
    temperature: float = 0.1
    block_size: int = 0
    head_batch_norm: bool = True
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise UserError(f"method.version={self.version}: SimCLR has versions 1 and 2")
        if not self.temperature > 0:
            raise UserError(f"method.temperature={self.temperature} must be positive")
        if self.hidden < 1 or self.out < 1 or self.block_size < 0:
            raise UserError("method.hidden and method.out must be positive, method.block_size at least 0")

    @functools.cached_property
    def projector(self) -> models.Network:
        """The head."""
        return models.mlp(
            (self.hidden,) * self.version + (self.out,),
            batch_norm=self.head_batch_norm,
            last_batch_norm=self.head_batch_norm,
            last_bias=not self.head_batch_norm,
            dtype=self.dtype,
        )

    def check(self, batch: Batch) -> None:
        views = batch["unlabeled"]["views"]
        if len(views) != 2:
            raise UserError(f"SimCLR takes two views of every image, data.unlabeled.views gives {len(views)}")
        if views[0].shape != views[1].shape:
            raise UserError(
                f"SimCLR takes views of one size, not {views[0].shape[1]} and {views[1].shape[1]} pixels"
            )
        if len(views[0]) < 2:
            raise UserError(
                "SimCLR takes its negatives from the batch: data.unlabeled.batch_size must be > 1"
            )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        view = batch["unlabeled"]["views"][0]
        encoder, encoder_stats = self.encoder.init(rng.derive(key, "encoder"), view)
        h, _ = self.encoder.apply(encoder, encoder_stats, view, train=False)
        projector, projector_stats = self.projector.init(rng.derive(key, "projector"), h)
        params = {"encoder": encoder, "projector": projector}
        return params, {"stats": {"encoder": encoder_stats, "projector": projector_stats}}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        stream, stats = batch["unlabeled"], state["stats"]
        views = jnp.concatenate(stream["views"])
        h, encoder_stats = self.encoder.apply(
            params["encoder"], stats["encoder"], views, train=True, key=rng.derive(ctx.key, "encoder")
        )
        z, projector_stats = self.projector.apply(params["projector"], stats["projector"], h, train=True)
        z1, z2 = jnp.split(z, 2)
        value = losses.nt_xent(z1, z2, self.temperature, self.block_size or None)

        accuracy, positive, negative = losses.contrastive_accuracy(z1, z2, self.block_size or None)
        metrics = {
            "contrastive/accuracy": accuracy,
            "contrastive/positive_similarity": positive,
            "contrastive/negative_similarity": negative,
            "embedding/std": diagnostics.relative_std(z1),
            "embedding/effective_rank": diagnostics.participation_ratio(z1),
        }
        state = {**state, "stats": {"encoder": encoder_stats, "projector": projector_stats}}
        n = len(stream["label"])
        return value, Output(state, jax.lax.stop_gradient(metrics), h[:n], stream["label"])
