"""The supervised baseline of a semi-supervised run: a finished run whose result is printed beside this one's."""

from __future__ import annotations

import json

from etils import epath

from jssl.data.datasets import Data
from jssl.errors import UserError
from jssl.evaluation.classifier import TOP1
from jssl.report.tables import SUPERVISED_BASELINE
from jssl.runs.workdir import SPLITS_FILE, read_json, read_result


def read(folder: str) -> dict[str, float]:
    """The result of the finished run in a folder, as `supervised_baseline/classifier/top1`; nothing for ''.

    Raises:
      UserError: if there is no finished run, or it has no classifier.
    """
    if not folder:
        return {}
    result = read_result(epath.Path(folder))
    if result is None or TOP1 not in result:
        raise UserError(
            f"evals.supervised_baseline={folder}: there is no finished run with a classifier; "
            "run the supervised baseline first (configs/supervised.py)"
        )
    return {SUPERVISED_BASELINE: float(result[TOP1])}


def check(folder: str, data: Data) -> None:
    """Raises UserError if the run in `evals.supervised_baseline` saw other images or other labels; '' is none."""
    path = epath.Path(folder) / SPLITS_FILE
    if not folder or not path.exists():
        return
    theirs, ours = read_json(path), json.loads(json.dumps(data.describe()))
    keys = ("classes", "content", "holdout", "visible_labels")
    differing = [key for key in keys if theirs[key] != ours[key]]
    if differing:
        raise UserError(
            f"evals.supervised_baseline={folder} is no baseline of this run: its {', '.join(differing)} differ; "
            "run it with the same data section"
        )
