"""MoCo v3."""

from __future__ import annotations

import dataclasses
import functools

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.momentum import MomentumTarget
from jssl.methods.networks import InBatchContrastive
from jssl.methods.validation import unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class MoCoV3(InBatchContrastive, MomentumTarget):
    """MoCo v3: each view's prediction picks the momentum encoder's key of the other among those of the global batch.

    Attributes:
      proj_hidden_dim: width of the heads' hidden layers.
      proj_dim: width of queries and keys.
      layers: of the projector: 2 for ResNets, 3 for ViTs.
      predictor_last_batch_norm: False for ResNets, True for ViTs.
      temperature: temperature of the softmax; each direction's loss is multiplied by twice this.

    References:
      Chen et al., An Empirical Study of Training Self-Supervised Vision Transformers, 2021, algorithm 1.
      https://arxiv.org/abs/2104.02057
    """

    proj_hidden_dim: int = settings.size(4096)
    proj_dim: int = settings.size(256)
    layers: int = settings.size(2, at_least=2)
    predictor_last_batch_norm: bool = False
    temperature: float = settings.positive(1.0)
    momentum: float = settings.fraction(0.99)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        mlp = functools.partial(models.mlp, last_affine=False, last_bias=False, dtype=self.dtype)
        projector = (self.proj_hidden_dim,) * (self.layers - 1) + (self.proj_dim,)
        return {
            "projector": mlp(projector, last_batch_norm=True),
            "predictor": mlp(
                (self.proj_hidden_dim, self.proj_dim), last_batch_norm=self.predictor_last_batch_norm
            ),
        }

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views, target = self.get_views(batch), state["target"]
        online, stats = self.forward_per_view(params, state["stats"], views, ctx.key)
        targets, target_stats = self.forward_per_view(target["params"], target["stats"], views)
        (q1, q2), (k1, k2) = [o["predictor"] for o in online], [o["projector"] for o in targets]
        similarity = self.similarity_form(len(q1))
        one, two = (
            losses.info_nce(q, k, None, self.temperature, similarity) for q, k in ((q1, k2), (q2, k1))
        )
        state = {**state, "stats": stats, "target": {**target, "stats": target_stats}}
        metrics = {"contrastive/information": mutual_information_bound((one + two) / 2, len(q1))}
        return 2 * self.temperature * (one + two), self.output(state, batch, online[0], metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        return unusual_temperature(self.temperature, 0.05, 2.0) + super().collapse_causes()
