"""The data of a run: the part that trains, the part that chooses, the part that tests."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from typing import Any

import numpy as np
from absl import logging

from jssl.data import shifts, sources, splits
from jssl.data.guesses import Guesses, read_kept
from jssl.data.guesses import read as read_guesses
from jssl.data.joined import joined
from jssl.data.sources import Source
from jssl.data.tfds_source import TfdsSource
from jssl.errors import UserError
from jssl.streams import DataInfo

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Shift:
    """How the unlabelled stream differs from the labelled one; see shifts.py. By default not at all.

    Attributes:
      with_labeled: whether it holds the images with labels, too.
      long_tail: how many times more images the first class has than the last.
      corruption, strength, resolution, seed: see `shifts.shifted`.
    """

    with_labeled: bool = True
    long_tail: float = 1.0
    corruption: str = ""
    strength: int = 3
    resolution: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Data:
    """Sources of a run.

    Attributes:
      train: what the method trains on.
      val: held out of train, for choices; None without a holdout.
      test: for the final numbers; None if the data set has no such split.
      visible: positions within train whose labels may be used, or None if there are no labels.
      held: positions of val in the split that it was cut from.
      shift: how the unlabelled stream differs from the rest.
      guesses: labels that a model gave to other images of train.
      added: images of another data set in the unlabelled stream.
      kept: positions of the unlabelled stream (`pool`) that are no outliers; None for all.
    """

    train: Source
    val: Source | None
    test: Source | None
    visible: np.ndarray | None
    held: np.ndarray
    shift: Shift = Shift()
    guesses: Guesses | None = None
    added: Source | None = None
    kept: np.ndarray | None = None

    @property
    def num_classes(self) -> int:
        """0 if unlabelled."""
        return 0 if self.visible is None else len(self.train.class_names or ())

    @property
    def info(self) -> DataInfo:
        """What a program must know."""
        train = self.train
        labeled = 0 if self.visible is None else len(self.visible)
        labeled += 0 if self.guesses is None else len(self.guesses.index)
        guessed = self.guesses is not None
        unlabeled = len(self.pool) if self.kept is None else len(self.kept)
        shape = train.image_shape
        return DataInfo(unlabeled, shape, train.channels, self.num_classes, labeled, guessed)

    @functools.cached_property
    def others(self) -> np.ndarray:
        """Positions within train of what the unlabelled stream takes from it."""
        positions = np.arange(len(self.train))
        if not self.shift.with_labeled and self.visible is not None:
            positions = np.setdiff1d(positions, self.visible)
        if self.shift.long_tail == 1:
            return positions
        labels = self.train.labels()
        if labels is None:
            raise UserError("config.data.unlabeled.long_tail: the images have no labels, so it cannot be cut")
        return positions[shifts.long_tail(labels[positions], self.shift.long_tail, self.shift.seed)]

    @functools.cached_property
    def pool(self) -> Source:
        """The unlabelled stream before outliers are taken out: part of train, shifted, and what is added."""
        source = self.train
        if len(self.others) < len(self.train):
            source = sources.subset(source, self.others)
        source = self._shifted(source)
        return source if self.added is None else joined(source, self.added)

    def hidden(self, most: int) -> Source | None:
        """Images of the unlabelled stream, at most so many, whose labels there are, but not for training."""
        rows = np.arange(len(self.others)) if self.kept is None else self.kept[self.kept < len(self.others)]
        found = np.setdiff1d(self.others[rows], [] if self.visible is None else self.visible)
        if self.visible is None or not len(found) or not most:
            return None
        drawn = np.random.default_rng(0).permutation(len(found))[:most]
        return self._shifted(sources.subset(self.train, found[np.sort(drawn)]))

    def _shifted(self, source: Source) -> Source:
        shift = self.shift
        return shifts.shifted(source, shift.corruption, shift.strength, shift.resolution, shift.seed)

    def unlabeled(self, probed: bool = False) -> tuple[Source, np.ndarray | None]:
        """Source and labels of the unlabelled stream; only a probe beside the method has a use for the labels."""
        labels = self.train_labels() if self.train.labels_are_cheap or probed else None
        if labels is not None:
            labels = np.concatenate(
                [labels[self.others], np.full(len(self.pool) - len(self.others), -1, np.int32)]
            )
        if self.kept is None:
            return self.pool, labels
        return sources.subset(self.pool, self.kept), None if labels is None else labels[self.kept]

    def labeled(self) -> tuple[Source, np.ndarray]:
        """Source and labels of the labelled stream: what of train may show its label."""
        assert self.visible is not None
        source = sources.subset(self.train, self.visible)
        return source, _labels_of(source)

    def labeled_stream(self) -> tuple[Source, np.ndarray, dict[str, np.ndarray]]:
        """Source, labels and, where there are guesses, `target` and `weight` of the labelled stream.

        True labels come first, as distributions of one class with weight 1; the label of a guess is its likeliest
        class.
        """
        source, labels = self.labeled()
        if self.guesses is None:
            return source, labels, {}
        assert self.visible is not None
        guesses = self.guesses
        source = sources.subset(self.train, np.concatenate([self.visible, guesses.index]))
        target = np.concatenate([np.eye(self.num_classes, dtype=np.float32)[labels], guesses.target])
        weight = np.concatenate([np.ones(len(labels), np.float32), guesses.weight])
        return source, target.argmax(axis=1).astype(np.int32), {"target": target, "weight": weight}

    def train_labels(self) -> np.ndarray | None:
        """int32[N], -1 where a label may not be used."""
        labels = None if self.visible is None else self.train.labels()
        if labels is None or self.visible is None:
            return None
        shown = np.full(len(labels), -1, np.int32)
        shown[self.visible] = labels[self.visible]
        return shown

    def describe(self) -> dict[str, Any]:
        """What splits.json in the workdir records."""
        return {
            "train": len(self.train),
            "val": 0 if self.val is None else len(self.val),
            "test": 0 if self.test is None else len(self.test),
            "classes": list(self.train.class_names or ()),
            "content": signature(self.train),
            "holdout": self.held.tolist(),
            "visible_labels": None if self.visible is None else self.visible.tolist(),
        }


def open_data(config: Any) -> Data:
    """Opens the sources of a config, cuts the holdout, chooses the visible labels.

    Raises:
      UserError: whatever is wrong with the data section, in a sentence.
    """
    data = config.data
    if data.workers < 0 or data.threads < 1:
        raise UserError(
            f"config.data: workers={data.workers} must be at least 0, threads={data.threads} at least 1"
        )
    whole = _open(data, data.train)
    labels = None if data.labels == "none" or whole.class_names is None else whole
    strata = whole.labels() if whole.labels_are_cheap else None  # whoever uses labels, the cut is the same
    rest, held = splits.holdout(len(whole), strata, data.holdout, data.split_seed)
    train, val = (sources.subset(whole, rest), sources.subset(whole, held)) if len(held) else (whole, None)
    test = None
    if data.test not in ("", "test") or sources.has_split(data.name, data.test):
        test = _open(data, data.test) if data.test else None
    if test is not None and (test.class_names != whole.class_names and labels is not None):
        raise UserError(
            f"the classes of {data.test!r} differ from those of {data.train!r}: "
            f"{test.class_names} and {whole.class_names}"
        )
    visible = None
    if labels is not None:
        everything = data.labels == "all"
        visible = (
            np.arange(len(train))
            if everything
            else splits.label_subset(_labels_of(train), data.labels, data.split_seed)
        )
    guesses = None
    if data.guesses:
        if labels is None:
            raise UserError("config.data.guesses: the images have no labels, so none can be guessed")
        guesses = read_guesses(data.guesses, mark(train, held), len(train.class_names or ()))
        assert visible is not None
        guesses = guesses.without(visible)
    added = _open(data, data.train, data.unlabeled.add) if data.unlabeled.add else None
    found = Data(train, val, test, visible, held, shift_of(data), guesses, added)
    if data.unlabeled.keep:
        found = dataclasses.replace(
            found, kept=read_kept(data.unlabeled.keep, len(found.pool), mark(train, held))
        )
    if not len(found.others):
        raise UserError(
            "the unlabelled stream is empty: all images have labels; set data.unlabeled.with_labeled=True"
        )
    return found


def shift_of(data: Any) -> Shift:
    """What `data.unlabeled` says of it.

    Raises:
      UserError: for a corruption, strength or resolution that there is not.
    """
    stream = data.unlabeled
    if stream.corruption:
        shifts.check_corruption(stream.corruption, stream.strength)
    if stream.resolution:
        shifts.check_resolution(stream.resolution)
    names = ("with_labeled", "long_tail", "corruption", "strength", "resolution")
    return Shift(**{name: stream[name] for name in names}, seed=data.split_seed)


def signature(source: Source) -> int:
    """A checksum of file names or of pixels: a run must not go on with other data. 0 for records on disk."""
    if isinstance(source, sources.ArraySource):
        return zlib.crc32(source.images.tobytes())
    if isinstance(source, TfdsSource):
        return 0
    return zlib.crc32("\n".join(source.filename(i) for i in range(len(source))).encode())


def mark(train: Source, held: np.ndarray) -> np.ndarray:
    """What tells one train from another, int64[3]: its size, its content, and what was held out of it."""
    return np.array(
        [len(train), signature(train), zlib.crc32(np.asarray(held, np.int64).tobytes())], np.int64
    )


def _labels_of(source: Source) -> np.ndarray:
    labels = source.labels()
    assert labels is not None
    return labels


def _open(data: Any, split: str, name: str = "") -> Source:
    """Opens one split (of `data.name` if no other is given) and, where it fits, decodes it into memory once."""
    source = sources.load(name or data.name, split, data.data_dir or None)
    if not len(source):
        raise UserError(f"the split {split!r} of {name or data.name} is empty")
    shape = source.image_shape
    if shape is None or len(source) * np.prod(shape) > data.cache_gib * GIB:
        return source
    if not isinstance(source, sources.ArraySource):
        logging.info("decoding %d images of %s (%s) into memory", len(source), data.name, split)
    return sources.in_memory(source)
