"""The last lines that a run prints."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from jssl.evaluation.classifier import TOP1
from jssl.train.collapse import collapse_symptoms
from jssl.train.progress import in_words

HEALTH = {"effective rank": "rank_me", "std": "std", "alignment": "alignment", "uniformity": "uniformity"}
BASELINES = (
    ("raw pixels", "pixels/"),
    ("untrained encoder", "untrained/"),
    ("supervised baseline", "supervised_baseline/"),
)
RUN = ("this run", "")
UNEQUAL = 0.02  # between the accuracy and its mean over classes, which is shown then
MEASURES = {
    "segmentation/miou": "segmentation, mean IoU",
    "segmentation/pixel_accuracy": "segmentation, pixels",
    "detection/ap50": "detection, AP50",
    "detection/ap": "detection, AP",
    "multilabel/map": "several classes, mAP",
    "anomaly/knn/auroc": "anomalies, AUROC by kNN",
    "anomaly/mahalanobis/auroc": "by Mahalanobis",
    "anomaly/patchcore/auroc": "by PatchCore",
    "anomaly/patchcore/pixel_auroc": "of pixels",
    "image_retrieval/r1": "images of its class, R@1",
    "image_retrieval/map": "mean average precision",
    "ood/knn/auroc": "other data, AUROC by kNN",
    "ood/max_softmax/auroc": "by max softmax",
    "ood/energy/auroc": "by energy",
    "duplicates/fraction": "near-duplicates of train",
    "masked_tokens/accuracy": "hidden tokens told",
    "masked_tokens/commonest_token": "the commonest of them",
}  # measures that are no accuracies, by their keys
SUPERVISED_BASELINE = f"supervised_baseline/{TOP1}"


def table(values: Mapping[str, Any]) -> str:
    """Accuracies and health of the run beside those of its baselines."""
    parts = [
        stages(values),
        _accuracies(values),
        pairs(values),
        retrieval(values),
        measures(values),
        layers(values),
    ]
    parts += [_pseudo_labels(values), _health(values), *alarms(values), hurt(values), worse(values)]
    return "\n".join(part for part in parts if part)


def stages(values: Mapping[str, Any]) -> str:
    """The stages of a config that has some, one row each with its accuracies in per cent and its time; '' without."""
    names = [name.removesuffix("/seconds") for name in values if re.fullmatch(r"\w+/seconds", name)]
    measures = dict.fromkeys(
        measure
        for name in names
        for measure in (key.removeprefix(f"{name}/") for key in values if key.startswith(f"{name}/"))
        if measure.endswith("/top1") and measure.count("/") == 1
    )
    if not names:
        return ""
    rows = [["", *map(_title, measures), "time"]]
    for name in names:
        cells = [_cell(values, f"{name}/{measure}") for measure in measures]
        rows.append([name, *cells, in_words(values[f"{name}/seconds"])])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    ]
    return "\n".join(["the stages, top-1 accuracy in %", *lines, "", f"of the last one, {names[-1]}:"])


def _title(top1: str) -> str:
    """The column of an accuracy."""
    words = top1.removesuffix("/top1").replace("finetune/all", "finetune").replace("finetune/", "finetune ")
    return words.replace("_per_class", "/class").replace("_percent", "%").replace("_", " ")


def _accuracies(values: Mapping[str, Any]) -> str:
    """Baselines and result side by side, one column an evaluation, in per cent."""
    rows = accuracies(values)
    if not rows and any(name.startswith("retrieval/") or name in MEASURES for name in values):
        return ""
    if not rows:
        return "no labels: no accuracy to report. Look at views.png, features.png and neighbours.png"
    width = max(len(row[0]) for row in rows)
    lines = [f"{label:<{width}}" + "".join(f"  {cell:>15}" for cell in cells) for label, *cells in rows]
    return "\n".join(
        [f"top-1 accuracy in % on the {values['evaluated_on']}, all labels or n per class", *lines]
    )


def accuracies(values: Mapping[str, Any]) -> list[list[str]]:
    """Baselines and result in rows, one column an evaluation, in per cent, under a row of titles; [] without labels.

    Example:
      >>> from jssl.report import tables
      >>> tables.accuracies({"knn/top1": 0.9, "untrained/knn/top1": 0.8})
      [['', 'knn'], ['untrained encoder', '80.0'], ['this run', '90.0']]
    """
    names = [name for name in values if re.fullmatch(r"(finetune/)?\w+/top1", name)]
    names = [name for name in names if not name.startswith("pseudo_label/")]  # which are of other images
    if not names:
        return []
    rows = {
        label: [_cell(values, prefix + name) for name in names]
        for label, prefix in (*BASELINES, RUN)
        if any(prefix + name in values for name in names)
    }
    rows = {"commonest class": [_cell(values, _beside(name, "commonest_class")) for name in names], **rows}
    if any(
        abs(values[name] - values.get(_beside(name, "balanced"), values[name])) > UNEQUAL for name in names
    ):
        rows["mean over classes"] = [_cell(values, _beside(name, "balanced")) for name in names]
    told = [[label, *cells] for label, cells in rows.items() if set(cells) != {"-"}]
    return [["", *map(_title, names)], *told]


def pairs(values: Mapping[str, Any]) -> str:
    """Pairs of an image and a sound that are told in per cent; '' if it was not measured."""
    titles = {"accuracy": "another's sound", "synchronisation": "another time's"}
    keys = {f"correspondence/{key}": title for key, title in titles.items()}
    keys = {key: title for key, title in keys.items() if key in values}
    if not keys:
        return ""
    rows = {
        label: [_cell(values, prefix + key) for key in keys]
        for label, prefix in (*BASELINES, RUN)
        if any(prefix + key in values for key in keys)
    }
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {title:>15}" for title in keys.values())]
    lines += [
        f"{label:<{width}}" + "".join(f"  {cell:>15}" for cell in cells) for label, cells in rows.items()
    ]
    return "\n".join(["", "pairs of an image and a sound that are told, in %; by chance 50", *lines])


def retrieval(values: Mapping[str, Any]) -> str:
    """Recall of captions by images and of images by captions in per cent; '' if it was not measured."""
    keys = [key for key in values if re.fullmatch(r"retrieval/\w+/r\d+", key)]
    if not keys:
        return ""
    titles = [f"{key.split('/')[1].rpartition('_')[2]} R@{key.rpartition('/r')[2]}" for key in keys]
    rows = {
        label: [_cell(values, prefix + key) for key in keys]
        for label, prefix in (*BASELINES, RUN)
        if any(prefix + key in values for key in keys)
    }
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"  {title:>11}" for title in titles)]
    lines += [
        f"{label:<{width}}" + "".join(f"  {cell:>11}" for cell in cells) for label, cells in rows.items()
    ]
    chance = values.get("retrieval/chance_r1", 0.0)
    return "\n".join(["", f"found by one another, in %; by chance R@1 is {chance:.1%}", *lines])


def measures(values: Mapping[str, Any]) -> str:
    """Measures that are no accuracies in per cent, one row each; '' if there is none."""
    keys = [key for key in MEASURES if key in values]
    columns = {
        label: prefix for label, prefix in (*BASELINES, RUN) if any(prefix + key in values for key in keys)
    }
    if not keys:
        return ""
    width = max(len(MEASURES[key]) for key in keys)
    lines = ["", "in %" + " " * (width - 4) + "".join(f"  {label:>17}" for label in columns)]
    for key in keys:
        cells = (_cell(values, prefix + key) for prefix in columns.values())
        lines.append(f"{MEASURES[key]:<{width}}" + "".join(f"  {cell:>17}" for cell in cells))
    return "\n".join(lines)


def layers(values: Mapping[str, Any]) -> str:
    """Linear accuracy by layer in per cent, one row each, beside the untrained encoder's; '' if it was not measured."""
    keys = [key for key in values if re.fullmatch(r"layers/.+/top1", key) and key != "layers/best/top1"]
    columns = {
        label: prefix for label, prefix in (*BASELINES, RUN) if any(prefix + key in values for key in keys)
    }
    if not keys:
        return ""
    names = [key.split("/")[1] for key in keys]
    width, best = max(map(len, names)), values.get("layers/best/depth")
    lines = [
        "",
        "linear accuracy by layer in %",
        " " * width + "".join(f"  {label:>17}" for label in columns),
    ]
    for depth, (name, key) in enumerate(zip(names, keys), 1):
        cells = "".join(f"  {_cell(values, prefix + key):>17}" for prefix in columns.values())
        mark = "  best on held-out training images" if depth == best else ""
        lines.append(f"{name:<{width}}{cells}{mark}")
    return "\n".join(lines)


