"""Exemplar-CNN: every image is a class of its own, learnt by a softmax."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
from absl import logging

from jssl import losses, models
from jssl.methods.base import Context, Method, Output
from jssl.methods.memory import padded_rows
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State

MANY = 16000  # surrogate classes beyond which the paper found accuracy to fall
NEVER = -1e30  # the score of what is no image


@dataclasses.dataclass(frozen=True)
class ExemplarCNN(EncoderWithHeads):
    """Exemplar-CNN: every image with all of its views is a class of its own, of a linear classifier.

    The classifier grows with the data and is split over the devices; `exemplar` (triplets) and `instdisc` (a memory
    bank) have the same aim without it. Seeds are whole images; the paper cuts patches of 32 pixels out of larger ones.

    Attributes:
      num_examples: size of the data set; the program knows it.

    References:
      Dosovitskiy et al., Discriminative Unsupervised Feature Learning with Exemplar CNNs, 2014.
      https://arxiv.org/abs/1406.6909
    """

    views: tuple[str, ...] = ("first",)
    num_examples: int = 0

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"exemplars": models.linear(padded_rows(self.num_examples), kernel_init="normal")}

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("exemplars",)

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        if self.num_examples > MANY:
            logging.warning(
                "exemplar_cnn: %s classes, one for every image: beyond some 16,000 images are too alike to be told "
                "apart; method.name='exemplar' compares them within a batch",
                f"{self.num_examples:,}",
            )

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        index = batch["unlabeled"]["index"]
        found, stats = self.forward(params, state["stats"], self.get_views(batch)[0], key=ctx.key)
        there = jnp.arange(found["exemplars"].shape[1]) < self.num_examples
        logits = jnp.where(there, found["exemplars"], NEVER)
        value = losses.cross_entropy(logits, index)
        right = jnp.mean(jnp.argmax(logits, axis=-1) == index)
        return value, self.output({**state, "stats": stats}, batch, found, {"exemplar/top1": right})
