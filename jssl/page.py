"""python -m jssl.page --runs=RUN[,RUN] --out=report.html: finished runs as one HTML file that needs nothing else."""

from __future__ import annotations

import pathlib

from absl import flags
from etils import epath

from jssl import cli
from jssl.errors import UserError


def main(_: list[str]) -> None:
    """Writes the page."""
    from jssl.runs import pages

    given = flags.FLAGS
    out = pathlib.Path(given.out)
    cli.check_out(out, given.overwrite)
    if not any(given.runs):
        raise UserError("--runs is empty: name folders of finished runs, --runs=runs/a,runs/b")
    pages.write(given.runs, epath.Path(out))
    print(f"{len(given.runs)} run{'s' * (len(given.runs) > 1)} in {out}")


def define_flags() -> None:
    """Flags of this command line only."""
    flags.DEFINE_list("runs", None, "Folders of finished runs.")
    flags.DEFINE_string("out", "report.html", "The file to write.")
    flags.DEFINE_bool("overwrite", False, "Write over a file of that name.")


if __name__ == "__main__":
    define_flags()
    cli.run(main, required=["runs"])
