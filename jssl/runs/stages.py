"""Stages: runs in order, which begin with the weights of earlier ones or learn from their pseudo-labels."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np
from absl import logging
from etils import epath

from jssl import config as schema
from jssl import parallel, storage
from jssl.data.datasets import open_data, split_fingerprint
from jssl.errors import UserError, located, unknown
from jssl.evaluation.extract import extract_source
from jssl.metrics import ood
from jssl.report.result import Result
from jssl.runs import pseudo_labels, supervised_baseline, workdir
from jssl.runs.objects import NONE, Objects
from jssl.runs.restore import open_classifier
from jssl.runs.run import run_one
from jssl.train.progress import say
from jssl.train.signals import signals_stop
from jssl.types import Array

PSEUDO_LABELS = "pseudo_labels.npz"
INLIERS = "inliers.npz"
SAME_DATA = ("name", "data_dir", "train", "holdout", "split_seed")  # keys of images and their split


def run(
    config: ml_collections.ConfigDict,
    folder: str | epath.Path,
    profile_steps: int = 0,
    objects: Objects = NONE,
) -> Result:
    """Runs a config: itself or, if it has stages, those in their order, each in a folder of its name.

    A stage that is finished is not run again, one that was stopped goes on; so the same command goes on with the whole.

    Returns:
      The results of all stages, 'STAGE/classifier/top1' and so on, and those of the last one without its name.

    Raises:
      UserError, Interrupted: as `run_one`; what `check` finds in any stage is told before the first one runs.
    """
    folder = storage.folder(folder)
    objects.check()
    schema.validate(config, own=(objects.method is not None, objects.encoder is not None))
    workdir.compare_processes(folder, config)
    if not config.order:
        return run_one(config, folder, profile_steps, objects)
    if objects.given:
        raise UserError("a config with stages takes no objects of your own: run its stages one by one")
    check(config)
    folder = storage.absolute(folder)  # which stages name in their configs
    if parallel.is_main_process():
        workdir.check(folder, config)
    each: dict[str, Any] = {}
    with workdir.locked(folder), signals_stop():  # between the stages
        workdir.prepare(folder, config)
        for name in config.order:
            with located(f"stage {name}"):
                last = run_one(stage(config, name, folder), folder / name, profile_steps).values
            each |= {f"{name}/{key}": value for key, value in last.items()}
            logging.info("stage %s is finished", name)
        values = {**last, **each, "seconds": sum(each[f"{name}/seconds"] for name in config.order)}
        if parallel.is_main_process():
            workdir.write_json(folder / workdir.RESULT_FILE, values)
        parallel.barrier("stages")
    return Result(folder, values)


def check(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for what is wrong with the order, with what stages take from others, or with evaluations."""
    for place, name in enumerate(config.order):
        own = config.stages[name]
        teachers = {f"{key}.teacher": own[key].teacher for key in (("pseudo_labels", "outliers"))}
        for key, other in {"init_from": own.init_from, **teachers}.items():
            if other in config.order[place:]:
                raise UserError(f"stages.{name}.{key}={other}: that stage does not come before {name}")
            if other and other not in config.order and not workdir.holds_run(epath.Path(other)):
                raise unknown(f"stage or folder of a run in stages.{name}.{key}", other, config.order)
            if (
                key != "init_from"
                and other in config.order
                and not config.stages[other].evals.classifier.enabled
            ):
                raise UserError(f"stages.{name}.{key}={other}: that stage has no classifier")
        if (
            own.pseudo_labels.teacher in config.order
            and config.stages[own.pseudo_labels.teacher].data.labels == "all"
        ):
            raise UserError(
                f"stage {own.pseudo_labels.teacher} sees all labels, so {name} has nothing to label: set data.labels"
            )
        for key, other in teachers.items():
            if other in config.order:
                check_data(name, key, own, config.stages[other])
        if own.init_from in config.stages:
            check_encoders(name, own, config.stages[own.init_from])
        supervised_baseline.read(own.evals.supervised_baseline)


def check_data(
    name: str, key: str, own: ml_collections.ConfigDict, teacher: ml_collections.ConfigDict
) -> None:
    """Raises UserError unless a stage learns from what its teacher says of the very same images."""
    differing = [part for part in SAME_DATA if own.data[part] != teacher.data[part]]
    if differing and key == "pseudo_labels.teacher":
        part = differing[0]
        raise UserError(
            f"stages.{name}.data.{part}={own.data[part]!r} differs from that of its teacher, {teacher.data[part]!r}: "
            "pseudo-labels are of the same images, so set it for all stages"
        )


