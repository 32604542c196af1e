"""SimCLR v1 and v2."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.networks import InBatchContrastive
from jssl.methods.validation import unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SimCLR(InBatchContrastive):
    """SimCLR: two views of an image attract, those of all other images in the global batch repel.

    As in the official code both views pass the encoder in one batch, every layer of the head has batch
    normalisation (the last one without bias), and representations are taken before the head.

    Attributes:
      version: 1 has a head of two layers, 2 of three (Chen et al., Big Self-Supervised Models, 2020).
      proj_hidden_dim: width of the head's hidden layers.
      proj_dim: width of the embedding that the loss sees.
      temperature: temperature of the softmax.
      head_batch_norm: False gives the plain head of solo-learn.

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.
      https://arxiv.org/abs/2002.05709
    """

    version: int = settings.choice(1, (1, 2))
    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(128)
    temperature: float = settings.positive(0.1)
    head_batch_norm: bool = True

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        projector = models.mlp(
            (self.proj_hidden_dim,) * self.version + (self.proj_dim,),
            batch_norm=self.head_batch_norm,
            last_batch_norm=self.head_batch_norm,
            last_bias=not self.head_batch_norm,
            dtype=self.dtype,
        )
        return {"projector": projector}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        (first, second), stats = self.forward_multicrop(
            params, state["stats"], self.get_views(batch), ctx.key
        )
        z1, z2 = first["projector"], second["projector"]
        similarity = self.similarity_form(2 * len(z1))
        value = losses.nt_xent(z1, z2, self.temperature, similarity)
        accuracy, positive, negative = losses.contrastive_accuracy(z1, z2, similarity)
        metrics = {
            "contrastive/accuracy": accuracy,
            "contrastive/positive_similarity": positive,
            "contrastive/negative_similarity": negative,
            "contrastive/information": mutual_information_bound(value, 2 * len(z1) - 1),
        }
        return value, self.output({**state, "stats": stats}, batch, first, metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        return unusual_temperature(self.temperature, 0.05, 1.0)
