"""The encoder of a run, for whoever has images."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from jssl.errors import UserError
from jssl.runs.restore import restore

if TYPE_CHECKING:
    from etils import epath

    from jssl.data.sources import Source
    from jssl.evaluation.extract import Features
    from jssl.train.program import Program
    from jssl.train.state import TrainState


class Encoder:
    """A trained encoder that takes uint8 images of any one size and gives features."""

    def __init__(self, program: Program, state: TrainState):
        self._program, self._state = program, state
        self._call = functools.partial(program.features, state.params, state.method_state)

    @property
    def params(self):  # type: ignore[no-untyped-def]
        """The encoder's parameters, a pytree."""
        return self._program.method.eval_encoder(self._state.params, self._state.method_state)[0]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of a batch.

        Args:
          images: uint8[B, H, W, C] with the channels that the encoder was trained on; resized if need be.

        Returns:
          float32[B, D].

        Raises:
          UserError: if the images are not that.
        """
        images = np.asarray(images)
        channels = self._program.info.channels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != channels:
            raise UserError(
                f"the encoder takes uint8[B, H, W, {channels}], not {images.dtype}{list(images.shape)}"
            )
        return np.asarray(self._call(jnp.asarray(images)))

    def embed(self, source: Source) -> Features:
        """Features of all readable images of a source, preprocessed as the evaluators do.

        Files are decoded to the channels that the encoder takes; arrays must have them.
        """
        from jssl.data.sources import ArraySource
        from jssl.evaluation.extract import extract_source

        channels = self._program.info.channels
        if source.channels != channels:
            if isinstance(source, ArraySource):
                raise UserError(f"{source.name} has {source.channels} channels, the encoder takes {channels}")
            source.channels = channels
        return extract_source(self._program, self._call, source)


def load(workdir: str | epath.Path, step: int | None = None) -> Encoder:
    """The encoder of a run, of its newest checkpoint or of a step; the run's data are not needed.

    Raises:
      UserError: if the folder holds no run, or no checkpoint yet.
    """
    from etils import epath

    from jssl.runs import workdir as workdirs
    from jssl.train import program

    folder = epath.Path(workdir)
    config = workdirs.read_config(folder)
    prog = program.make_program(config, workdirs.read_info(folder), for_training=False)
    return Encoder(prog, restore(prog, folder, step))
