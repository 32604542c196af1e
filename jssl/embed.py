"""python -m jssl.embed --workdir=RUN --data=FOLDER_OR_TFDS --out=features.npz"""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from absl import flags

from jssl import cli
from jssl.errors import UserError

if TYPE_CHECKING:
    from etils import epath

    from jssl.data.sources import Source
    from jssl.evaluation.extract import Features
    from jssl.program import Program
    from jssl.state import TrainState


class Encoder:
    """A trained encoder that takes uint8 images of any one size and gives features."""

    def __init__(self, program: Program, state: TrainState):
        self._program, self._state = program, state
        self._call = functools.partial(program.features, state.params, state.method_state)

    @property
    def params(self):  # type: ignore[no-untyped-def]
        """The encoder's parameters, a pytree."""
        return self._program.method.kept(self._state.params, self._state.method_state)[0]

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
        from jssl.evaluation.suite import extract_source

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

    from jssl import program, stages
    from jssl import workdir as workdirs

    folder = epath.Path(workdir)
    config = workdirs.read_config(folder)
    prog = program.make_program(config, workdirs.read_info(folder), for_training=False)
    return Encoder(prog, stages.restore(prog, folder, step))


def main(_: list[str]) -> None:
    """Writes features float32[N, D], labels int32[N] (-1: none) and names str[N]."""
    from jssl.data import sources

    out = pathlib.Path(flags.FLAGS.out)
    if out.suffix != ".npz":
        raise UserError(f"--out={out} must end in .npz")
    if out.exists() and not flags.FLAGS.overwrite:
        raise UserError(f"--out={out} is there already: choose another name or give --overwrite")
    if not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    source = sources.load(flags.FLAGS.data, flags.FLAGS.split, flags.FLAGS.data_dir)
    features = load(flags.FLAGS.workdir, flags.FLAGS.step).embed(source)
    names = np.asarray([source.filename(int(i)) for i in features.index])
    np.savez(out, features=features.x, labels=features.labels, names=names)
    skipped = len(source) - len(names)
    print(
        f"{len(names)} x {features.x.shape[1]} features in {out}"
        + (f", {skipped} unreadable" if skipped else "")
    )


def define_flags() -> None:
    """Flags of this command line only."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("data", None, "A folder of images, an .npz, or a TFDS name.")
    flags.DEFINE_string("split", "train", "Its split; TFDS slicing works.")
    flags.DEFINE_string("data_dir", None, "Of TFDS; default TFDS_DATA_DIR.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
    flags.DEFINE_string("out", "features.npz", "The file to write.")
    flags.DEFINE_bool("overwrite", False, "Write over a file of that name.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, required=["workdir", "data"])
