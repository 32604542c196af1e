"""A run, or several, as one HTML file that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from matplotlib.figure import Figure

from jssl.report.tables import BASELINES, accuracies, alarms, hurt, worse

LARGEST = 6_000_000  # bytes; pictures that would make the page larger are named instead
SCORES = {"knn/top1": "its nearest neighbours", "linear/top1": "a linear classifier"}
PICTURES = {
    "reconstruction": "What was hidden or changed, what the run makes of it, and the truth",
    "features": "Features of the scored images, as the two directions in which they vary most (PCA)",
    "neighbours": "Images, and those that are most similar in features: rows that look alike are a good sign",
    "clusters": "The most typical images of some clusters",
    "attention": "Where the last block of the transformer looks",
    "patches": "Similar patches of images have similar colours",
    "sound": "Where in the image the sound is",
    "layers": "Accuracy of a linear classifier on each layer",
    "views": "The first views: what the method sees of an image",
}
CURVES = {
    "loss": "Training loss",
    "val/knn/top1": "kNN accuracy on held-out images",
    "val/linear/top1": "Accuracy of a linear classifier on held-out images",
    "val/classifier/top1": "Accuracy of the classifier on held-out images",
    "health/features/rank_me": "Effective rank of the features (RankMe): near 1 they have collapsed",
    "lr": "Learning rate",
}


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a page says of a run.

    Attributes:
      name: of the run.
      values: of result.json.
      lines: of metrics.jsonl.
      pictures: PNGs by their names without .png.
      unread: files that could not be read.
      command: which makes it again.
      made: with what, when and how fast, in words.
    """

    name: str
    values: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    pictures: Mapping[str, bytes]
    unread: Sequence[str]
    command: str
    made: str


def page(runs: Sequence[Shown]) -> str:
    """The page of some runs; of several with their curves in one picture.

    Names of users' files are text, whatever they contain. What is not a finished run is no part of it.

    Example:
      >>> from jssl.report.page import Shown, page
      >>> run = Shown("mine", {"knn/top1": 0.9, "evaluated_on": "test set"}, [], {}, ["<b>.png"], "python ...", "")
      >>> html = page([run])
      >>> "90.0 % of the test set right" in html, "&lt;b&gt;.png" in html
      (True, True)
    """
    room = LARGEST
    described = []
    for run in runs:
        pictures, left_out = [], []
        for name in sorted(run.pictures, key=lambda name: (*_place(name), name)):
            content = base64.b64encode(run.pictures[name]).decode()
            if len(content) > room:
                left_out.append(f"{name}.png")
                continue
            room -= len(content)
            words = PICTURES.get(name.partition("_")[0], name)
            pictures.append({"content": content, "words": words})
        described.append(
            {
                **{field.name: getattr(run, field.name) for field in dataclasses.fields(run)},
                "verdict": verdict(run.values),
                "alarms": [
                    text for text in (*alarms(run.values), hurt(run.values), worse(run.values)) if text
                ],
                "accuracies": accuracies(run.values),
                "health": health(run.values),
                "pictures": pictures,
                "made": run.made + (f" Not shown for their size: {', '.join(left_out)}." if left_out else ""),
                "numbers": [
                    ["result.json", ""],
                    *([name, _number(x)] for name, x in sorted(run.values.items())),
                ],
            }
        )
    names = [name for name in CURVES if any(name in line for run in runs for line in run.lines)]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return _template().render(
        title=f"jssl: {title}",
        runs=described,
        beside=_beside(runs),
        curves=[{"content": _curve(runs, name), "words": CURVES[name]} for name in names],
    )


