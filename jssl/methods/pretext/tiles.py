"""What jigsaw puzzles and context prediction share: tiles of a view, each of which passes the encoder on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax

from jssl import rng, settings
from jssl.data.augment.tiles import COLOURS, Tiles, cut
from jssl.errors import UserError
from jssl.methods.base import ViewRef, get_view
from jssl.methods.view_task import TermInputs, ViewTask, streams_of
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class TileTask(ViewTask):
    """A pretext task on tiles of a view.

    Attributes:
      view: name of the view that tiles are cut out of, of either stream.
      on_labeled: whether the labelled images, if there are some, are cut, too.
      grid: cells on a side of the view.
      tile: side of a tile in pixels; what a cell has more is the gap between tiles, without which their edges
        solve the task.
      jitter: largest shift of a tile from the middle of its cell, in pixels.
      colour: against chromatic aberration: 'drop', 'project' or '', see `augment.tiles.Tiles`.
      standardize: whether every tile has mean 0 and deviation 1.
      shrink_prob: part of the tiles that are shrunk to between 10 pixels and their size and enlarged again, so that the
        sharpness of pixels tells nothing.
    """

    view: str = "weak"
    on_labeled: bool = True
    grid: int = settings.size(3, at_least=2)
    tile: int = settings.size(64)
    jitter: int = settings.count(10)
    colour: str = settings.choice("", COLOURS)
    standardize: bool = True
    shrink_prob: float = settings.part(0.0)

    @property
    def uses_classifier(self) -> bool:
        return False

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        streams = ("unlabeled", *streams_of(batch, self.on_labeled))
        return dict.fromkeys(streams, (self.view,))

    @property
    def tiles(self) -> Tiles:
        """The tiles of an image in training."""
        return Tiles(self.grid, self.tile, self.jitter, self.colour, self.standardize, self.shrink_prob)

    def tiles_of(self, stream: str) -> ViewRef:
        """A reference to the tiles of a stream's images."""
        return ViewRef(stream, self.view, tiles=self.tiles)

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return tuple(map(self.tiles_of, streams_of(batch, self.on_labeled)))

    def features_of(self, stream: str, inputs: TermInputs) -> Array:
        """Features of the tiles of a stream's images, float32[B, tiles, D]."""
        features = inputs.predictions[self.tiles_of(stream)].features
        return features.reshape(-1, self.grid**2, features.shape[-1])

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """Besides features 'patches', float32[B, tiles, S, S, C], cut at rest, and 'patch_features' [B, tiles, D]."""
        found = super().outputs(params, state, inputs, modality)
        plain = self.tiles._replace(jitter=0, colour="", standardize=False, shrink_prob=0.0)
        seen = plain._replace(standardize=self.standardize)
        keys = jax.random.split(rng.root(0), len(inputs))
        features = self.encoder.apply(
            *self.eval_encoder(params, state), cut(keys, inputs, seen), train=False
        )[0]
        patches = cut(keys, inputs, plain)
        shape = (len(inputs), self.grid**2)
        return {
            **found,
            "patches": patches.reshape(*shape, *patches.shape[1:]),
            "patch_features": features.reshape(*shape, -1),
        }

    def check(self, batch: Batch) -> None:
        super().check(batch)
        for stream in streams_of(batch, self.on_labeled):
            side = get_view(batch, ViewRef(stream, self.view)).shape[1]
            cell = side // self.grid
            if self.tile + 2 * self.jitter > cell:
                raise UserError(
                    f"{type(self).__name__}: tiles of {self.tile} pixels, shifted by up to {self.jitter}, do not fit "
                    f"into cells of {cell} (data.{stream}.views.{self.view}.size={side} over grid={self.grid}): set "
                    "method.tile or method.jitter smaller"
                )
