"""The data of a run: the part that trains, the part that chooses, the part that tests."""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from jssl import parallel
from jssl.data import normalization, sources, splits
from jssl.data.pseudo_labels import PseudoLabels, Rows, Targets, read_inliers
from jssl.data.pseudo_labels import read as read_pseudo_labels
from jssl.data.sources import Source, corrupted
from jssl.data.streams import DataInfo
from jssl.data.text import Captions, Tokenizer, open_tokenizer
from jssl.errors import UserError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class DistributionShift:
    """The difference of the unlabelled stream from the labelled one, by default none; see sources/corrupted.py.

    Attributes:
      with_labeled: whether it holds the images with labels, too.
      imbalance_ratio: how many times more images the first class has than the last.
      corruption, severity, resolution, seed: see `corrupted.corrupted`.
    """

    with_labeled: bool = True
    imbalance_ratio: float = 1.0
    corruption: str = ""
    severity: int = 3
    resolution: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Data:
    """The sources of a run, and which part of them is labelled, held out or unlabelled.

    Attributes:
      train: what the method trains on.
      val: held out of train, for choices; None without a holdout.
      test: for the final numbers; None if the data set has no such split.
      labeled_indices: positions within train whose labels may be used, or None if there are no labels.
      holdout_indices: positions of val in the split that it was cut from.
      shift: how the unlabelled stream differs from the rest.
      pseudo_labels: labels that a model gave to other images of train.
      added: images of another data set in the unlabelled stream.
      inliers: positions of the unlabelled stream (`unlabeled_pool`) that are no outliers; None for all.
      mean, std: of train's pixels, per channel in [0, 1], where the config asks for an estimate.
      value_range, stored_dtype: of train's pixels as they are stored, see `normalization.value_range`.
      read_labels: of the split that train and val were cut from, where records were read for them; int32[N] or None.
      tokenizer: of the captions, where they are read.
      hears: whether the sound of the images is heard.
    """

    train: Source
    val: Source | None
    test: Source | None
    labeled_indices: np.ndarray | None
    holdout_indices: np.ndarray
    shift: DistributionShift = DistributionShift()
    pseudo_labels: PseudoLabels | None = None
    added: Source | None = None
    inliers: np.ndarray | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: tuple[float, ...] | None = None
    stored_dtype: str = "uint8"
    read_labels: np.ndarray | None = None
    tokenizer: Tokenizer | None = None
    hears: bool = False

    @functools.cached_property
    def sounds(self) -> np.ndarray | None:
        """The sound of the unlabelled stream, int16[N, samples]; None where it is not heard."""
        return self.unlabeled()[0].sounds() if self.hears else None

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 if unlabelled."""
        return 0 if self.labeled_indices is None else len(self.train.class_names or ())

    @property
    def info(self) -> DataInfo:
        """The shapes that a program is built from."""
        train = self.train
        labeled = 0 if self.labeled_indices is None else len(self.labeled_indices)
        labeled += 0 if self.pseudo_labels is None else len(self.pseudo_labels.index)
        pseudo = self.pseudo_labels
        kind = "" if pseudo is None else "soft" if pseudo.soft else "hard"
        unlabeled = len(self.unlabeled_pool) if self.inliers is None else len(self.inliers)
        return DataInfo(
            unlabeled,
            train.image_shape,
            train.channels,
            self.num_classes,
            labeled,
            kind,
            train.dtype.name,
            self.mean,
            self.std,
            self.value_range,
            self.stored_dtype,
            0 if self.sounds is None else self.sounds.shape[1],
            *()
            if self.tokenizer is None
            else (
                self.tokenizer.context,
                self.tokenizer.vocabulary,
                self.tokenizer.end,
                self.tokenizer.mask,
            ),
        )

    @functools.cached_property
    def unlabeled_indices(self) -> np.ndarray:
        """Positions within train of what the unlabelled stream takes from it."""
        positions = np.arange(len(self.train))
        if not self.shift.with_labeled and self.labeled_indices is not None:
            positions = np.setdiff1d(positions, self.labeled_indices)
        if self.shift.imbalance_ratio == 1:
            return positions
        labels = self.train.labels()
        if labels is None:
            raise UserError("data.unlabeled.imbalance_ratio: the images have no labels, so it cannot be cut")
        return positions[
            splits.imbalance_ratio(labels[positions], self.shift.imbalance_ratio, self.shift.seed)
        ]

    @functools.cached_property
    def unlabeled_pool(self) -> Source:
        """The unlabelled stream before outliers are taken out: part of train, shifted, and what is added."""
        source = self.train
        if len(self.unlabeled_indices) < len(self.train):
            source = source.take(self.unlabeled_indices)
        source = self._shifted(source)
        if self.added is None:
            return source
        try:
            return source.concat(self.added)
        except UserError as error:
            raise UserError(f"data.unlabeled.add: {error}") from error

    def hidden(self, most: int) -> Source | None:
        """Images of the unlabelled stream, at most so many, whose labels there are, but not for training."""
        rows = (
            np.arange(len(self.unlabeled_indices))
            if self.inliers is None
            else self.inliers[self.inliers < len(self.unlabeled_indices)]
        )
        found = np.setdiff1d(
            self.unlabeled_indices[rows], [] if self.labeled_indices is None else self.labeled_indices
        )
        if self.labeled_indices is None or not len(found) or not most:
            return None
        drawn = np.random.default_rng(0).permutation(len(found))[:most]
        return self._shifted(self.train.take(found[np.sort(drawn)]))

    def _shifted(self, source: Source) -> Source:
        shift = self.shift
        return corrupted.corrupted(source, shift.corruption, shift.severity, shift.resolution, shift.seed)

    def unlabeled(self, probed: bool = False) -> tuple[Source, np.ndarray | None]:
        """Source and labels of the unlabelled stream; only a probe beside the method has a use for the labels."""
        labels = self.train_labels() if self.train.labels_are_cheap or probed else None
        if labels is not None:
            labels = np.concatenate(
                [
                    labels[self.unlabeled_indices],
                    np.full(len(self.unlabeled_pool) - len(self.unlabeled_indices), -1, np.int32),
                ]
            )
        if self.inliers is None:
            return self.unlabeled_pool, labels
        return self.unlabeled_pool.take(self.inliers), None if labels is None else labels[self.inliers]

    def captions(self, seed: int) -> Captions | None:
        """The captions of the unlabelled stream as tokens; None where they are not read."""
        if self.tokenizer is None:
            return None
        captions = self.unlabeled()[0].captions()
        assert captions is not None, "open_data looked"
        return Captions.of(captions, self.tokenizer, seed)

    def labeled(self) -> tuple[Source, np.ndarray]:
        """Source and labels of the labelled stream: the images of train whose labels may be used."""
        assert self.labeled_indices is not None
        source = self.train.take(self.labeled_indices)
        return source, _labels_of(source)

    def labeled_stream(self) -> tuple[Source, np.ndarray, dict[str, Rows]]:
        """Source, labels and, where there are pseudo-labels, `weight` (of soft ones `target`) of the labelled stream.

        True labels come first, with weight 1 (as distributions of one class); the label of a pseudo-label is its
        likeliest class.
        """
        source, labels = self.labeled()
        if self.pseudo_labels is None:
            return source, labels, {}
        assert self.labeled_indices is not None
        pseudo_labels = self.pseudo_labels
        source = self.train.take(np.concatenate([self.labeled_indices, pseudo_labels.index]))
        more: dict[str, Rows] = {
            "weight": np.concatenate([np.ones(len(labels), np.float32), pseudo_labels.weight])
        }
        if pseudo_labels.soft:
            more["target"] = Targets(labels, pseudo_labels.target)
        return source, np.concatenate([labels, pseudo_labels.label]), more

    def train_labels(self) -> np.ndarray | None:
        """int32[N], -1 where a label may not be used."""
        labels = None if self.labeled_indices is None else self.train.labels()
        if labels is None or self.labeled_indices is None:
            return None
        shown = np.full(len(labels), -1, np.int32)
        shown[self.labeled_indices] = labels[self.labeled_indices]
        return shown

    def describe(self) -> dict[str, Any]:
        """The description of the splits that splits.json in the workdir records."""
        return dict(self._description)

    @functools.cached_property
    def _description(self) -> dict[str, Any]:
        """Made once: the checksums read files."""
        return {
            "train": len(self.train),
            "val": 0 if self.val is None else len(self.val),
            "test": 0 if self.test is None else len(self.test),
            "classes": list(self.train.class_names or ()),
            "content": self.train.content_checksum(),
            "test_content": None if self.test is None else self.test.content_checksum(),
            "val_content": None if self.val is None else self.val.content_checksum(),
            "tokenizer": None if self.tokenizer is None else zlib.crc32(self.tokenizer.description.encode()),
            "read_labels": None if self.read_labels is None else checksum_of(self.read_labels),
            "holdout": self.holdout_indices.tolist(),
            "visible_labels": None if self.labeled_indices is None else self.labeled_indices.tolist(),
        }


def open_data(
    config: Any,
    recorded: DataInfo | None = None,
    own: Mapping[str, Source] | None = None,
    read_labels: np.ndarray | None = None,
    tokenizer: str | None = None,
) -> Data:
    """Opens the sources of a config, cuts the holdout, chooses whose labels may be used.

    Args:
      config: of a run.
      own: sources of a user's own by split, in the place of `data.name`.
      recorded: what the run noted of its data when it began; what it estimated stays what it was.
      read_labels: `Data.read_labels` of an earlier session of the run.
      tokenizer: the tokenizer.json that the run began with.

    Raises:
      UserError: whatever is wrong with the data section, in a sentence.
    """
    data = config.data
    stored = _stored(data, data.name, data.train, own)
    black_and_white = normalization.value_range(
        stored, tuple(data.value_range), None if recorded is None else recorded.value_range
    )

    def prepared(source: Source) -> Source:
        return _cached(normalization.spread(source, black_and_white, stored.dtype.name), data.cache_gib)

    whole = prepared(stored)
    labels = None if data.labels == "none" or whole.class_names is None else whole
    if labels is not None and not whole.labels_are_cheap and data.labels != "all":
        read_labels = _read_labels(whole, read_labels)
    strata = whole.labels() if whole.labels_are_cheap else None  # whoever uses labels, the cut is the same
    rest, holdout_indices = splits.holdout(len(whole), strata, data.holdout, data.split_seed)
    train, val = (whole.take(rest), whole.take(holdout_indices)) if len(holdout_indices) else (whole, None)
    test = None
    has_test = (
        data.test in own
        if own is not None
        else sources.has_split(data.name, data.test, sound_format(data.audio))
    )
    if data.test and (data.test != "test" or has_test):
        test = prepared(_stored(data, data.name, data.test, own)).converted(whole.channels, whole.dtype)
    if test is not None and labels is not None and _asks_for_anomalies(config.evals):
        whole = labels = with_anomalies_of(whole, test)
    if test is not None and labels is not None:
        test = with_classes_of(whole, test, data.test, data.train)
    labeled_indices = None
    if labels is not None:
        everything = data.labels == "all"
        labeled_indices = (
            np.arange(len(train))
            if everything
            else splits.label_subset(_labels_of(train), data.labels, data.split_seed)
        )
    pseudo_labels = None
    if data.pseudo_labels:
        if labels is None:
            raise UserError("data.pseudo_labels: the images have no labels, so none can be predicted")
        pseudo_labels = read_pseudo_labels(
            data.pseudo_labels, split_fingerprint(train, holdout_indices), len(train.class_names or ())
        )
        assert labeled_indices is not None
        pseudo_labels = pseudo_labels.without(labeled_indices)
    added = None
    if data.unlabeled.add and (data.text.context or data.audio.enabled):
        raise UserError("data.unlabeled.add: images cannot be added to those with captions or sound")
    if data.unlabeled.add:
        added = prepared(_stored(data, data.unlabeled.add, data.train))
        added = added.converted(whole.channels, whole.dtype)
    mean, std = _estimates(data, train, recorded)
    found = Data(
        train,
        val,
        test,
        labeled_indices,
        holdout_indices,
        distribution_shift(data),
        pseudo_labels,
        added,
        mean=mean,
        std=std,
        value_range=black_and_white,
        stored_dtype=stored.dtype.name,
        read_labels=read_labels,
        tokenizer=_tokenizer(data, train, tokenizer),
        hears=_hears(data, train, test),
    )
    if data.unlabeled.inliers:
        found = dataclasses.replace(
            found,
            inliers=read_inliers(
                data.unlabeled.inliers, len(found.unlabeled_pool), split_fingerprint(train, holdout_indices)
            ),
        )
    if not len(found.unlabeled_indices):
        raise UserError(
            "the unlabelled stream is empty: all images have labels; set data.unlabeled.with_labeled=True"
        )
    return found


def _hears(data: Any, train: Source, test: Source | None) -> bool:
    """Whether there shall be sound; raises UserError if there is none, or it is of another rate."""
    if not data.audio.enabled:
        return False
    if not train.sound_rate:
        raise UserError(f"data.audio.enabled: the images of {train.name} have no sound")
    if train.sound_rate != data.audio.rate:
        raise UserError(
            f"data.audio.rate={data.audio.rate}: the sound of {train.name} has {train.sound_rate} samples a second"
        )
    own, theirs = (source and (source.sound_rate, source.fields.get("audio")) for source in (train, test))
    if test is not None and own != theirs:
        raise UserError(
            f"the sound of {data.test!r} is not as that of {data.train!r}: both must have the same samples at one rate"
        )
    return True


def _tokenizer(data: Any, train: Source, recorded: str | None) -> Tokenizer | None:
    """That of the captions, if they are asked for."""
    if not data.text.context:
        return None
    captions = train.captions()
    if captions is None:
        raise UserError(
            f"data.text.context={data.text.context}: the images of {train.name} have no captions; a folder has them in "
            "captions.jsonl or captions.csv, lines of file and caption"
        )
    return open_tokenizer(data.text, captions, recorded)


def _read_labels(source: Source, known: np.ndarray | None) -> np.ndarray:
    """All labels of a source whose records must be read for them: every process reads a part, and tells the others."""
    if known is None or known.shape != (len(source),):
        logging.info("reading the labels of %d images of %s", len(source), source.name)
        part = np.array_split(np.arange(len(source)), jax.process_count())[jax.process_index()]
        own = source.labels_at(part)
        assert own is not None
        known = parallel.parts_together(own)
    source.note_labels(known)
    return known


def with_classes_of(train: Source, test: Source, test_split: str, train_split: str) -> Source:
    """The test set with its labels as positions in the classes of train; it may lack some of them.

    Raises:
      UserError: if it has no labels, or classes that train lacks.
    """
    known, found = train.class_names or (), test.class_names
    if found is None:
        raise UserError(f"{test_split!r} has no labels, and {train_split!r} has: set data.test='' for none")
    more = [name for name in found if name not in known]
    if more:
        raise UserError(
            f"{len(more)} classes of {test_split!r} are not in {train_split!r} ({', '.join(more[:3])}"
            f"{', ...' if len(more) > 3 else ''}): give both the same classes"
        )
    missing = [name for name in known if name not in found]
    if missing:
        logging.warning(
            "%r lacks %d classes of %r: %s%s",
            *(test_split, len(missing), train_split, ", ".join(missing[:3])),
            ", ..." if len(missing) > 3 else "",
        )
    return test.renamed(known)


def _asks_for_anomalies(evals: Any) -> bool:
    """Whether the test set may have classes that train lacks; runs of before know no such evaluator."""
    return "anomaly" in evals and bool(evals.anomaly.enabled)


def with_anomalies_of(train: Source, test: Source) -> Source:
    """The training set with the classes of the test set that it lacks, after its own: kinds of anomalies."""
    known = train.class_names or ()
    return train.renamed((*known, *(name for name in test.class_names or () if name not in known)))


def _estimates(
    data: Any, train: Source, recorded: DataInfo | None
) -> tuple[normalization.Numbers | None, normalization.Numbers | None]:
    """Mean and std of the training images where the config asks for them, None where it gives them."""
    wanted = [normalization.is_estimate(data[name]) for name in ("mean", "std")]
    if not any(wanted):
        return None, None
    known = (None, None) if recorded is None else (recorded.mean, recorded.std)
    if any(found is None for found, want in zip(known, wanted) if want):
        logging.info("estimating mean and std of the pixels from at most %d images", normalization.MAX_IMAGES)
        known = normalization.estimate(train, data.split_seed)
    mean, std = (found if want else None for found, want in zip(known, wanted))
    return mean, std


def distribution_shift(data: Any) -> DistributionShift:
    """The shift that the section `data.unlabeled` of a config describes.

    Raises:
      UserError: for a corruption, severity or resolution that there is not.
    """
    stream = data.unlabeled
    if stream.corruption:
        corrupted.check_corruption(stream.corruption, stream.severity)
    if stream.resolution:
        corrupted.check_resolution(stream.resolution)
    names = ("with_labeled", "imbalance_ratio", "corruption", "severity", "resolution")
    return DistributionShift(**{name: stream[name] for name in names}, seed=data.split_seed)


def checksum_of(array: np.ndarray) -> int:
    """A checksum of an array's content, shape and dtype."""
    return zlib.crc32(
        np.ascontiguousarray(array).tobytes(), zlib.crc32(f"{array.dtype}{array.shape}".encode())
    )


