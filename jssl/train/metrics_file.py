"""metrics.jsonl: one line a logged step."""

from __future__ import annotations

import json

from absl import logging
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
    """All whole lines of a metrics.jsonl; others, but for a last one cut short, are passed over with a warning."""
    texts, lines, bad = path.read_bytes().decode(errors="replace").splitlines(), [], []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            line = None
        if isinstance(line, dict) and isinstance(line.get("step"), (int, float)):
            lines.append(line)
        elif number < len(texts):
            bad.append(str(number))
    if bad:
        logging.warning("%s: lines that cannot be read are passed over: %s", path, ", ".join(bad[:10]))
    return lines
