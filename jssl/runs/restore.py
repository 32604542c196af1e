"""A run that exists: its program, its data and a state of it."""

from __future__ import annotations

import ml_collections
from etils import epath

from jssl import storage
from jssl.data.datasets import Data
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.runs import workdir
from jssl.runs.objects import NONE, OWN_DATA, OWN_OPTIMIZER, Objects
from jssl.train import program
from jssl.train.checkpoint import Checkpointer
from jssl.train.program import Program
from jssl.train.state import TrainState


def make_program(
    config: ml_collections.ConfigDict, info: DataInfo, objects: Objects = NONE, for_training: bool = True
) -> Program:
    """The program of a config, or of a user's own objects in the place of what it names."""
    check_own(config, objects)
    parts = (objects.make_method, objects.network, objects.optimizer)
    return program.make_program(config, info, None, for_training, *parts)


def check_own(config: ml_collections.ConfigDict, objects: Objects = NONE) -> None:
    """Raises UserError if a config names objects of a user's own that are not given."""
    named = {
        "method": "." in config.method.name,
        "encoder": "." in config.encoder.name,
        "optimizer": config.optim.name == OWN_OPTIMIZER,
    }
    for name, own in named.items():
        if own and getattr(objects, name) is None:
            which = f"{config[name].name}, " if name in config else ""
            raise UserError(
                f"the run was made with {which}{'a' if name == 'method' else 'an'} {name} of your own: open it from "
                f"Python and give {name}=... again"
            )


def open_run(
    folder: str | epath.Path,
    config: ml_collections.ConfigDict | None = None,
    step: int | None = None,
    objects: Objects = NONE,
) -> tuple[Program, Data, TrainState]:
    """The program, data and newest state (or that of a step) of a run; `config` may differ in `evals`.

    Raises:
      UserError: if the folder holds no run, or no checkpoint yet.
    """
    folder = storage.folder(folder)
    config = workdir.read_config(folder) if config is None else config
    if config.data.name == OWN_DATA and objects.data is None:
        raise UserError(
            f"the run in {folder} was made with data of your own: open it from Python, with data=..."
        )
    data = workdir.open_recorded(folder, config, objects.sources())
    if workdir.recorded_info(folder) is not None:
        workdir.check_data(folder, data)
    prog = make_program(config, data.info, objects, for_training=False)
    return prog, data, restore(prog, folder, step)


def open_classifier(folder: str | epath.Path) -> tuple[Program, Data, TrainState]:
    """Opens a run that has a classifier, as `open_run` does.

    Raises:
      UserError: if it cannot, too.
    """
    prog, data, state = open_run(folder)
    if data.labeled_indices is None or not prog.config.evals.classifier.enabled:
        raise UserError(f"{folder} has no classifier: name a run that learnt from labels")
    return prog, data, state


def restore(prog: Program, folder: epath.Path, step: int | None = None) -> TrainState:
    """The newest readable state of a run, or that of a step."""
    reader = Checkpointer(folder, read_only=True)
    restored = reader.restore(prog.abstract_state(), step)
    reader.close()
    if restored is None:
        raise UserError(f"{folder} has no checkpoint yet")
    return restored[0]
