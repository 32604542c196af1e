"""python -m jssl.main --config=simclr[:PRESET] [--workdir=FOLDER] [--config.KEY=VALUE ...] [--help_config]"""

from __future__ import annotations

from absl import flags
from ml_collections import config_flags

from jssl import cli

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A shipped config or a file, with a preset after a colon."
)
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; default runs/NAME.")
HELP_CONFIG = flags.DEFINE_bool("help_config", False, "Print every key of the config, and end.")
PROFILE = flags.DEFINE_integer("profile", 0, "Write a jax.profiler trace of this many steps.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, or 'auto' on TPU VMs, GKE and SLURM; else JSSL_COORDINATOR."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Processes of this run; else JSSL_NUM_PROCESSES.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0; else JSSL_PROCESS_ID.")
START_TIMEOUT = flags.DEFINE_integer("start_timeout", 300, "Seconds in which all processes must have come.")
PEER_TIMEOUT = flags.DEFINE_integer(
    "peer_timeout", 30, "Seconds without a sign of life after which a process counts as dead."
)


def main(_: list[str]) -> None:
    """Joins the other processes, runs the config, prints the result."""
    from jssl.train.signals import signals_stop

    with signals_stop():  # until a run takes them: there is nothing to save
        _main()


def _main() -> None:
    from jssl import config_help, parallel
    from jssl.parallel import distributed
    from jssl.report import tables
    from jssl.runs import stages
    from jssl.train import progress

    if HELP_CONFIG.value:
        print(config_help.describe(CONFIG.value))
        return
    distributed.initialize(
        COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value, START_TIMEOUT.value, PEER_TIMEOUT.value
    )
    parallel.all_devices()
    config = CONFIG.value
    folder = WORKDIR.value or f"runs/{config.name}"
    result = stages.run(config, folder, PROFILE.value)
    if parallel.is_main_process():
        last = f"{folder}/{config.order[-1]}" if config.order else folder
        own = config.stages[config.order[-1]] if config.order else config
        progress.say(
            "\n".join(filter(None, [tables.closing(result.values, last), tables.without_baseline(own)]))
        )


if __name__ == "__main__":
    cli.run(main, required=["config"])
