"""How fast a linear classifier learns on the frozen encoders of several runs: the accuracy of one probe by epoch."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from jssl import config as schema
from jssl import storage
from jssl.errors import UserError
from jssl.evaluation.suite import Suite
from jssl.runs import public_weights, transfer, workdir
from jssl.runs.restore import open_run

UNTRAINED = "untrained"
POINT = r"sgd/(?:curve/(?P<epoch>[\d.]+)|top1)"


@dataclasses.dataclass(frozen=True)
class OtherData:
    """Data that the runs did not learn from.

    Attributes:
      name: a folder, an .npz, a TFDS name.
      data_dir: of TFDS.
      train, test: their splits.
    """

    name: str
    data_dir: str = ""
    train: str = "train"
    test: str = ""


def probe_curves(
    folders: Sequence[str], epochs: float, points: int, data: OtherData | None = None
) -> dict[str, dict[float, float]]:
    """The accuracy of an SGD probe by epoch for every run, and for the untrained encoder of the first.

    Args:
      folders: of runs, whose names are those of the curves.
      epochs: that each probe trains; all else is as the run's `evals.sgd` has it.
      points: of each curve.
      data: what the probes learn; the run's own data without.

    Returns:
      name -> {epochs: top-1}; the last point is the closing accuracy.

    Raises:
      UserError: if a folder holds no run, or the data have no labels.
    """
    found: dict[str, dict[float, float]] = {}
    for folder in folders:
        config = workdir.read_config(storage.folder(folder))
        transfer.only(config, ["sgd"])
        config.evals.sgd.update(
            {"epochs": epochs, "points": points, "baselines": () if found else (UNTRAINED,)}
        )
        config.evals.baselines = True
        schema.validate(config)
        if data is None:
            program, own, state = open_run(folder, config)
        else:
            program, own, state = transfer.open_transfer(folder, config, *dataclasses.astuple(data))
        suite = Suite(program, own, public_weights.beginning_later(program))
        if not suite.evaluators:
            raise UserError(f"{folder}: a probe needs labels of two classes or more, and the data have none")
        values = suite.final(state).values
        found[pathlib.Path(folder).name if _alone(folder, folders) else folder] = points_of(values, epochs)
        beside = points_of(values, epochs, f"{UNTRAINED}/")
        found |= {UNTRAINED: beside} if beside else {}
    return found


def _alone(folder: str, folders: Sequence[str]) -> bool:
    """Whether no other folder has the same name."""
    return [pathlib.Path(each).name for each in folders].count(pathlib.Path(folder).name) == 1


def points_of(values: Mapping[str, float], epochs: float, prefix: str = "") -> dict[float, float]:
    """The points of a curve among the values of an evaluation.

    Example:
      >>> from jssl.runs.probe_curves import points_of
      >>> points_of({"sgd/curve/0.5": 0.25, "sgd/top1": 0.75, "untrained/sgd/top1": 0.5}, epochs=1)
      {0.5: 0.25, 1.0: 0.75}
    """
    matches = {name: re.fullmatch(re.escape(prefix) + POINT, name) for name in values}
    found = {float(match["epoch"] or epochs): values[name] for name, match in matches.items() if match}
    return dict(sorted(found.items()))