def verdict(values: Mapping[str, Any]) -> str:
    """What a run's accuracies say, beside those of raw pixels and the untrained encoder, in a sentence or two.

    Example:
      >>> from jssl.report.page import verdict
      >>> verdict({"linear/top1": 0.9, "pixels/linear/top1": 0.8, "evaluated_on": "test set"})
      'By a linear classifier, 90.0 % of the test set right (raw pixels 80.0 %): better than raw pixels.'
    """
    where = values.get("evaluated_on", "images")
    parts: list[str] = []
    better: dict[str, list[bool]] = {}
    for name, words in SCORES.items():
        if name not in values:
            continue
        beside = {label: values[prefix + name] for label, prefix in BASELINES if prefix + name in values}
        others = ", ".join(f"{label} {100 * x:.1f} %" for label, x in beside.items())
        right = f"by {words}, {100 * values[name]:.1f} % of the {where} right"
        parts.append(f"{right} ({others})" if others else right)
        for label, x in beside.items():
            better.setdefault(label, []).append(values[name] > x)
    if not parts:
        top1 = next((name for name in values if name.endswith("/top1") and name.count("/") == 1), None)
        if top1 is None:
            return "No labels: no accuracy. Look at the pictures, and at the health of the features."
        return (
            f"{100 * values[top1]:.1f} % of the {where} right ({top1.partition('/')[0].replace('_', ' ')})."
        )
    told = [
        f"{'better than' if all(which) else 'worse than' if not any(which) else 'in part better than'} "
        + ("raw pixels" if label == "raw pixels" else f"the {label}")
        for label, which in better.items()
    ]
    sentence = "; ".join(parts) + (f": {' and '.join(told)}" if told else "") + "."
    return sentence[0].upper() + sentence[1:]


def health(values: Mapping[str, Any]) -> list[str]:
    """Diagnostics of the features, each with what it means.

    Example:
      >>> from jssl.report.page import health
      >>> health({"health/features/rank_me": 57.2})
      ['Effective rank 57: the features vary in about so many directions. Near 1 they have collapsed.']
    """
    means = {
        "rank_me": "Effective rank {:.0f}: the features vary in about so many directions. Near 1 they have collapsed.",
        "std": "Standard deviation {:.2f} a direction. Near 0 all images have the same features.",
        "uniformity": "Uniformity {:.2f}: the lower, the more evenly they are spread over the sphere; 0 is one point.",
        "alignment": "Alignment {:.2f}: the squared distance between two views of an image; 0 is the same place.",
        "cosine": "Mean cosine {:.2f} between different images; 1 means that all point the same way.",
    }
    found = {name: values.get(f"health/features/{name}") for name in means}
    return [means[name].format(x) for name, x in found.items() if x is not None]


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("jssl.report", "")
    return jinja2.Environment(loader=loader, autoescape=True).get_template("page.html.jinja")


def _place(name: str) -> tuple[int]:
    kind = name.partition("_")[0]
    return (list(PICTURES).index(kind) if kind in PICTURES else len(PICTURES),)


def _beside(runs: Sequence[Shown]) -> list[list[str]]:
    """A row a run; columns of accuracies that any of them has."""
    names = [name for name in SCORES if any(name in run.values for run in runs)]
    head = ["", *(name.partition("/")[0] for name in names), "effective rank", "images/s"]
    rows = [
        [
            run.name,
            *(f"{100 * run.values[name]:.1f}" if name in run.values else "" for name in names),
            _number(run.values.get("health/features/rank_me", "")),
            _number(run.values.get("images_per_second", "")),
        ]
        for run in runs
    ]
    return [head, *rows]


def _number(x: Any) -> str:
    if not isinstance(x, float):
        return str(x)
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"


def _curve(runs: Sequence[Shown], name: str) -> str:
    """One metric over the steps as an SVG in base64, one line a run."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        points = [(line["step"], line[name]) for line in run.lines if name in line]
        if points:
            marker = "o" if len(points) < 40 else ""
            axes.plot(*zip(*points), linewidth=1.2, label=run.name, marker=marker, markersize=3)
    axes.set(xlabel="step", ylabel=name.rpartition("/")[0].removeprefix("val/") or name)
    axes.grid(alpha=0.3)
    if len(runs) > 1:
        axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return base64.b64encode(file.getvalue()).decode()
