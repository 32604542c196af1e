"""python -m jssl.evaluate --workdir=RUN [--config.evals.knn.k=5 ...]: evaluates a run again, finished or not.

python -m jssl.evaluate --workdir=RUN --data=FOLDER_OR_TFDS [--evals=knn,linear,finetune]: the same model on other data.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable

from absl import flags
from ml_collections import config_flags

from jssl import cli, storage
from jssl.errors import UserError, unknown
from jssl.runs.restore import check_own, open_run

ELSEWHERE = {"train": "train", "test": "", "data_dir": ""}  # flags of --data, with their defaults


def main(_: list[str]) -> None:
    """Prints the table and the numbers as one line of JSON; the run's own files stay as they are."""
    from jssl import config as schema
    from jssl.data.pipeline import noting_unreadable
    from jssl.evaluation import EVALUATORS
    from jssl.evaluation.suite import Suite
    from jssl.report import tables
    from jssl.runs import public_weights, supervised_baseline, transfer
    from jssl.runs.pictures import draw_figures

    given = flags.FLAGS
    check_own(given.config)
    if given.evals is not None and not any(given.evals):
        raise UserError("--evals is empty: name evaluators, as in --evals=knn,linear")
    alone = [flag for flag, usual in ELSEWHERE.items() if given[flag].value != usual and not given.data]
    if alone:
        raise UserError(f"--{alone[0]} is about other data: give --data, too")
    if given.evals or given.data:
        transfer.only(given.config, given.evals or transfer.DEFAULT)
    if given.prompts:
        given.config.evals.zero_shot.templates = tuple(given.prompts.split("|"))
    schema.validate(given.config)
    if given.data:
        where = (given.data, given.data_dir, given.train, given.test)
        program, data, state = transfer.open_transfer(given.workdir, given.config, *where, step=given.step)
    else:
        program, data, state = open_run(given.workdir, given.config, given.step)
    suite = Suite(program, data, public_weights.beginning_later(program))
    running = {evaluator.name for evaluator in suite.evaluators}
    for name in given.evals or ():
        if name not in running:
            needs = " and ".join(sorted(EVALUATORS[name].needs)).replace(
                "labels", "labels of two classes or more"
            )
            raise UserError(f"--evals={name} needs {needs}: the data, or the method, have none")
    baseline = {} if given.data else supervised_baseline.read(program.config.evals.supervised_baseline)
    with noting_unreadable() as unreadable:
        found = suite.final(state)
    if given.pictures:
        pictures = storage.folder(given.pictures, "--pictures")
        pictures.mkdir(parents=True, exist_ok=True)
        draw_figures(found.figures, pictures, enabled=True)
    results = {
        "step": int(state.step),
        **found.values,
        **baseline,
        "evaluated_on": suite.evaluated_on,
        **({"unreadable": len(unreadable)} if unreadable else {}),
    }
    print(tables.table(results))
    print(json.dumps(results))


def define_flags(argv: list[str]) -> None:
    """The run's own config, so that --config.KEY=VALUE overrides work on it."""
    from etils import epath

    from jssl import config as schema
    from jssl.runs import workdir

    define_own_flags()
    given = re.search(r"(?:^|\0)--?workdir[=\0]([^\0]+)", "\0".join(argv))
    if given is None:
        raise UserError("--workdir=FOLDER is missing")
    config = workdir.read_config(epath.Path(given[1]))
    check_overrides(argv, schema.flatten(config.to_dict()))
    config_flags.DEFINE_config_dict("config", config)


def define_own_flags() -> None:
    """Those beside the config."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_integer("step", None, "The checkpoint to take; default the newest.")
    flags.DEFINE_list(
        "evals", None, "The evaluators to run, such as knn,linear,finetune; default the run's own."
    )
    flags.DEFINE_string("data", None, "Other data: a folder of images, an .npz, or a TFDS name.")
    flags.DEFINE_string("train", "train", "Their split to learn from; TFDS slicing works.")
    flags.DEFINE_string(
        "test", "", "Their split to be scored; default test or validation, or a fifth of train."
    )
    flags.DEFINE_string("pictures", None, "A folder for the evaluators' pictures; default none are drawn.")
    flags.DEFINE_string("data_dir", "", "Of TFDS; default TFDS_DATA_DIR.")
    flags.DEFINE_string("prompts", None, "Sentences for zero-shot, with {} for the name, and | between them.")


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
            define_own_flags()
            flags.DEFINE_string("config.evals.NAME.KEY", None, "A key of an evaluator: docs/evaluation.md.")
    except UserError as error:
        cli.fail(str(error))
    cli.run(main, required=["workdir"])
