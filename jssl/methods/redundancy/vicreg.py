"""VICReg."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class VICReg(EncoderWithHeads):
    """VICReg: views agree (invariance), every dimension varies (variance), and no two say the same (covariance).

    Attributes:
      proj_hidden_dim: width of the projector's two hidden layers.
      proj_dim: width of the embedding.
      invariance: weight of the distance between the views.
      variance: weight of the hinge on each dimension's standard deviation.
      covariance: weight of the covariances between dimensions.
      as_in_paper: see `losses.vicreg`; the default is the official code's.

    References:
      Bardes et al., VICReg, 2022. https://arxiv.org/abs/2105.04906
    """

    proj_hidden_dim: int = settings.size(8192)
    proj_dim: int = settings.size(8192)
    invariance: float = settings.positive(25.0)
    variance: float = settings.weight(25.0)
    covariance: float = settings.weight(1.0)
    as_in_paper: bool = False

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_hidden_dim, self.proj_hidden_dim, self.proj_dim)
        return {"projector": models.mlp(sizes, last_bias=False, dtype=self.dtype)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        both, stats = self.forward_per_view(params, state["stats"], self.get_views(batch), ctx.key)
        z1, z2 = (o["projector"] for o in both)
        weights = (self.invariance, self.variance, self.covariance)
        terms = losses.vicreg(z1, z2, *weights, as_in_paper=self.as_in_paper)
        metrics = {f"vicreg/{name}": value for name, value in terms.items()}
        value = jnp.sum(jnp.stack(list(terms.values())))
        return value, self.output({**state, "stats": stats}, batch, both[0], metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        low = self.variance < self.invariance / 5
        return (f"method.variance={self.variance}: nothing keeps the dimensions alive",) if low else ()
