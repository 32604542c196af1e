"""python -m jssl.export --workdir=RUN --out=FOLDER: the encoder of a run for timm, torchvision and others."""

from __future__ import annotations

import pathlib

from absl import flags

from jssl import cli
from jssl.runs import export

FORMATS = ("safetensors", "npz", "stablehlo", "onnx")


def main(_: list[str]) -> None:
    """Writes the encoder, its config.json and a README.md that says where it comes from."""
    given = flags.FLAGS
    written = export.export(given.workdir, pathlib.Path(given.out), given.format, given.step)
    print(f"{', '.join(path.name for path in written)} in {given.out}")


def define_flags() -> None:
    """Flags of this command line only."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("out", None, "The folder to write; it must not be there yet.")
    flags.DEFINE_enum("format", "safetensors", FORMATS, "See docs/weights.md.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, required=["workdir", "out"])
