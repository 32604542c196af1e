"""python -m jssl.evaluate --workdir=RUN [--config.evals.knn.k=5 ...]: evaluates a run again, finished or not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable

import ml_collections
from absl import flags
from ml_collections import config_flags

from jssl import cli
from jssl.errors import UserError, unknown
from jssl.runs.restore import check_own, open_run


def main(_: list[str]) -> None:
    """Prints the table and the numbers as one line of JSON; the run's own files stay as they are."""
    from jssl import config as schema
    from jssl.evaluation.suite import Suite
    from jssl.report import tables
    from jssl.runs import supervised_baseline

    check_own(flags.FLAGS.config)
    schema.validate(flags.FLAGS.config)
    program, data, state = open_run(flags.FLAGS.workdir, flags.FLAGS.config, flags.FLAGS.step)
    suite = Suite(program, data)
    baseline = supervised_baseline.read(program.config.evals.supervised_baseline)
    results = {
        "step": int(state.step),
        **suite.final(state).values,
        **baseline,
        "evaluated_on": suite.query_name if suite.has_labels else "nothing: no labels",
    }
    print(tables.table(results))
    print(json.dumps(results))


def define_flags(argv: list[str]) -> None:
    """The run's own config, so that --config.KEY=VALUE overrides work on it."""
    from etils import epath

    from jssl import config as schema
    from jssl.runs import workdir

    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
    given = re.search(r"(?:^|\0)--?workdir[=\0]([^\0]+)", "\0".join(argv))
    if given is None:
        raise UserError("--workdir=FOLDER is missing")
    config = workdir.read_config(epath.Path(given[1]))
    config.evals = with_defaults(config.evals)
    check_overrides(argv, schema.flatten(config.to_dict()))
    config_flags.DEFINE_config_dict("config", config)


def with_defaults(evals: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A run's section `evals`, with the defaults of evaluators, and of their keys, that came later than the run."""
    from jssl import evaluation

    config = ml_collections.ConfigDict(evaluation.defaults())
    config.update(evals)
    return config


def check_overrides(argv: list[str], keys: Iterable[str]) -> None:
    """Only `evals` may differ from the run, and only in keys that exist."""
    valid = [f"config.{key}" for key in keys if key.startswith("evals.") and key != "evals.online"]
    for argument in argv:
        key = argument.partition("=")[0].lstrip("-")
        if key.startswith("config.") and not key.startswith("config.evals."):
            raise UserError(f"{argument}: only --config.evals.* can be changed for a run that exists")
        if key.startswith("config.") and key not in valid:
            raise unknown("option", key, valid)


if __name__ == "__main__":
    try:
        if not {"--help", "--helpfull", "--helpshort"} & set(sys.argv):
            define_flags(sys.argv)
        else:
            flags.DEFINE_string("workdir", None, "Folder of the run.")
            flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
            flags.DEFINE_string("config.evals.NAME.KEY", None, "A key of an evaluator: docs/evaluation.md.")
    except UserError as error:
        cli.fail(str(error))
    cli.run(main, required=["workdir"])