def check_encoders(name: str, own: ml_collections.ConfigDict, earlier: ml_collections.ConfigDict) -> None:
    """Raises UserError unless a stage has the encoder of the stage whose weights it begins with, but for its top."""
    ours, theirs = ({**x.encoder.to_dict(), "head_layers": (), "weights": ""} for x in (own, earlier))
    if ours != theirs:
        keys = [key for key in ours if ours[key] != theirs[key]]
        raise UserError(
            f"stages.{name} begins with the weights of {own.init_from}, whose encoder is another: give both "
            f"the same encoder.{', encoder.'.join(keys)}"
        )
    if earlier.encoder.head_layers and own.encoder.head_layers != earlier.encoder.head_layers:
        raise UserError(
            f"stages.{name}.encoder.head_layers must be that of {own.init_from}: {earlier.encoder.head_layers}"
        )


def stage(config: ml_collections.ConfigDict, name: str, folder: epath.Path) -> ml_collections.ConfigDict:
    """The config of a stage as an ordinary run: earlier stages by their folders, pseudo-labels by their file."""
    own = ml_collections.ConfigDict(config.stages[name].to_dict())

    def place(other: str) -> str:
        return str(folder / other) if other in config.order else other

    own.init_from = place(own.init_from)
    if own.outliers.teacher:
        path = folder / f"{name}.{INLIERS}"
        made = functools.partial(without_outliers, epath.Path(place(own.outliers.teacher)), own)
        own.data.unlabeled.inliers = once(path, made, f"stage {name}: keeps")
    if own.pseudo_labels.teacher:
        path = folder / f"{name}.{PSEUDO_LABELS}"
        made = functools.partial(pseudo_labelled, epath.Path(place(own.pseudo_labels.teacher)), own)
        own.data.pseudo_labels = once(path, made, f"stage {name}: pseudo-labels")
    return own


Made = tuple[dict[str, Any], dict[str, Any]]  # arrays, and a report on them


def once(path: epath.Path, make: Callable[[], Made], words: str) -> str:
    """Makes a .npz, and a .json beside it, unless it is there; all processes come with the same."""
    if not path.exists():
        arrays, found = make()
        if parallel.is_main_process():
            workdir.write_json(path.with_suffix(".json"), found)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            storage.write_whole(path, buffer.getvalue())
            told = {key: value for key, value in found.items() if not isinstance(value, list)}
            say(f"{words}: {', '.join(f'{key} {_short(value)}' for key, value in told.items())}")
        parallel.barrier(path.name)
    return str(path)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def pseudo_labelled(teacher: epath.Path, own: ml_collections.ConfigDict) -> Made:
    """Pseudo-labels for a stage, as its section `pseudo_labels` says."""
    labels, found = pseudo_labels.make(teacher, own.pseudo_labels)
    if not len(labels.index):
        raise UserError(
            f"no pseudo-label of {teacher} counts by rule {own.pseudo_labels.rule!r}: lower pseudo_labels.threshold"
        )
    return dataclasses.asdict(labels), found


def without_outliers(teacher: epath.Path, own: ml_collections.ConfigDict) -> Made:
    """Positions of the inliers of a stage's unlabelled stream, by the classes that a run knows; see `outliers`.

    The threshold comes from the held-out images, which that run did not learn from.
    """
    program, known, state = open_classifier(teacher)
    if known.val is None:
        raise UserError(f"{teacher} has no held-out images to set the threshold by: set data.holdout")

    def score(images: Array) -> np.ndarray:
        logits = np.asarray(program.logits(state.params, state.method_state, images))
        return ood.score(logits, own.outliers.score)[:, None]

    stream = open_data(own)
    held, found = (extract_source(program, score, source) for source in (known.val, stream.unlabeled_pool))
    inside, scores = held.x[:, 0], found.x[:, 0]
    limit = ood.threshold(inside, own.outliers.inlier_quantile)
    inlier, added = scores >= limit, found.index >= len(stream.unlabeled_indices)
    told = {"images": len(inlier), "inliers": int(inlier.sum()), "threshold": limit}
    if added.any():  # what was added is known to be none of the classes
        told |= {"auroc": ood.auroc(scores[~added], scores[added]), "added": int(added.sum())}
        told |= {"added_inliers": int((inlier & added).sum())}
    if not inlier.any():
        raise UserError(
            f"no unlabelled image looks like the classes of {teacher}: raise outliers.inlier_quantile"
        )
    of = split_fingerprint(stream.train, stream.holdout_indices)
    return {
        "index": found.index[inlier].astype(np.int64),
        "num_examples": len(stream.unlabeled_pool),
        "split_fingerprint": of,
    }, told
