"""python -m jssl.probe_curves --runs=runs/a,runs/b --out=curves.png [--data=FOLDER_OR_TFDS]

How fast a linear classifier learns on the frozen encoders of runs, beside that of the untrained one: one picture.
"""

from __future__ import annotations

import os

from absl import flags

from jssl import cli, storage
from jssl.errors import UserError

RUNS = flags.DEFINE_list("runs", None, "Folders of runs; the untrained encoder is that of the first.")
OUT = flags.DEFINE_string("out", None, "The picture to write, a .png.")
EPOCHS = flags.DEFINE_float("epochs", 10.0, "Length of each probe.")
POINTS = flags.DEFINE_integer("points", 10, "Points of each curve.")
DATA = flags.DEFINE_string("data", None, "Other data that they learn: a folder, an .npz, or a TFDS name.")
DATA_DIR = flags.DEFINE_string("data_dir", "", "Of TFDS; default TFDS_DATA_DIR.")
TRAIN = flags.DEFINE_string("train", "train", "Their split to learn from; TFDS slicing works.")
TEST = flags.DEFINE_string("test", "", "Their split to be scored; default test or validation.")


def main(_: list[str]) -> None:
    """Writes the picture and prints its numbers, a row a run."""
    folders = list({os.path.realpath(folder): folder for folder in RUNS.value or []}.values())
    out = storage.located(OUT.value or "")
    if not folders or not EPOCHS.value > 0 or POINTS.value < 1 or out.suffix.lower() != ".png":
        raise UserError(
            "--runs takes folders of runs, --out a .png, --epochs a number above 0, --points one of at least 1"
        )
    if not storage.is_remote(out) and not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    from jssl.report import compare, pictures
    from jssl.runs import probe_curves

    data = None
    if DATA.value:
        data = probe_curves.OtherData(DATA.value, DATA_DIR.value, TRAIN.value, TEST.value)
    curves = probe_curves.probe_curves(folders, EPOCHS.value, POINTS.value, data)
    pictures.save(compare.probe_curves(curves), out)
    print(compare.probe_table(curves))


if __name__ == "__main__":
    cli.run(main, required=["runs", "out"])
