"""Exponential moving averages, and methods whose targets are averages of their own networks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import settings
from jssl.methods.base import Context
from jssl.methods.networks import EncoderWithHeads
from jssl.schedules import cosine
from jssl.types import Array, Batch, Params, PyTree, State


def ema(target: PyTree, online: PyTree, decay: float | Array) -> PyTree:
    """Exponential moving average, decay * target + (1 - decay) * online, leaf by leaf in float32.

    Args:
      target: the average so far, float32 leaves.
      online: what it follows, of the same structure; any float dtype.
      decay: in [0, 1].

    Returns:
      The new average, float32 leaves: bfloat16 has too few bits for a decay near 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.methods import momentum
      >>> target = momentum.ema({"w": jnp.array(0.0)}, {"w": jnp.array(1.0)}, decay=0.75)
      >>> float(target["w"])
      0.25
    """
    return jax.tree.map(
        lambda t, o: decay * t.astype(jnp.float32) + (1 - decay) * o.astype(jnp.float32), target, online
    )


@dataclasses.dataclass(frozen=True)
class MomentumTarget(EncoderWithHeads):
    """A method whose targets come from an exponential moving average of its own networks.

    state['target'] = {'params', 'stats'} of the networks `averaged`. The target runs in training mode and has
    batch statistics of its own, as in the official codes; only parameters are averaged.

    Attributes:
      momentum: how much of the target an update keeps, in [0, 1], at the beginning.
      momentum_end: the same at the end; a cosine leads there.
    """

    momentum: float = settings.fraction(0.996)
    momentum_end: float = settings.fraction(1.0)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The networks that have a target."""
        return ("encoder", "projector")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        chosen = ({name: tree[name] for name in self.averaged} for tree in (params, state["stats"]))
        target = dict(zip(("params", "stats"), jax.tree.map(jnp.copy, tuple(chosen))))
        return params, {**state, "target": target} if self.averaged else state

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        if not self.averaged:
            return state
        decay = cosine(ctx.progress, self.momentum, self.momentum_end)
        online = {name: params[name] for name in self.averaged}
        return {
            **state,
            "target": {**state["target"], "params": ema(state["target"]["params"], online, decay)},
        }

    def collapse_causes(self) -> tuple[str, ...]:
        moves = self.momentum < 1 or not self.averaged
        return () if moves else (f"method.momentum={self.momentum}: the target never moves; try 0.99",)
