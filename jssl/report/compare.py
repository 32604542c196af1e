"""Several runs beside each other: a table and curves, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from jssl.report.tables import BASELINES

if TYPE_CHECKING:
    from jssl.report.result import Result

COLUMNS = {
    "kNN": "knn/top1",
    "linear": "linear/top1",
    "effective rank": "health/features/rank_me",
    "std": "health/features/std",
    "images/s": "images_per_second",
}


def table(runs: Mapping[str, Result], columns: Mapping[str, str] = COLUMNS) -> str:
    """A Markdown table with a row a run, after those of the baselines that any of the runs has; top-1 in %.

    Args:
      runs: results by the name of their row.
      columns: title -> name of a value.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for label, prefix in BASELINES:
        for run in runs.values():
            found = {name: run.values.get(prefix + name) for name in columns.values()}
            if label not in rows and any(value is not None for value in found.values()):
                rows[label] = found
    rows |= {name: run.values for name, run in runs.items()}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for label, values in rows.items():
        cells = [_cell(name, values.get(name)) for name in columns.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.endswith(("/top1", "/top1_median", "/balanced", "/worst_class", "/commonest_class")):
        return f"{100 * value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def curves(runs: Mapping[str, Result], names: Sequence[str]) -> Figure:
    """One panel a metric of metrics.jsonl, one line a run, over the steps.

    Args:
      runs: results by the name in the legend.
      names: metrics, such as 'loss', 'val/knn/top1' or 'health/features/rank_me'.
    """
    figure = Figure(figsize=(3.6 * len(names), 3.0), dpi=80, layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names):
        for label, run in runs.items():
            points = [(line["step"], line[name]) for line in run.metrics() if name in line]
            axes.plot(*zip(*points), marker="o", markersize=2, linewidth=1, label=label) if points else None
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure
