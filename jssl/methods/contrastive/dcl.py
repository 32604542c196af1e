"""DCL: SimCLR without the positive in the denominator."""

from __future__ import annotations

import dataclasses

from jssl import losses
from jssl.methods.base import Context, Output
from jssl.methods.contrastive.simclr import SimCLR
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class DCL(SimCLR):
    """DCL: two views of an image attract, those of other images repel, without the coupling of one to the other.

    References:
      Yeh et al., Decoupled Contrastive Learning, 2022, eq. 6. https://arxiv.org/abs/2110.06848
    """

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views = self.get_views(batch)
        (first, second), stats = self.forward_multicrop(params, state["stats"], views, ctx.key)
        z1, z2 = first["projector"], second["projector"]
        value = losses.decoupled_contrastive(z1, z2, self.temperature, self.similarity_form(len(z1)))
        return value, self.output({**state, "stats": stats}, batch, first)
