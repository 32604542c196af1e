"""Stages: runs in order, which begin with the weights of earlier ones or learn from labels that those guess."""

from __future__ import annotations

import json
from typing import Any

import ml_collections
from absl import logging
from etils import epath

from jssl import monitor, parallel, pseudo_labels, stages, workdir
from jssl.errors import UserError, unknown
from jssl.evaluation import suite
from jssl.stages import Result

GUESSES = "guesses.npz"


def run(config: ml_collections.ConfigDict, folder: epath.Path, profile_steps: int = 0) -> Result:
    """Runs the stages of a config in their order, each in a folder of its name.

    A stage that is finished is not run again, one that was stopped goes on; so the same command goes on with the whole.

    Returns:
      The results of all stages, 'STAGE/classifier/top1' and so on, and those of the last one without its name.

    Raises:
      UserError, train.Interrupted: as `stages.run`; mistakes in any stage are told before the first one runs.
    """
    check(config)
    if parallel.is_main_process():
        workdir.check(folder, config)
    workdir.prepare(folder, config)
    values: dict[str, Any] = {}
    for name in config.order:
        result = stages.run(stage(config, name, folder), folder / name, profile_steps)
        values = {
            **result.values,
            **{k: v for k, v in values.items() if "/" in k and k.split("/")[0] in config.order},
        }
        values |= {f"{name}/{key}": value for key, value in result.values.items()}
        logging.info("stage %s is finished", name)
    values["seconds"] = sum(values[f"{name}/seconds"] for name in config.order)
    if parallel.is_main_process():
        workdir.write_json(folder / workdir.RESULT_FILE, values)
    parallel.barrier("stages")
    return Result(folder, values)


def check(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for what is wrong with the order, or with any stage's settings."""
    for place, name in enumerate(config.order):
        if name not in config.stages:
            raise unknown("stage in config.order", name, config.stages)
        own = config.stages[name]
        if own.order:
            raise UserError(f"config.stages.{name}.order: stages have no stages")
        for key, other in (("init_from", own.init_from), ("pseudo.teacher", own.pseudo.teacher)):
            if other in config.order[place:]:
                raise UserError(f"config.stages.{name}.{key}={other}: that stage does not come before {name}")
        pseudo_labels.check(own, name)
        suite.check(own)
        monitor.check(own)


def stage(config: ml_collections.ConfigDict, name: str, folder: epath.Path) -> ml_collections.ConfigDict:
    """The config of a stage as an ordinary run: earlier stages by their folders, guesses by their file."""
    own = ml_collections.ConfigDict(config.stages[name].to_dict())

    def place(other: str) -> str:
        return str(folder / other) if other in config.order else other

    own.init_from = place(own.init_from)
    if not own.pseudo.teacher:
        return own
    path = folder / f"{name}.{GUESSES}"
    if not path.exists():
        guesses, found = pseudo_labels.make(epath.Path(place(own.pseudo.teacher)), own.pseudo)
        if not len(guesses.index):
            raise UserError(
                f"stage {name}: no guess of {own.pseudo.teacher} counts by rule {own.pseudo.rule!r} "
                f"(threshold={own.pseudo.threshold}); lower it"
            )
        if parallel.is_main_process():
            workdir.write_json(folder / f"{name}.guesses.json", found)
            pseudo_labels.write(path, guesses)
            print(
                f"stage {name}: {json.dumps({k: v for k, v in found.items() if not isinstance(v, list)})}",
                flush=True,
            )
        parallel.barrier("guesses")
    own.data.guesses = str(path)
    return own