def split_fingerprint(train: Source, holdout_indices: np.ndarray) -> np.ndarray:
    """A fingerprint of a train split, int64[3]: its size, its content, and what was held out of it."""
    return np.array(
        [len(train), train.content_checksum(), zlib.crc32(np.asarray(holdout_indices, np.int64).tobytes())],
        np.int64,
    )


def _labels_of(source: Source) -> np.ndarray:
    labels = source.labels()
    assert labels is not None
    return labels


def sound_format(audio: Any) -> sources.SoundFormat | None:
    """The sounds that a section `data.audio` asks for in the place of images; None where it does not."""
    return sources.SoundFormat(audio.rate, audio.length) if audio.as_images else None


def _stored(data: Any, name: str, split: str, own: Mapping[str, Source] | None = None) -> Source:
    """Opens one split of a data set, or of a user's own, with the pixels that are stored."""
    source = (
        sources.load(
            *(name, split, data.data_dir or None, bool(data.text.context)),
            sound=sound_format(data.audio),
            clips=sources.ClipSpec(**data.video),
            sound_rate=data.audio.rate if data.audio.enabled else 0,
        )
        if own is None
        else sources.sliced(own, split)
    )
    if not len(source):
        raise UserError(f"the split {split!r} of {name} is empty")
    return source


def _cached(source: Source, cache_gib: float) -> Source:
    """The source, decoded into memory once where its images share a size and fit."""
    shape = source.image_shape
    if shape is None or source.is_in_memory:
        return source
    if len(source) * math.prod(shape) * source.dtype.itemsize > cache_gib * GIB:
        return source
    logging.info("reading %d images of %s into memory", len(source), source.name)
    return sources.in_memory(source)
