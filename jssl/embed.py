"""python -m jssl.embed --workdir=RUN --data=FOLDER_OR_TFDS --out=features.npz"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
from absl import flags

from jssl import cli, storage
from jssl.errors import UserError, of_system
from jssl.runs import encoder, workdir


def main(_: list[str]) -> None:
    """Writes features float32[N, D], labels int32[N] (-1: none), names str[N] and class_names."""
    from jssl.data import sources

    out = pathlib.Path(flags.FLAGS.out)
    if out.suffix != ".npz":
        raise UserError(f"--out={out} must end in .npz")
    if out.exists() and not flags.FLAGS.overwrite:
        raise UserError(f"--out={out} is there already: choose another name or give --overwrite")
    if not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"--out={out}: the folder {out.parent} may not be written to")
    video = workdir.read_config(storage.folder(flags.FLAGS.workdir)).data.video
    clips = sources.ClipSpec(**video)
    source = sources.load(flags.FLAGS.data, flags.FLAGS.split, flags.FLAGS.data_dir, False, clips)
    features = encoder.load(flags.FLAGS.workdir, flags.FLAGS.step).embed(source)
    names = np.asarray([source.filename(int(i)) for i in features.index])
    write(
        out,
        features=features.x,
        labels=features.labels,
        names=names,
        class_names=list(source.class_names or ()),
    )
    skipped = len(source) - len(names)
    print(
        f"{len(names)} x {features.x.shape[1]} features in {out}"
        + (f", {skipped} unreadable" if skipped else "")
    )


def write(out: pathlib.Path, **arrays: Any) -> None:
    """Writes an .npz whole or not at all.

    Raises:
      UserError: if it cannot be written.
    """
    try:
        with storage.writing(out) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise of_system(error, f"cannot write --out={out}") from error


def define_flags() -> None:
    """Flags of this command line only."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("data", None, "A folder of images or videos, an .npz, or a TFDS name.")
    flags.DEFINE_string("split", "train", "Its split; TFDS slicing works.")
    flags.DEFINE_string("data_dir", None, "Of TFDS; default TFDS_DATA_DIR.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
    flags.DEFINE_string("out", "features.npz", "The file to write.")
    flags.DEFINE_bool("overwrite", False, "Write over a file of that name.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, required=["workdir", "data"])
