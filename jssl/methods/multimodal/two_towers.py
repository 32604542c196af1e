"""What methods of images and something beside them share: a second tower, for captions or for sound."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar

from jssl import models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import Method
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class TwoTowers(EncoderWithHeads):
    """An encoder with heads on one view of the images, and a chain of networks on what lies beside them.

    params  those of `EncoderWithHeads`, and those of the second tower's networks by their names
    state   {'stats': {the same names}}

    Attributes:
      views: the one view of the images.
      modality: entry of the unlabelled stream that the second tower sees: 'text' or 'audio'.
      how_to_get_it: what a user sets for it to be there.
    """

    views: tuple[str, ...] = ("first",)

    modality: ClassVar[str]
    how_to_get_it: ClassVar[str]

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("image", self.modality)

    @property
    @abc.abstractmethod
    def towers(self) -> Mapping[str, models.Network]:
        """The networks of the second tower, by name, in order."""

    def check(self, batch: Batch) -> None:
        name = type(self).__name__
        Method.check(self, batch)
        if len(self.get_views(batch)) != 1:
            raise UserError(f"{name} takes one view of every image, method.views={self.views}")
        if self.modality not in batch["unlabeled"]:
            raise UserError(f"{name} needs {self.how_to_get_it}")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        stats, x = dict(state["stats"]), batch["unlabeled"][self.modality]
        for name, network in self.towers.items():
            params[name], stats[name] = network.init(rng.derive(key, name), x)
            x, _ = network.apply(params[name], stats[name], x, train=False)
        return params, {**state, "stats": stats}

    def forward_beside(
        self, params: Params, stats: State, x: Array, train: bool = True, key: Array | None = None
    ) -> tuple[dict[str, Array], State]:
        """The output of every network of the second tower, and the new statistics."""
        found, stats = {}, dict(stats)
        for name, network in self.towers.items():
            own = None if key is None else rng.derive(key, name)
            x, stats[name] = network.apply(params[name], stats[name], x, train=train, key=own)
            found[name] = x
        return found, stats


@dataclasses.dataclass(frozen=True)
class WithText(TwoTowers):
    """Images and their captions: the second tower begins with a transformer over tokens, 'text'.

    Attributes:
      text_features: width of the text tower.
      text_layers: its blocks.
      text_heads: its attention heads; 0 for one to every 64 features.
      text_causal: whether a token sees those before it alone; else all of its caption.
      text_vocabulary, text_end: see `RunInfo`.
    """

    modality = "text"
    how_to_get_it = "captions: set data.text.context to the tokens of one, 32 say"

    text_features: int = settings.size(512)
    text_layers: int = settings.size(12)
    text_heads: int = settings.count(0)
    text_causal: bool = True
    text_vocabulary: int = 0
    text_end: int = 0

    @functools.cached_property
    def text_tower(self) -> models.Network:
        """The transformer: tokens int32[B, N] to float32[B, text_features]."""
        text = models.text_transformer(
            max(1, self.text_vocabulary),
            self.text_end,
            features=self.text_features,
            layers=self.text_layers,
            heads=self.text_heads,
            causal=self.text_causal,
            dtype=self.dtype,
        )
        return dataclasses.replace(text, chunks=self.encoder.chunks)
