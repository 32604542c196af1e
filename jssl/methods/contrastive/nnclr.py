"""NNCLR."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.methods.base import Context, Output
from jssl.methods.memory import enqueue, make_queue
from jssl.methods.networks import InBatchContrastive
from jssl.methods.validation import check_queue, unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class NNCLR(InBatchContrastive):
    """NNCLR: the positive of one view's prediction is not the other view but its nearest neighbour in a queue.

    The negatives are the predictions of the batch's other images. The queue takes the first view's embeddings
    after the loss.

    Attributes:
      proj_hidden_dim: width of the projector's hidden layers.
      proj_dim: width of the embedding.
      pred_hidden_dim: width of the predictor's hidden layer.
      temperature: temperature of the softmax.
      queue_size: embeddings to look for neighbours in.

    References:
      Dwibedi et al., With a Little Help from My Friends, 2021, eq. 4. https://arxiv.org/abs/2104.14548
    """

    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(256)
    pred_hidden_dim: int = settings.size(4096)
    temperature: float = settings.positive(0.1)
    queue_size: int = settings.size(98304)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_hidden_dim, self.proj_hidden_dim, self.proj_dim)
        return {
            "projector": models.mlp(sizes, last_batch_norm=True, dtype=self.dtype),
            "predictor": models.mlp((self.pred_hidden_dim, self.proj_dim), dtype=self.dtype),
        }

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("queue",)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        rows = len(self.get_views(batch)[0])
        check_queue(self.queue_size, rows, f"batch of {rows}")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        return params, {
            **state,
            "queue": make_queue(rng.derive(key, "queue"), self.queue_size, self.proj_dim),
        }

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        both, stats = self.forward_per_view(params, state["stats"], self.get_views(batch), ctx.key)
        queue = state["queue"]
        z1, z2 = (losses.normalize(o["projector"]) for o in both)
        p1, p2 = (o["predictor"] for o in both)
        n1, n2 = (nearest(z, queue.rows) for z in (z1, z2))
        similarity = self.similarity_form(len(z1))
        one = losses.info_nce(n1, p2, None, self.temperature, similarity)
        two = losses.info_nce(n2, p1, None, self.temperature, similarity)
        state = {**state, "stats": stats, "queue": enqueue(queue, z1)}
        metrics = {
            "contrastive/information": mutual_information_bound((one + two) / 2, len(z1)),
            "contrastive/neighbour_similarity": jnp.mean(jnp.sum(z1 * n1, axis=-1)),
        }
        return (one + two) / 2, self.output(state, batch, both[0], metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        return unusual_temperature(self.temperature, 0.05, 1.0)


def nearest(z: Array, rows: Array) -> Array:
    """The row with the largest inner product with each z, float32[N, D] without gradient."""
    z = jax.lax.stop_gradient(z)
    similarity = jnp.matmul(z, rows.T, precision=jax.lax.Precision.HIGHEST)
    return rows[jnp.argmax(similarity, axis=1)]
