"""python -m jssl.main --config=configs/simclr.py [--workdir=FOLDER] [--config.KEY=VALUE ...]"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from jssl import cli

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, with a preset after a colon.")
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; default runs/NAME.")
PROFILE = flags.DEFINE_integer("profile", 0, "Write a jax.profiler trace of this many steps.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, or 'auto' on a TPU pod.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of this run.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def main(_: list[str]) -> None:
    """Joins the other processes, runs the config, prints the result."""
    from jssl import parallel, stages
    from jssl.report import summary

    parallel.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    config = CONFIG.value
    folder = WORKDIR.value or f"runs/{config.name}"
    result = stages.run(config, folder, PROFILE.value)
    if parallel.is_main_process():
        print(summary.closing(result.values, folder))


if __name__ == "__main__":
    cli.run(main, required=["config"])
