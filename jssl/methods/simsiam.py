"""SimSiam."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models
from jssl.methods.base import Context, Output
from jssl.methods.siamese import Siamese, check_sizes
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SimSiam(Siamese):
    """The predictor of one view's projection meets the other's projection, which gets no gradient.

    The loss is that of the official code plus 1, so that it lies in [0, 2]. Its recipe keeps the predictor's
    learning rate constant: `optim.groups` with `constant_lr`.

    Attributes:
      hidden: width of the projector's two hidden layers.
      out: width of projection and prediction.
      predictor_hidden: width of the predictor's bottleneck.

    References:
      Chen and He, Exploring Simple Siamese Representation Learning, 2021. https://arxiv.org/abs/2011.10566
    """

    hidden: int = 2048
    out: int = 2048
    predictor_hidden: int = 512

    def __post_init__(self) -> None:
        check_sizes(hidden=self.hidden, out=self.out, predictor_hidden=self.predictor_hidden)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.hidden, self.hidden, self.out)
        return {
            "projector": models.mlp(sizes, last_batch_norm=True, last_affine=False, dtype=self.dtype),
            "predictor": models.mlp((self.predictor_hidden, self.out), dtype=self.dtype),
        }

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        both, stats = self.each_view(params, state["stats"], batch["unlabeled"]["views"], ctx.key)
        (z1, z2), (p1, p2) = ([o[name] for o in both] for name in ("projector", "predictor"))
        value = (losses.negative_cosine(p1, z2) + losses.negative_cosine(p2, z1)) / 4
        return value, self.output({**state, "stats": stats}, batch, both[0])
