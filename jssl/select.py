"""python -m jssl.select --runs=runs/a,runs/b --per_class=1,5

Which finished run is best, and would few labels have told? Without labels: which has the largest effective rank.
"""

from __future__ import annotations

import os

from absl import flags

from jssl import cli
from jssl.errors import UserError

RUNS = flags.DEFINE_list("runs", None, "Folders of finished runs on the same data.")
PER_CLASS = flags.DEFINE_list(
    "per_class", ["1", "5"], "Sizes of small validation sets, in images of every class."
)
DRAWS = flags.DEFINE_integer("draws", 1000, "Small validation sets that are drawn.")


def main(_: list[str]) -> None:
    """Prints the runs by their accuracy on the held-out part of train, and how small parts of it rank them."""
    folders = list({os.path.realpath(folder): folder for folder in RUNS.value or []}.values())
    sizes = [int(size) if size.isdigit() else 0 for size in PER_CLASS.value]
    if len(folders) < 2 or DRAWS.value < 1 or min(sizes, default=0) < 1:
        raise UserError(
            "--runs takes two folders at least, not one twice, --per_class and --draws numbers of at least 1"
        )
    from jssl.runs import selection

    print(selection.compare(folders, sizes, DRAWS.value))


if __name__ == "__main__":
    cli.run(main, required=["runs"])
