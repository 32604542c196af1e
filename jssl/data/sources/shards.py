"""Tar shards as WebDataset writes them: read where they lie, without extracting."""

from __future__ import annotations

import collections
import functools
import itertools
import json
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jssl import storage
from jssl.data.sources.base import Captions, Field, Source, fields_of
from jssl.data.sources.folders import TEST_FOLDERS, TRAIN_FOLDERS, channels_and_dtype, spread_evenly, suffixes
from jssl.data.sources.images import Path
from jssl.errors import UserError, shown, unknown

SUFFIX = ".tar"
LARGEST_TEXT = 2**20  # bytes of a label, a caption or a .json
NAMED = 3  # samples in a message
MOST_SHARDS = 100_000
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
CAPTION_KEYS, LABEL_KEYS = ("caption", "captions", "text"), ("label", "cls", "class")


class Member(NamedTuple):
    """Where the bytes of an image lie."""

    shard: int
    start: int
    size: int
    name: str


class Sample(NamedTuple):
    """An image of a shard and what lies beside it."""

    member: Member
    label: str | None
    captions: tuple[str, ...]


class ShardSource(Source):
    """Images in tar files, of which the headers and the texts are read once, and the images when they are asked for.

    Files of a sample share a name up to its first dot: an image, and beside it `.cls` (a number or a name), `.txt` (a
    caption) or `.json` with `label` and `caption`. Samples without an image are left out; where most have a label, or
    captions are asked for, those that lack one are, too. Labels of numbers are in the order of numbers.

    Raises:
      UserError: if a shard is no tar, or there is no image.
    """

    def __init__(self, paths: Sequence[Path], captions: bool = True):
        self.paths = list(paths)
        self.name = shown(self.paths[0].name) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        samples, incomplete = [], []
        for number, path in enumerate(self.paths):
            found, without = indexed(path, number)
            samples += found
            incomplete += without
        if not samples:
            raise UserError(
                f"no images in {self.name}: expected members ending in {' '.join(sorted(suffixes()))}"
            )
        self._warn("have no image", incomplete)
        samples = self._complete(samples, "a label", lambda sample: sample.label is not None)
        if captions:
            samples = self._complete(samples, "a caption", lambda sample: bool(sample.captions))
        self._members = [sample.member for sample in samples]
        labels = [sample.label for sample in samples]
        classes = sorted({label for label in labels if label is not None}, key=_by_number)
        if None in labels or len(classes) < 2:
            classes = []
        shape, dtype = self._shape_and_dtype()
        self.fields = fields_of(shape, dtype, list(map(shown, classes)) or None)
        place = {name: number for number, name in enumerate(classes)}
        self._labels = np.array([place[label] for label in labels], np.int32) if classes else None  # type: ignore[index]
        self._captions = [sample.captions for sample in samples] if captions and samples[0].captions else None
        if self._captions:
            self.fields = {**self.fields, "text": Field("text", (None,), "str")}

    def _warn(self, words: str, names: Sequence[str]) -> None:
        if names:
            more = ", ..." if len(names) > NAMED else ""
            logging.warning(
                "%s: %d samples %s and are left out: %s%s",
                *(self.name, len(names), words, ", ".join(names[:NAMED]), more),
            )

    def _complete(self, samples: list[Sample], what: str, has: Callable[[Sample], bool]) -> list[Sample]:
        """Those that have something, where most do; all of them where few do, which then count for none."""
        complete = [sample for sample in samples if has(sample)]
        missing = [sample.member.name for sample in samples if not has(sample)]
        if len(complete) >= len(missing):
            self._warn(f"lack {what}", missing)
            return complete
        if complete:
            logging.warning(
                "%s: only %d of %d samples have %s, so none is read",
                self.name,
                len(complete),
                len(samples),
                what,
            )
        return [
            sample._replace(captions=()) if "caption" in what else sample._replace(label=None)
            for sample in samples
        ]

    def _shape_and_dtype(self) -> tuple[tuple[int | None, ...], str]:
        some = spread_evenly(len(self))
        names = [self.filename(i) for i in some]
        channels, dtype = channels_and_dtype(self.name, self.handles(some), names)
        return (None, None, channels), dtype

    def __len__(self) -> int:
        return len(self._members)

    def _read(self, index: int) -> bytes:
        """The bytes of an image; none where its shard is gone, which no decoder takes."""
        member = self._members[index]
        try:
            with self.paths[member.shard].open("rb") as file:
                file.seek(member.start)
                return bytes(file.read(member.size))
        except OSError:
            return b""

    def handles(self, indices: Sequence[int]) -> list[bytes]:
        return [self._read(index) for index in indices]

    def labels(self) -> np.ndarray | None:
        return self._labels

    def captions(self) -> Captions | None:
        return self._captions

    def filename(self, index: int) -> str:
        member = self._members[index]
        return f"{shown(self.paths[member.shard].name)}/{shown(member.name)}"

    def stamp(self, index: int) -> str:
        return f"{self.filename(index)} {self._members[index].size}"

    def stored(self, index: int) -> bytes:
        return self._read(index)