def _beside(top1: str, name: str) -> str:
    """The key of another measure of the evaluator that a top-1 is of."""
    return f"{top1.removesuffix('top1')}{name}"


def _pseudo_labels(values: Mapping[str, Any]) -> str:
    """What the classifier's pseudo-labels of training images without labels are worth."""
    if "pseudo_label/top1" not in values:
        return ""
    sure = values["pseudo_label/confident_fraction"]
    of_these = (
        f", {values['pseudo_label/confident_top1']:.1%} of these are right"
        if "pseudo_label/confident_top1" in values
        else ""
    )
    top1 = values["pseudo_label/top1"]
    return f"pseudo-labels of unlabelled images: {top1:.1%} are right; {sure:.1%} are confident{of_these}"


def _cell(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "-"
    spread = values.get(f"{name}_std")
    return f"{100 * values[name]:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def _health(values: Mapping[str, Any]) -> str:
    """Diagnostics of the features in one line an encoder."""
    lines = []
    for label, prefix in (*BASELINES, RUN):
        keys = {title: f"{prefix}health/features/{name}" for title, name in HEALTH.items()}
        if all(key in values for key in keys.values()):
            cells = ", ".join(f"{title} {values[key]:.3g}" for title, key in keys.items())
            lines.append(f"features of {label}: {cells}")
    return "\n".join(lines)


def alarms(values: Mapping[str, Any]) -> list[str]:
    """A line for each symptom of a collapse that the run itself, not a baseline, has."""
    own = {name: value for name, value in values.items() if name.count("/") == 1}
    lines = [f"WARNING: {text}" for text in collapse_symptoms(own)]
    if values.get("collapsed"):
        lines.append(
            "COLLAPSED: the embeddings collapsed during training; metrics.jsonl has `collapsed` in the line where"
        )
    return lines


def closing(values: Mapping[str, Any], workdir: str | os.PathLike[str]) -> str:
    """The table, the speed, and the three commands a user would want next."""
    stage = next((name for name in reversed(list(values)) if re.fullmatch(r"\w+/seconds", name)), "seconds")
    speed = (
        f"{values['step']} steps in {values[stage]:.0f} s, training at "
        f"{values['images_per_second']:,.0f} images/s, {values['waiting_for_data']:.1%} of it waiting for data"
    )
    return "\n".join(
        [
            "",
            table(values),
            "",
            speed,
            f"pictures, metrics.jsonl and result.json are in {workdir}",
            "",
            "next:",
            f"  python -m jssl.evaluate --workdir={workdir} --config.evals.knn.k=5",
            f"  python -m jssl.embed --workdir={workdir} --data=FOLDER_OF_IMAGES --out=features.npz",
            "  python -m jssl.main --config=simclr:folder --config.data.name=FOLDER_OF_IMAGES",
        ]
    )


def without_baseline(config: Any) -> str:
    """A line for a semi-supervised config without a supervised baseline; '' for others."""
    semi_supervised = config.method.name == "s4l" and config.data.unlabeled.batch_size
    if not semi_supervised or config.evals.supervised_baseline:
        return ""
    return (
        "no supervised baseline stands beside this: run --config=supervised:PRESET on the same data, and give its "
        "folder as --config.evals.supervised_baseline"
    )


def worse(values: Mapping[str, Any]) -> str:
    """A line for features that are worse than those the run began with, by more than a point; '' if they are not.

    That is the untrained encoder, or the one of `encoder.weights` or `init_from`.

    Example:
      >>> from jssl.report import tables
      >>> tables.worse({"knn/top1": 0.1, "untrained/knn/top1": 0.8, "linear/top1": 0.6, "untrained/linear/top1": 0.5})
      ''
    """
    names = [name for name in ("knn/top1", "linear/top1") if {name, f"untrained/{name}"} <= values.keys()]
    pairs = [(name.partition("/")[0], values[f"untrained/{name}"], values[name]) for name in names]
    if not pairs or not all(now <= before - 0.01 for _, before, now in pairs):
        return ""
    changes = ", ".join(f"{name} {100 * before:.1f} -> {100 * now:.1f} %" for name, before, now in pairs)
    return f"WORSE THAN AT THE START: {changes}. Is optim.lr too large, or are the images too few to go on from there?"


def hurt(values: Mapping[str, Any]) -> str:
    """A line for a result below its supervised baseline's; '' if it is not, or there is none."""
    if values.get(SUPERVISED_BASELINE, -1.0) <= values.get(TOP1, 1.0):
        return ""
    ours, theirs = 100 * values[TOP1], 100 * values[SUPERVISED_BASELINE]
    return (
        f"UNLABELLED DATA HURT: {ours:.1f} % with them, {theirs:.1f} % in the supervised baseline without. "
        "Are they of the same classes? Is a term's weight too large?"
    )
