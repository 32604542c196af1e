"""What methods of images and something beside them share: a second tower, for captions or for sound."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from jssl import models, rng
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
