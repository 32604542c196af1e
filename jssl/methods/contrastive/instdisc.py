"""Instance discrimination with a memory bank."""

from __future__ import annotations

import dataclasses
import functools

import jax

from jssl import losses, models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import Context, Method, Output
from jssl.methods.memory import make_bank, update_bank
from jssl.methods.networks import EncoderWithHeads
from jssl.methods.validation import unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class InstDisc(EncoderWithHeads):
    """Instance discrimination: every image is a class of its own, whose weight is its row in a memory bank.

    One view an image. The bank is updated after the loss. With `negatives` the softmax is over the own row and
    that many drawn ones, where the official ImageNet code estimates the same by NCE.

    Attributes:
      proj_dim: width of the embedding.
      temperature: temperature of the softmax; the official CIFAR code takes 0.1.
      negatives: rows drawn for each batch; 0 takes the whole bank.
      bank_momentum: how much of a row an update keeps.
      num_examples: size of the data set; the program knows it.

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018.
      https://arxiv.org/abs/1805.01978
    """

    views: tuple[str, ...] = ("first",)
    proj_dim: int = settings.size(128)
    temperature: float = settings.positive(0.07)
    negatives: int = settings.count(4096)
    bank_momentum: float = settings.fraction(0.5)
    num_examples: int = 0

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"projector": models.mlp((self.proj_dim,), batch_norm=False, dtype=self.dtype)}

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("bank",)

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        number = len(self.get_views(batch))
        if number != 1:
            raise UserError(f"InstDisc takes one view of every image, method.views={self.views} are {number}")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        return params, {**state, "bank": make_bank(rng.derive(key, "bank"), self.num_examples, self.proj_dim)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        stream, bank = batch["unlabeled"], state["bank"]
        (found,), stats = self.forward_per_view(params, state["stats"], self.get_views(batch), ctx.key)
        z, index = losses.normalize(found["projector"]), stream["index"]
        if self.negatives:
            key = rng.derive(ctx.key, "negatives")
            drawn = jax.random.randint(key, (self.negatives,), 0, self.num_examples)
            value = losses.info_nce(z, bank[index], bank[drawn], self.temperature)
        else:
            value = losses.instance_discrimination(z, bank, index, self.temperature, self.num_examples)
        candidates = self.negatives + 1 if self.negatives else self.num_examples
        metrics = {"contrastive/information": mutual_information_bound(value, candidates)}
        state = {**state, "stats": stats, "bank": update_bank(bank, index, z, self.bank_momentum)}
        return value, self.output(state, batch, found, metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        return unusual_temperature(self.temperature, 0.02, 1.0)
