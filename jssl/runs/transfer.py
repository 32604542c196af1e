"""A run's model on other data than its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import ml_collections
from etils import epath

from jssl.data import sources
from jssl.data.datasets import Data, open_data, sound_format
from jssl.data.streams import DataInfo, crops_on_host
from jssl.data.text import open_tokenizer
from jssl.errors import UserError, unknown
from jssl.evaluation import EVALUATORS
from jssl.runs import workdir
from jssl.runs.objects import NONE, Objects
from jssl.runs.restore import make_program, restore
from jssl.train.program import Program
from jssl.train.state import TrainState

DEFAULT = ("knn", "linear")
OWN = ("classifier", "pseudo_label")  # which are about the run's own classes
HELD_OUT = 0.2  # of the training images, where there is no test set
WITH_CAPTIONS = ("retrieval",)


def only(config: ml_collections.ConfigDict, names: Sequence[str]) -> None:
    """Enables the evaluators of some names and no others.

    Raises:
      UserError: for a name that there is not.
    """
    for name in names:
        if name not in EVALUATORS:
            raise unknown("evaluator in --evals", name, EVALUATORS)
    for name in EVALUATORS:
        config.evals[name].enabled = name in names


def open_transfer(
    folder: str | epath.Path,
    config: ml_collections.ConfigDict,
    name: str,
    data_dir: str = "",
    train: str = "train",
    test: str = "",
    step: int | None = None,
    objects: Objects = NONE,
) -> tuple[Program, Data, TrainState]:
    """The model of a run and other data, as evaluators take them.

    Args:
      folder: of the run.
      config: of the run, with the evaluators that shall run.
      name: of the data: a folder, an .npz, a TFDS name.
      data_dir: of TFDS.
      train, test: their splits; without a name, 'test', 'validation' or 'val', whichever there is, and if there is
        none, a fifth of the training images.
      step: the checkpoint to take; the newest if it is not given.
      objects: of a user's own that the run was made with.

    Raises:
      UserError: if there is no run or no such data, and for evaluators that are about the run's own classes.
    """
    folder = epath.Path(folder)
    asked = [evaluator for evaluator in OWN if config.evals[evaluator].enabled]
    if asked:
        raise UserError(
            f"--evals={asked[0]} is about the run's own classes: it cannot be asked of other data"
        )
    info = workdir.read_info(folder)
    program = make_program(config, info, objects, for_training=False)
    state = restore(program, folder, step)
    data = open_other(config, info, folder, name, data_dir, train, test)
    stream = program.main
    section = config.data[stream.name]
    own = dataclasses.replace(
        info,
        num_examples=len(data.train),
        image_shape=data.train.image_shape,
        num_classes=data.num_classes,
        num_labeled=len(data.train) if data.num_classes else 0,
        pseudo_labels="",
    )
    seen = dataclasses.replace(
        stream,
        host_crops=crops_on_host(stream.name, section, own, config.data.audio.as_images),
        num_examples=len(data.train),
    )
    return dataclasses.replace(program, info=own, streams={stream.name: seen}), data, state


def open_other(
    config: ml_collections.ConfigDict,
    info: DataInfo,
    folder: epath.Path,
    name: str,
    data_dir: str,
    train: str,
    test: str,
) -> Data:
    """Other data, with pixels of the kind that the run's encoder takes."""
    changed = ml_collections.ConfigDict(config.to_dict())
    section = changed.data
    test = test or sources.split_for_tests(name, data_dir, sound_format(section.audio))
    section.update({"name": name, "data_dir": data_dir, "train": train, "test": test})
    section.update({"labels": "all", "pseudo_labels": "", "holdout": 0.0 if test else HELD_OUT})
    section.unlabeled.update({"add": "", "inliers": "", "with_labeled": True, "imbalance_ratio": 1.0})
    section.unlabeled.update({"corruption": "", "resolution": 0})
    tokenizer = workdir.recorded_tokenizer(folder)
    reads = section.text.context
    if not any(config.evals[evaluator].enabled for evaluator in WITH_CAPTIONS):
        section.text.context = 0  # a class name is text enough
    section.audio.enabled = section.audio.enabled and config.evals.retrieval.enabled
    data = open_data(changed, tokenizer=tokenizer)

    def converted(source: sources.Source) -> sources.Source:
        return source.converted(info.channels, info.dtype)

    data = dataclasses.replace(
        data,
        train=converted(data.train),
        val=None if data.val is None else converted(data.val),
        test=None if data.test is None else converted(data.test),
    )
    if tokenizer is None or data.tokenizer is not None:
        return data
    section.text.context = reads
    return dataclasses.replace(data, tokenizer=open_tokenizer(section.text, [], tokenizer))