def indexed(path: Path, number: int) -> tuple[list[Sample], list[str]]:
    """The samples of a shard, and the names of those without an image.

    Raises:
      UserError: if it is no tar, is compressed, or ends in the middle of a member.
    """
    groups: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                folder, _, base = info.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if not info.isfile() or not stem or not ending:
                    continue
                part = groups[f"{folder}/{stem}" if folder else stem]
                kind = "." + ending.lower()
                if kind in suffixes() and not info.issparse():
                    part.setdefault("image", Member(number, info.offset_data, info.size, info.name))
                elif kind in (".cls", ".txt", ".json") and info.size <= LARGEST_TEXT:
                    inner = tar.extractfile(info)
                    assert inner is not None
                    part[kind] = inner.read().decode("utf-8-sig", "replace").strip()
            end = file.seek(0, 2)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{shown(path)} cannot be read as a tar that is not compressed: {error}") from error
    cut = [part["image"].name for part in groups.values() if "image" in part and _end(part["image"]) > end]
    if cut:
        raise UserError(f"{shown(path)} ends in the middle of {shown(cut[0])}: copy it again")
    samples = [_sample(part, path) for part in groups.values() if "image" in part]
    return samples, [
        f"{shown(path.name)}/{shown(name)}" for name, part in groups.items() if "image" not in part
    ]


def _end(member: Member) -> int:
    return member.start + member.size


def _sample(part: Mapping[str, Any], path: Path) -> Sample:
    """A sample of the files that share a name; .cls and .txt come before what .json says."""
    member, about = part["image"], {}
    if ".json" in part:
        try:
            about = json.loads(part[".json"])
        except json.JSONDecodeError as error:
            raise UserError(f"{shown(path)}: the .json of {shown(member.name)} is none: {error}") from error
        if not isinstance(about, dict):
            raise UserError(f"{shown(path)}: the .json of {shown(member.name)} must be an object")
    texts = part.get(".txt") or next((about[key] for key in CAPTION_KEYS if about.get(key)), ())
    label = part.get(".cls") or next((about[key] for key in LABEL_KEYS if about.get(key) is not None), None)
    given = texts if isinstance(texts, list) else [texts]
    captions = [text.strip() for text in given if isinstance(text, str)]
    return Sample(member, None if label is None else str(label), tuple(filter(None, captions)))


def _by_number(label: str) -> tuple[float, str]:
    return (int(label), label) if label.isdecimal() else (np.inf, label)


def expanded(name: str) -> list[str]:
    """The names that a pattern with {000..009} stands for.

    Example:
      >>> from jssl.data.sources.shards import expanded
      >>> expanded("a-{08..10}.tar")
      ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = RANGE.search(name)
    if found is None:
        return [name]
    first, last = found.groups()
    if not 0 <= int(last) - int(first) < MOST_SHARDS:
        raise UserError(f"{name}: {found.group()} must count upwards, at most to {MOST_SHARDS:,} shards")
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return list(
        itertools.chain.from_iterable(
            expanded(name[: found.start()] + n + name[found.end() :]) for n in numbers
        )
    )


def is_shards(name: str) -> bool:
    """Whether a name means tar files: by its ending, or a folder with some and no images beside them."""
    if name.lower().endswith(SUFFIX):
        return True
    path = storage.located(name)
    return path.is_dir() and bool(_tars(path))


def splits(name: str) -> dict[str, list[Path]]:
    """The shards of each split.

    Of a folder, those in train/ and test/, val/, valid/ or validation/, or whose names begin so; else all are `train`,
    as are those of a file or a pattern.

    Raises:
      UserError: if there is none, or one is missing.
    """
    if name.lower().endswith(SUFFIX):
        paths = [storage.located(each) for each in expanded(name)]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise UserError(
                f"{len(missing)} of {len(paths)} shards are not there, {shown(missing[0])} for one"
            )
        return {"train": paths}
    root = storage.located(name)
    found: dict[str, list[Path]] = collections.defaultdict(list)
    for path in _tars(root):
        split = _split_of(path.relative_to(root).parts[0])
        found["" if split is None else split].append(path)
    if "train" not in found or "" in found:
        return {"train": [path for paths in found.values() for path in paths]}
    return dict(found)


def _split_of(name: str) -> str | None:
    """The split that the name of a folder or of a shard begins with: 'train', 'test' or None."""
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return "train" if word in TRAIN_FOLDERS else "test" if word in TEST_FOLDERS else None


def _tars(root: Path) -> list[Path]:
    """The shards in a folder and in the folders in it, by name."""
    inside = [path for path in root.iterdir() if not path.name.startswith(".")]
    if any(path.suffix.lower() in suffixes() for path in inside):
        return []
    found = [path for path in inside if path.suffix.lower() == SUFFIX]
    for folder in inside if not found else ():
        if _split_of(folder.name) is not None and folder.is_dir():
            found += [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX]
    return sorted(found)


def open_shards(name: str, split: str, captions: bool = True) -> Source:
    """A split of shards; read once, and anew when a file was written anew."""
    known = splits(name)
    if split not in known:
        raise unknown("split", split, known)
    paths = known[split]
    return _opened(tuple(paths), tuple(_modified(path) for path in paths), captions)


@functools.lru_cache(maxsize=4)
def _opened(paths: tuple[Path, ...], modified: tuple[Any, ...], captions: bool) -> Source:
    del modified
    return ShardSource(paths, captions)


def _modified(path: Path) -> tuple[Any, int]:
    about = path.stat()
    return getattr(about, "st_mtime_ns", None) or getattr(about, "mtime", 0), getattr(about, "st_size", 0)
