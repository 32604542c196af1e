"""MoCo v1 and v2, and the two mechanisms that their paper compares the queue with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl import losses, models, rng, settings
from jssl.methods.base import Context, Output
from jssl.methods.memory import enqueue, make_bank, make_queue, update_bank
from jssl.methods.momentum import MomentumTarget
from jssl.methods.networks import InBatchContrastive, Outputs
from jssl.methods.validation import check_queue, unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State

MECHANISMS = ("queue", "memory_bank", "end_to_end")


@dataclasses.dataclass(frozen=True)
class MoCo(InBatchContrastive, MomentumTarget):
    """MoCo: a query of one view picks its key, which a momentum encoder makes of the other view, out of a queue.

    The logits are those with the queue as it was; this batch's keys enter it afterwards. The momentum update
    ends a step, so that it comes before the next step's keys, as in the official code.

    Batch statistics of one batch would tell a key which query it belongs to. The official code therefore
    normalises on each GPU alone and shuffles the keys between them. Here `encoder.*.batch_norm_groups` is the
    number of those GPUs, whatever the devices are, and `shuffle` permutes the keys' batch.

    Attributes:
      version: 1 has a linear head, 2 an MLP.
      proj_hidden_dim: width of the MLP's hidden layer.
      proj_dim: width of queries and keys.
      temperature: temperature of the softmax; version 2 takes 0.2.
      queue_size: negatives of a query: rows of the queue, or drawn from the memory bank.
      symmetric: every view is query once and key once; the loss is the mean of both.
      shuffle: permute the keys' batch.
      mechanism: where the negatives come from. 'queue' is MoCo; 'memory_bank' draws them, and takes the key,
        from a bank with a row for every image; 'end_to_end' takes the other keys of the batch, from the same
        encoder and with gradient.
      bank_momentum: how much of a bank's row an update keeps.
      num_examples: size of the data set; the program knows it.

    References:
      He et al., Momentum Contrast, 2020, figure 2 and algorithm 1. https://arxiv.org/abs/1911.05722
      Chen et al., Improved Baselines with Momentum Contrastive Learning, 2020. https://arxiv.org/abs/2003.04297
    """

    version: int = settings.choice(1, (1, 2), hint="version 3 is configs/mocov3.py")
    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(128)
    temperature: float = settings.positive(0.07)
    queue_size: int = settings.size(65536)
    momentum: float = settings.fraction(0.999)
    momentum_end: float = settings.fraction(0.999)
    symmetric: bool = False
    shuffle: bool = True
    mechanism: str = settings.choice("queue", MECHANISMS)
    bank_momentum: float = settings.fraction(0.5)
    num_examples: int = 0

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        sizes = (self.proj_dim,) if self.version == 1 else (self.proj_hidden_dim, self.proj_dim)
        return {"projector": models.mlp(sizes, batch_norm=False, dtype=self.dtype)}

    @property
    def averaged(self) -> tuple[str, ...]:
        return ("encoder", "projector") if self.mechanism == "queue" else ()

    @property
    def sharded(self) -> tuple[str, ...]:
        return {"queue": ("queue",), "memory_bank": ("bank",), "end_to_end": ()}[self.mechanism]

    def check(self, batch: Batch) -> None:
        super().check(batch)
        keys = len(self.get_views(batch)[0]) * (2 if self.symmetric else 1)
        if self.mechanism == "queue":
            check_queue(self.queue_size, keys, f"{keys} keys of a step")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        if self.mechanism == "queue":
            state["queue"] = make_queue(rng.derive(key, "queue"), self.queue_size, self.proj_dim)
        elif self.mechanism == "memory_bank":
            state["bank"] = make_bank(rng.derive(key, "bank"), self.num_examples, self.proj_dim)
        return params, state

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        views = self.get_views(batch)
        asked = 2 if self.symmetric or self.mechanism == "end_to_end" else 1
        online, stats = self.forward_per_view(params, state["stats"], views[:asked], ctx.key)
        state = {**state, "stats": stats}
        queries = [o["projector"] for o in online]
        if self.mechanism == "queue":
            value, state = self._with_queue(state, queries, views[::-1][:asked], ctx)
        elif self.mechanism == "memory_bank":
            value, state = self._with_bank(state, queries, batch["unlabeled"]["index"], ctx)
        else:
            pairs = [(queries[0], queries[1]), (queries[1], queries[0])][: 2 if self.symmetric else 1]
            form = self.similarity_form(len(queries[0]))
            value = _mean([losses.info_nce(q, k, None, self.temperature, form) for q, k in pairs])
        return value, self.output(state, batch, online[0], self._metrics(value, len(views[0])))

    def _with_queue(
        self, state: State, queries: list[Array], views: Sequence[Array], ctx: Context
    ) -> tuple[Array, State]:
        """Keys of the momentum encoder against the queue, which then takes them in."""
        target, queue = state["target"], state["queue"]
        order: Array | slice = slice(None)
        back = order
        if (
            self.shuffle and self.encoder.batch_norm_groups > 1
        ):  # with one group it would only move images about
            order = jax.random.permutation(rng.derive(ctx.key, "shuffle"), len(views[0]))
            back = jnp.argsort(order)
        shuffled = [view[order] for view in views]
        outputs, stats = self.forward_per_view(target["params"], target["stats"], shuffled)
        keys = [losses.normalize(o["projector"][back]) for o in outputs]
        value = _mean([losses.info_nce(q, k, queue.rows, self.temperature) for q, k in zip(queries, keys)])
        queue = enqueue(queue, jnp.concatenate(keys))
        return value, {**state, "target": {**target, "stats": stats}, "queue": queue}

    def _with_bank(
        self, state: State, queries: list[Array], index: Array, ctx: Context
    ) -> tuple[Array, State]:
        """The image's own row against rows drawn from the bank; the row then moves towards the query."""
        bank = state["bank"]
        drawn = jax.random.randint(rng.derive(ctx.key, "negatives"), (self.queue_size,), 0, self.num_examples)
        keys, negatives = bank[index], bank[drawn]
        value = _mean([losses.info_nce(q, keys, negatives, self.temperature) for q in queries])
        bank = update_bank(bank, index, losses.normalize(queries[0]), self.bank_momentum)
        return value, {**state, "bank": bank}

    def _metrics(self, value: Array, batch_size: int) -> Outputs:
        candidates = batch_size if self.mechanism == "end_to_end" else self.queue_size + 1
        return {"contrastive/information": mutual_information_bound(value, candidates)}

    def collapse_causes(self) -> tuple[str, ...]:
        bank = (
            "method.mechanism='memory_bank': the bank begins as noise, which takes many epochs to leave; try 'queue'",
        )
        found = unusual_temperature(self.temperature, 0.02, 1.0) + super().collapse_causes()
        return (bank if self.mechanism == "memory_bank" else ()) + found


def _mean(values: list[Array]) -> Array:
    return jnp.mean(jnp.stack(values))
