"""SwAV."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.methods.base import Context, Output
from jssl.methods.memory import Queue, enqueue, make_queue
from jssl.methods.networks import MultiCrop, Outputs, teacher_health
from jssl.methods.validation import check_queue
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SwAV(MultiCrop):
    """SwAV: every crop predicts the prototypes that each other global crop is assigned to.

    The first two views are the global crops. Assignments come from Sinkhorn-Knopp over the global batch and, once
    it is full, over a queue of earlier embeddings, which are scored with the current prototypes. The recipe
    freezes the prototypes for the first 313 steps (`optim.groups`).

    Attributes:
      proj_hidden_dim: width of the projector's hidden layer.
      proj_dim: width of the embedding.
      prototypes: number of prototypes.
      temperature: temperature of the predictions.
      epsilon: of the assignments; smaller is harder.
      iterations: of Sinkhorn-Knopp.
      queue_size: embeddings remembered for each global crop; 0 for no queue.
      queue_start_epochs: from when on the queue is used.

    References:
      Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020.
      https://arxiv.org/abs/2006.09882
    """

    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(128)
    prototypes: int = settings.size(3000, at_least=2)
    temperature: float = settings.positive(0.1)
    epsilon: float = settings.positive(0.05)
    iterations: int = settings.size(3)
    queue_size: int = settings.count(3840)
    queue_start_epochs: float = settings.weight(15.0)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {
            "projector": models.mlp((self.proj_hidden_dim, self.proj_dim), dtype=self.dtype),
            "prototypes": models.prototypes(self.prototypes),
        }

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("queues", "prototypes")

    def check(self, batch: Batch) -> None:
        super().check(batch)
        rows = len(self.get_views(batch)[0])
        check_queue(self.queue_size, rows, f"batch of {rows}", " (0: no queue)")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        keys = [rng.derive(key, "queue", i) for i in range(2)] if self.queue_size else []
        return params, {**state, "queues": tuple(make_queue(k, self.queue_size, self.proj_dim) for k in keys)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views, queues = self.get_views(batch), state["queues"]
        found, stats = self.forward_multicrop(params, state["stats"], views, ctx.key)
        scores = [f["prototypes"] for f in found]
        if self.queue_size:
            targets = [self._assign(params, s, q, ctx) for s, q in zip(scores, queues)]
        else:
            targets = [losses.sinkhorn(s, self.epsilon, self.iterations) for s in scores[:2]]
        value = losses.swapped_prediction(scores, targets, self.temperature)
        queues = tuple(enqueue(q, losses.normalize(f["projector"])) for q, f in zip(queues, found))
        state = {**state, "stats": stats, "queues": queues}
        return value, self.output(state, batch, found[0], teacher_health(targets[0]))

    def _assign(self, params: Params, scores: Array, queue: Queue, ctx: Context) -> Array:
        """Assignments of the batch, among those of the queue where that is in use."""

        def with_queue(scores: Array, rows: Array) -> Array:
            earlier = self.networks["prototypes"].apply(params["prototypes"], {}, rows, train=True)[0]
            both = jnp.concatenate([scores, earlier])
            return losses.sinkhorn(both, self.epsilon, self.iterations)[: len(scores)]

        def without(scores: Array, rows: Array) -> Array:
            del rows
            return losses.sinkhorn(scores, self.epsilon, self.iterations)

        late = ctx.step >= self.queue_start_epochs * ctx.steps_per_epoch
        use = (queue.filled == self.queue_size) & late
        scores, rows = jax.lax.stop_gradient((scores, queue.rows))
        return jax.lax.cond(use, with_queue, without, scores, rows)

    def more_outputs(self, state: State, found: Outputs) -> dict[str, Array]:
        return {"assignments": losses.sinkhorn(found["prototypes"], self.epsilon, self.iterations)}

    def collapse_causes(self) -> tuple[str, ...]:
        soft = self.epsilon > self.temperature
        text = f"method.epsilon={self.epsilon} is above temperature={self.temperature}: assignments become uniform"
        return (text,) if soft else ()
