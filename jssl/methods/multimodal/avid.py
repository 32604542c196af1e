"""AVID: audio-visual instance discrimination across modalities, with memory banks of both."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses, rng, settings
from jssl.errors import UserError
from jssl.methods.base import Context, Output
from jssl.methods.memory import make_bank, update_bank
from jssl.methods.multimodal.audio_visual import AudioVisual, accuracy, cross_entropy
from jssl.methods.validation import unusual_temperature
from jssl.metrics import mutual_information_bound
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class AVID(AudioVisual):
    """Cross-AVID: an image finds its own sound in a memory bank of all sounds, and a sound its image in one of images.

    The softmax is over the own row and drawn ones, where the paper estimates the same by NCE. The classifier of pairs
    is that of AudioVisual with fusion 'distance'; here it is a probe, from which nothing reaches the towers.

    params  those of AudioVisual
    state   {'stats', 'image_bank', 'sound_bank': unit rows float32[M, proj_dim]}

    Attributes:
      temperature: of the softmax.
      negatives: rows of a bank drawn for each batch.
      bank_momentum: how much of a row an update keeps.
      num_examples: see `RunInfo`.

    References:
      Morgado et al., Audio-Visual Instance Discrimination with Cross-Modal Agreement, 2021, section 3.
      https://arxiv.org/abs/2004.12943
    """

    temperature: float = settings.positive(0.07)
    negatives: int = settings.size(1024)
    bank_momentum: float = settings.fraction(0.5)
    num_examples: int = 0

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("image_bank", "sound_bank")

    @property
    def auxiliary(self) -> tuple[str, ...]:
        return ("pair_classifier",)

    def check(self, batch: Batch) -> None:
        if self.fusion != "distance" or self.negative_sounds != "another":
            raise UserError(
                "AVID compares embeddings of whole examples: set method.fusion='distance' and "
                f"method.negative_sounds='another', not {self.fusion!r} and {self.negative_sounds!r}"
            )
        super().check(batch)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        banks = {
            name: make_bank(rng.derive(key, name), self.num_examples, self.proj_dim) for name in self.sharded
        }
        return params, {**state, **banks}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        seen, heard, stats = self._forward_pairs(params, state["stats"], batch, ctx)
        a, b = losses.normalize(seen["projector"]), losses.normalize(heard[0])
        index, banks = batch["unlabeled"]["index"], (state["image_bank"], state["sound_bank"])
        drawn = jax.random.randint(rng.derive(ctx.key, "negatives"), (self.negatives,), 0, self.num_examples)
        found = [
            losses.info_nce(z, bank[index], bank[drawn], self.temperature)
            for z, bank in zip((a, b), reversed(banks))
        ]
        moved = [update_bank(bank, index, z, self.bank_momentum) for bank, z in zip(banks, (a, b))]
        first, second = jax.lax.stop_gradient((a, b))
        own, other = (self.pair_logits(params, first, z) for z in (second, jnp.roll(second, -1, axis=0)))
        probe = jnp.mean(cross_entropy(own, 1) + cross_entropy(other, 0)) / 2
        value = (found[0] + found[1]) / 2
        metrics = {
            "contrastive/information": mutual_information_bound(value, self.negatives + 1),
            "correspondence/accuracy": accuracy(own, other),
            "correspondence/loss": probe,
        }
        state = {**state, "stats": stats, **dict(zip(self.sharded, moved))}
        return value + probe, self.output(state, batch, seen, metrics)

    def collapse_causes(self) -> tuple[str, ...]:
        return (*super().collapse_causes(), *unusual_temperature(self.temperature, 0.02, 1.0))
