"""Reports of a sweep: a table by the held-out score, sweep.json, and a heat map of two axes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure

from jssl.evaluation.suite import SCORES
from jssl.train.metrics_file import METRICS_FILE, read_lines

FINISHED, FAILED, WAITING = "finished", "failed", "not finished"


@dataclasses.dataclass(frozen=True)
class Row:
    """A run of a sweep.

    Attributes:
      name: of its folder.
      labels: its choice on every axis.
      folder: where its measurements lie.
      status: FINISHED, FAILED or WAITING.
      result: of a finished run, flat.
    """

    name: str
    labels: tuple[str, ...]
    folder: epath.Path
    status: str
    result: Mapping[str, Any]

    @functools.cached_property
    def held_out(self) -> Mapping[str, float]:
        """The last evaluation on held-out images, with its step; {} if there was none."""
        path = self.folder / METRICS_FILE
        lines = read_lines(path) if path.exists() else []
        return next((line for line in reversed(lines) if any(score in line for score in SCORES)), {})


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Finished runs by their score.

    Attributes:
      score: the first of the suite's scores that all finished runs have; '' if there is none.
      rows: all runs, the best first, those that are not finished last.
    """

    score: str
    rows: Sequence[Row]

    @property
    def winner(self) -> Row | None:
        """The best run."""
        first = self.rows[0] if self.rows else None
        return first if first and self.score and first.status == FINISHED else None

    def value(self, row: Row) -> float | None:
        """The score of a finished run."""
        return row.held_out.get(self.score) if row.status == FINISHED else None


def rank(rows: Sequence[Row]) -> Ranking:
    """Ranks runs by what chooses the best checkpoint of a run: by images held out of train, never by the test set."""
    finished = [row for row in rows if row.status == FINISHED]
    common = (score for score in SCORES if finished and all(score in row.held_out for row in finished))
    ranking = Ranking(next(common, ""), rows)

    def order(row: Row) -> float:
        value = ranking.value(row)
        return np.inf if value is None or np.isnan(value) else -value

    return dataclasses.replace(ranking, rows=sorted(rows, key=order))


def table(ranking: Ranking, axes: Sequence[str]) -> str:
    """The runs as lines of text, the best first; then the winner and what its test images say.

    Args:
      ranking: of the runs.
      axes: the names of what differs.
    """
    cells = [("score", *axes, "step", "")]
    for row in ranking.rows:
        value = ranking.value(row)
        step = f"{row.held_out['step']:.0f}" if value is not None else ""
        status = "" if row.status == FINISHED else row.status
        cells.append(("-" if value is None else f"{100 * value:.1f}", *row.labels, step, status))
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    if not ranking.score:
        return "\n".join(["no finished run has a score on held-out images", "", *lines])
    title = f"score: {ranking.score} in % on images held out of train, at the last evaluation during training"
    return "\n".join([title, "", *lines, "", _winner(ranking)])


def _winner(ranking: Ranking) -> str:
    winner = ranking.winner
    if winner is None:
        return "no run is finished"
    test = winner.result.get(ranking.score.removeprefix("val/"))
    said = "" if test is None else f"; on the test set, which chose nothing, {100 * test:.1f} %"
    return f"the winner is {winner.name}{said}"


def summary(ranking: Ranking, axes: Sequence[str], failed: Mapping[str, str]) -> dict[str, Any]:
    """The content of sweep.json: what `table` shows, in full."""
    return {
        "axes": list(axes),
        "score": ranking.score,
        "winner": ranking.winner.name if ranking.winner else None,
        "runs": [
            {
                "name": row.name,
                **dict(zip(axes, row.labels)),
                "status": row.status,
                "score": ranking.value(row),
                "step": row.held_out.get("step"),
                "result": dict(row.result),
                **({"error": failed[row.name]} if row.name in failed else {}),
            }
            for row in ranking.rows
        ],
    }


def grid(ranking: Ranking, first: Sequence[str], second: Sequence[str], unordered: bool) -> np.ndarray:
    """Scores by the choices of two axes, float[len(first), len(second)]; NaN where there is none.

    Args:
      ranking: of the runs.
      first, second: the choices in their order.
      unordered: a run stands for both orders of its choices.
    """
    found = np.full((len(first), len(second)), np.nan)
    for row in ranking.rows:
        if (value := ranking.value(row)) is not None:
            a, b = row.labels
            found[first.index(a), second.index(b)] = value
            if unordered:
                found[first.index(b), second.index(a)] = value
    return found


def heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    title: str,
    average: bool = False,
) -> Figure:
    """Values in [0, 1] as colours with their numbers in %; grey where there is none.

    Args:
      values: float[R, C].
      rows, columns: the choices.
      names: of the two axes.
      title: of the figure.
      average: whether a last column has the mean of each row.
    """
    shown, columns = np.asarray(values), list(columns)
    if average:
        counts = np.maximum((~np.isnan(shown)).sum(axis=1), 1)
        means = np.where(np.isnan(shown).all(axis=1), np.nan, np.nansum(shown, axis=1) / counts)
        shown, columns = np.column_stack([shown, means]), [*columns, "average"]
    figure = Figure(figsize=(1.8 + 0.75 * len(columns), 1.4 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("lightgrey")
    image = axes.imshow(100 * shown, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylabel(names[0], fontsize=9)
    axes.set_xlabel(names[1], fontsize=9)
    axes.set_title(title, fontsize=9)
    if average:
        axes.axvline(len(columns) - 1.5, color="white", linewidth=3)
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(100 * shown):
        if not np.isnan(value):
            dark = value < (low + high) / 2
            axes.text(
                column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color="w" if dark else "k"
            )
    figure.colorbar(image, ax=axes, label="%")
    return figure
