"""SimSiam."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SimSiam(EncoderWithHeads):
    """SimSiam: a predictor of one view's projection meets the other's projection, which gets no gradient.

    The loss is that of the official code plus 1, so that it lies in [0, 2]. Its recipe keeps the predictor's
    learning rate constant: `optim.groups` with `constant_lr`.

    Attributes:
      proj_hidden_dim: width of the projector's two hidden layers.
      proj_dim: width of projection and prediction.
      pred_hidden_dim: width of the predictor's bottleneck.

    References:
      Chen and He, Exploring Simple Siamese Representation Learning, 2021. https://arxiv.org/abs/2011.10566
    """

    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(2048)
    pred_hidden_dim: int = settings.size(512)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_hidden_dim, self.proj_hidden_dim, self.proj_dim)
        return {
            "projector": models.mlp(sizes, last_batch_norm=True, last_affine=False, dtype=self.dtype),
            "predictor": models.mlp((self.pred_hidden_dim, self.proj_dim), dtype=self.dtype),
        }

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        both, stats = self.forward_per_view(params, state["stats"], self.get_views(batch), ctx.key)
        (z1, z2), (p1, p2) = ([o[name] for o in both] for name in ("projector", "predictor"))
        value = (losses.normalized_mse(p1, z2) + losses.normalized_mse(p2, z1)) / 4
        return value, self.output({**state, "stats": stats}, batch, both[0])
