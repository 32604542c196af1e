"""python -m jssl.sweep --config=simclr:digits --grid='optim.lr=.001,.01; seed=0,1' --out=runs/sweep

Many runs of one config, each in a folder below --out. The same command goes on where it was stopped; docs/sweeps.md.
  --random=20 --grid='optim.lr=log(1e-4,1e-1)'   draws instead of a grid
  --sweep=augmentations:small                    the runs of a file of configs/sweeps/, or of your own
  --print=slurm, --print=xpk                     a script for a cluster; then --table for what is finished
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from jssl import cli
from jssl.errors import UserError

if TYPE_CHECKING:
    from jssl.search_space import RandomSweep, Sweep

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config of all runs; --config.KEY=VALUE changes it."
)
GRID = flags.DEFINE_string("grid", None, "Keys and their values: 'KEY=VALUE,VALUE; KEY=VALUE,VALUE'.")
RANDOM = flags.DEFINE_integer(
    "random", None, "So many draws from --grid, where KEY=log(LOW,HIGH) and uniform(LOW,HIGH) are ranges."
)
RANDOM_SEED = flags.DEFINE_integer("random_seed", 0, "Seed of these draws.", lower_bound=0)
SWEEP = flags.DEFINE_string("sweep", None, "A shipped sweep or a file, with a preset after a colon.")
OUT = flags.DEFINE_string("out", None, "The folder of all runs.")
PARALLEL = flags.DEFINE_integer(
    "parallel", 1, "Runs at a time on this machine, a process each.", lower_bound=1
)
GPUS = flags.DEFINE_list("gpus", [], "The GPU of each of these processes, in turn: 0,1,2,3.")
PER_CLASS = flags.DEFINE_list(
    "per_class", [], "Would validation sets of so many images of every class have chosen the same run?"
)
DRAWS = flags.DEFINE_integer("draws", 1000, "Such sets that are drawn.", lower_bound=1)
PRINT = flags.DEFINE_enum(
    "print", None, ["commands", "slurm", "xpk"], "Print the runs as commands or as a script; start nothing."
)
TABLE = flags.DEFINE_bool("table", False, "Show what is finished; start nothing.")


def expand(argv: Sequence[str]) -> list[str]:
    """Puts the config of --sweep, and what its runs have in common, before the flags of the user."""
    from jssl import search_space

    own = config_flags_of(argv)
    if any(word.lstrip("-") == "sweep" for word in argv[1:]):
        raise UserError("--sweep: options are written --name=value; see --help")
    sweeps = [word.partition("=")[2] for word in argv[1:] if word.lstrip("-").startswith("sweep=")]
    if not sweeps:
        return list(argv)
    if any(word.lstrip("-").startswith("config=") for word in own):
        raise UserError("--sweep has a config of its own: leave out --config, or give --config and --grid")
    sweep = search_space.open_sweep(sweeps[-1])
    check_apart(own, sweep.keys)
    common = [f"--config.{key}={value}" for key, value in sweep.changes.items()]
    return [argv[0], f"--config={sweep.config}", *common, *argv[1:]]


def config_flags_of(argv: Sequence[str]) -> list[str]:
    """The flags that are about the config, which every run gets."""
    found = [word for word in argv[1:] if word.lstrip("-").partition("=")[0].partition(".")[0] == "config"]
    for word in found:
        if "=" not in word:
            raise UserError(f"{word}: options are written --name=value; see --help")
    return found


def check_apart(words: Sequence[str], keys: Iterable[str]) -> None:
    """Raises UserError for a key that differs between the runs, and is given for all of them, too."""
    for key in keys:
        if any(word.lstrip("-").startswith(f"config.{key}=") for word in words):
            raise UserError(f"--config.{key} differs between the runs of the sweep: leave it out")


def space() -> Sweep | RandomSweep:
    """What the flags ask for."""
    from jssl import search_space

    grid, name = GRID.value, SWEEP.value
    if (grid is None) == (name is None):
        raise UserError("give --grid='KEY=VALUE,VALUE; ...' or --sweep=NAME, one of the two; see --help")
    if name is not None:
        if RANDOM.value is not None:
            raise UserError("--random draws from --grid: leave out --sweep")
        return search_space.open_sweep(name)
    assert grid is not None
    if CONFIG.value is None:
        raise UserError("--config is missing; see --help")
    found: Sweep | RandomSweep
    if RANDOM.value is None:
        found = search_space.parse_grid(grid, CONFIG.value)
    else:
        found = search_space.parse_random(grid, CONFIG.value, RANDOM.value, RANDOM_SEED.value)
    check_apart(config_flags_of(sys.argv), found.keys)
    return found


def main(_: list[str]) -> None:
    """Checks all runs, starts those that are not finished, and shows the table."""
    from jssl import storage
    from jssl.runs import sweep, sweep_scripts
    from jssl.train.signals import Interrupted, signals_noted

    found, out = space(), storage.folder(OUT.value or "", "--out")
    sizes = [int(size) if size.isdigit() else 0 for size in PER_CLASS.value]
    if min(sizes, default=1) < 1:
        raise UserError("--per_class takes numbers of at least 1: --per_class=1,5")
    jobs = sweep.make_jobs(found.trials(), CONFIG.value, config_flags_of(sys.argv), out)
    if PRINT.value:
        print(sweep_scripts.KINDS[PRINT.value](jobs, PARALLEL.value))
        return
    with signals_noted() as stop:
        failed = {} if TABLE.value else sweep.run(jobs, out, PARALLEL.value, GPUS.value, stop)
    sweep.report(found, jobs, failed, out, sizes, DRAWS.value)
    if stop.is_set():
        raise Interrupted
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, required=["out"], expand=expand)
