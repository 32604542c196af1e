"""Barlow Twins."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class BarlowTwins(EncoderWithHeads):
    """Barlow Twins: the cross-correlation of two views, over the global batch, becomes the identity.

    Attributes:
      proj_hidden_dim: width of the projector's two hidden layers.
      proj_dim: width of the embedding.
      off_diagonal_weight: lambda of the paper.
      scale: the loss times this, as in the official code, where it goes with the learning rate.

    References:
      Zbontar et al., Barlow Twins, 2021. https://arxiv.org/abs/2103.03230
    """

    proj_hidden_dim: int = settings.size(8192)
    proj_dim: int = settings.size(8192)
    off_diagonal_weight: float = settings.positive(0.0051)
    scale: float = settings.positive(0.024)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_hidden_dim, self.proj_hidden_dim, self.proj_dim)
        return {"projector": models.mlp(sizes, last_bias=False, dtype=self.dtype)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        both, stats = self.forward_per_view(params, state["stats"], self.get_views(batch), ctx.key)
        z1, z2 = (o["projector"] for o in both)
        value = self.scale * losses.barlow_twins(z1, z2, self.off_diagonal_weight)
        return value, self.output({**state, "stats": stats}, batch, both[0])
