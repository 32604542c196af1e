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


def probe_curves(curves: Mapping[str, Mapping[float, float]]) -> Figure:
    """The accuracy of one probe on several encoders over its epochs, in one panel.

    Args:
      curves: name in the legend -> {epochs: top-1}.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        style = ":" if name == "untrained" else "-"
        axes.plot(*zip(*points.items()), style, marker="o", markersize=3, label=name)
    axes.set(xlabel="epochs of the probe", title="Accuracy of a linear classifier on a frozen encoder")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def probe_table(curves: Mapping[str, Mapping[float, float]]) -> str:
    """The same as text: a row a name, top-1 in % by epochs.

    Example:
      >>> from jssl.report.compare import probe_table
      >>> print(probe_table({"ours": {0.5: 0.25, 1.0: 0.5}}))
      epochs    0.5      1
      ours     25.0   50.0
    """
    epochs = sorted({epoch for points in curves.values() for epoch in points})
    width = max(map(len, ["epochs", *curves]))
    lines = [f"{'epochs':<{width}}" + "".join(f"{epoch:>7g}" for epoch in epochs)]
    for name, points in curves.items():
        cells = (f"{100 * points[epoch]:.1f}" if epoch in points else "-" for epoch in epochs)
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>7}" for cell in cells))
    return "\n".join(lines)
