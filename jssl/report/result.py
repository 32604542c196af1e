"""The result of a finished run."""

from __future__ import annotations

import dataclasses
from typing import Any

from etils import epath

from jssl.report import tables
from jssl.train.metrics_file import METRICS_FILE, read_lines


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
      workdir: the run's folder.
      values: the content of result.json, flat: 'knn/top1', 'pixels/linear/top1', 'images_per_second', ...
    """

    workdir: epath.Path
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def metrics(self) -> list[dict[str, float]]:
        """Metrics during training: the lines of metrics.jsonl, each with its `step`."""
        return read_lines(self.workdir / METRICS_FILE)

    def __str__(self) -> str:
        return tables.table(self.values)
