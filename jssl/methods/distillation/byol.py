"""BYOL."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.momentum import MomentumTarget
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class BYOL(MomentumTarget):
    """BYOL: the prediction of one view meets the momentum target's projection of the other; no negatives.

    Each view passes the networks on its own, so that it has batch statistics of its own, as does the target.

    Attributes:
      proj_hidden_dim: width of projector's and predictor's hidden layer.
      proj_dim: width of projection and prediction.
      predictor: False leaves the predictor out, and the representation collapses: for demonstrations.

    References:
      Grill et al., Bootstrap Your Own Latent, 2020. https://arxiv.org/abs/2006.07733
    """

    proj_hidden_dim: int = settings.size(4096)
    proj_dim: int = settings.size(256)
    predictor: bool = True

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        head = models.mlp((self.proj_hidden_dim, self.proj_dim), last_bias=False, dtype=self.dtype)
        return {"projector": head, "predictor": head} if self.predictor else {"projector": head}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views, target = self.get_views(batch), state["target"]
        online, stats = self.forward_per_view(params, state["stats"], views, ctx.key)
        targets, target_stats = self.forward_per_view(target["params"], target["stats"], views)
        p1, p2 = (o["predictor" if self.predictor else "projector"] for o in online)
        t1, t2 = (o["projector"] for o in targets)
        value = losses.normalized_mse(p1, t2) + losses.normalized_mse(p2, t1)
        state = {**state, "stats": stats, "target": {**target, "stats": target_stats}}
        return value, self.output(state, batch, online[0])

    def collapse_causes(self) -> tuple[str, ...]:
        none = "method.predictor=False: without a predictor both branches agree on a constant"
        return (() if self.predictor else (none,)) + super().collapse_causes()
