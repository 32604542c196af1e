"""metrics.jsonl: one line a logged step."""

from __future__ import annotations

import contextlib
import json

from etils import epath

from jssl.storage import write_whole

METRICS_FILE = "metrics.jsonl"


def truncate(path: epath.Path, step: int, evaluated: bool = True) -> None:
    """Drops lines after a step, and a last line cut short; they will be written again.

    Unless it is `evaluated`, so will the evaluation of that step: the line without a loss.
    """
    if not path.exists():
        return
    rest = [
        line
        for line in read_lines(path)
        if line["step"] < step or (line["step"] == step and (evaluated or "loss" in line))
    ]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in rest))


def read_lines(path: epath.Path) -> list[dict[str, float]]:
    """All whole lines of a metrics.jsonl."""
    lines = []
    for text in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines
