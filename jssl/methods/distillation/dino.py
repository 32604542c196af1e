"""DINO."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp

from jssl import losses, models, settings
from jssl.methods.base import Context, Output
from jssl.methods.momentum import MomentumTarget, ema
from jssl.methods.networks import MultiCrop, Outputs, teacher_health
from jssl.schedules import linear_warmup
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class DINO(MultiCrop, MomentumTarget):
    """DINO: the student's distribution over prototypes, of every crop, meets the teacher's of each other global crop.

    The first two views are the global crops; the teacher sees only those, and drops no paths. The teacher is
    what evaluators see. Its centre is updated after the loss, from the global batch.

    The recipe's other parts are keys of the optimiser: the last layer frozen for an epoch
    (`optim.groups`), the weight-decay schedule (`final_weight_decay`), clipping (`clip_each_norm`).

    Attributes:
      proj_hidden_dim: width of the head's hidden layers.
      proj_dim: width of the embedding that is compared with the prototypes.
      prototypes: number of prototypes.
      layers: layers of the head before the prototypes.
      head_batch_norm: in the head's hidden layers.
      student_temperature: of the student's softmax.
      teacher_temperature: of the teacher's softmax after the warm-up.
      teacher_temperature_start: at the beginning.
      teacher_warmup_epochs: in which it goes from one to the other.
      center_momentum: how much of the centre an update keeps; 1 leaves it at 0, and the teacher collapses.
      norm_last_layer: whether the prototypes' norms stay 1; False learns them, as the paper's larger models do.
      head_init: of the head's matrices: 'lecun', or 'normal' of standard deviation 0.02, as the official code.

    References:
      Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021.
      https://arxiv.org/abs/2104.14294
    """

    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(256)
    prototypes: int = settings.size(65536, at_least=2)
    layers: int = settings.size(3)
    head_batch_norm: bool = False
    student_temperature: float = settings.positive(0.1)
    teacher_temperature: float = settings.positive(0.04)
    teacher_temperature_start: float = settings.positive(0.04)
    teacher_warmup_epochs: float = settings.weight(0.0)
    center_momentum: float = settings.fraction(0.9)
    norm_last_layer: bool = True
    head_init: str = settings.choice("lecun", models.heads.INITS)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_hidden_dim,) * (self.layers - 1) + (self.proj_dim,)
        norm = self.head_batch_norm
        return {
            "projector": models.mlp(
                sizes, batch_norm=norm, activation="gelu", weight_init=self.head_init, dtype=self.dtype
            ),
            "prototypes": models.prototypes(self.prototypes, learn_norms=not self.norm_last_layer),
        }

    @property
    def averaged(self) -> tuple[str, ...]:
        return tuple(self.networks)

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("prototypes",)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        return params, {**state, "center": jnp.zeros(self.prototypes)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views, target = self.get_views(batch), state["target"]
        student, stats = self.forward_multicrop(params, state["stats"], views, ctx.key)
        teacher, target_stats = self.forward_multicrop(target["params"], target["stats"], views[:2])
        targets = [t["prototypes"] for t in teacher]
        temperature = linear_warmup(
            ctx.epoch,
            self.teacher_temperature_start,
            self.teacher_temperature,
            self.teacher_warmup_epochs,
        )
        value = losses.dino_cross_entropy(
            [s["prototypes"] for s in student],
            targets,
            state["center"],
            self.student_temperature,
            temperature,
        )
        mean = jnp.mean(jnp.concatenate(targets), axis=0)
        center = ema(state["center"], mean, self.center_momentum)
        metrics = teacher_health(losses.sharpened(targets[0], state["center"], temperature))
        state = {
            **state,
            "stats": stats,
            "center": center,
            "target": {**target, "stats": target_stats},
        }
        output = self.output(state, batch, student[0], metrics)
        return value, output._replace(features=teacher[0]["encoder"])

    def eval_networks(self, params: Params, state: State) -> tuple[Params, State]:
        return state["target"]["params"], state["target"]["stats"]

    def more_outputs(self, state: State, found: Outputs) -> dict[str, Array]:
        logits = found["prototypes"]
        return {"assignments": losses.sharpened(logits, state["center"], self.teacher_temperature)}

    def collapse_causes(self) -> tuple[str, ...]:
        found = []
        if self.center_momentum == 1:
            found.append(
                "method.center_momentum=1: a centre that never moves lets one prototype take all; try 0.9"
            )
        if max(self.teacher_temperature, self.teacher_temperature_start) >= self.student_temperature:
            found.append(
                f"method.teacher_temperature={self.teacher_temperature} is not below student_temperature="
                f"{self.student_temperature}: without sharpening the teacher becomes uniform"
            )
        return (*found, *super().collapse_causes())
