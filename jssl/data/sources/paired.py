"""Images with captions, sound, masks or boxes: beside a source in lists, beside a folder in captions.jsonl or .csv."""

from __future__ import annotations

import abc
import csv
import io
import json
import pathlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from jssl.data.sources.annotations import Boxes, Masks, read_mask
from jssl.data.sources.base import READ, Captions, Field, Source, Subset
from jssl.data.sources.folders import FolderSource
from jssl.data.sources.images import Path
from jssl.errors import UserError, shown

FILES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
FILE_KEYS = ("file", "file_name", "filename", "image")
CAPTION_KEYS = ("caption", "captions", "text")
NAMED = 3  # files in a message


class Beside(Subset):
    """Another source, with something beside every image that no decoder of images knows of."""

    def __init__(self, source: Source):
        super().__init__(source, np.arange(len(source)))
        self.is_in_memory = source.is_in_memory

    @abc.abstractmethod
    def beside(self, source: Source) -> Source:
        """The same beside other images of the same examples."""

    @abc.abstractmethod
    def checksum(self, start: int) -> int:
        """A checksum of what is beside, from another one on."""

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        return self.beside(self.source.converted(channels, dtype))

    def exact(self) -> Source:
        return self.beside(self.source.exact())

    def note_labels(self, labels: np.ndarray) -> None:
        self.source.note_labels(labels)

    def content_checksum(self) -> int:
        return self.checksum(self.source.content_checksum())


class Captioned(Beside):
    """Another source with captions, one or several for every image.

    Raises:
      UserError: if there is not at least one caption for every image.
    """

    def __init__(self, source: Source, captions: Sequence[str | Sequence[str]]):
        super().__init__(source)
        self._captions = [(own,) if isinstance(own, str) else tuple(own) for own in captions]
        fit = all(own and all(isinstance(text, str) and text for text in own) for own in self._captions)
        if len(self._captions) != len(source) or not fit:
            raise UserError(
                f"{source.name}: every one of {len(source)} images needs a caption, a string, or several of them"
            )
        self.fields = {**source.fields, "text": Field("text", (None,), "str")}

    def captions(self) -> Captions:
        return self._captions

    def beside(self, source: Source) -> Source:
        return Captioned(source, self._captions)

    def checksum(self, start: int) -> int:
        return zlib.crc32(repr(self._captions).encode(), start)


class Sounding(Beside):
    """Another source with sound, a waveform of one length for every image.

    Raises:
      UserError: if it is not int16[N, samples], or the rate is not positive.
    """

    def __init__(self, source: Source, sounds: np.ndarray, rate: int):
        super().__init__(source)
        sounds = np.asarray(sounds)
        fit = sounds.dtype == np.int16 and sounds.ndim == 2 and len(sounds) == len(source)
        if not (fit and isinstance(rate, int | np.integer) and rate > 0):
            raise UserError(
                f"{source.name}: sound must be int16[{len(source)}, samples] at a positive rate, not "
                f"{sounds.dtype}{list(sounds.shape)} at {rate}"
            )
        self.fields = {**source.fields, "audio": Field("audio", sounds.shape[1:], "int16", rate=rate)}
        self._sounds = sounds

    def sounds(self) -> np.ndarray:
        return self._sounds

    def beside(self, source: Source) -> Source:
        return Sounding(source, self._sounds, self.sound_rate)

    def checksum(self, start: int) -> int:
        return zlib.crc32(np.ascontiguousarray(self._sounds).data, start)


class Masked(Beside):
    """Another source with masks, see `Source.masks`.

    Raises:
      UserError: if there is not one, or None, for every image; and once they are opened for those of another size.
    """

    def __init__(
        self,
        source: Source,
        masks: Sequence[np.ndarray | None] | Masks,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__(source)
        if len(masks) != len(source):
            raise UserError(f"{source.name}: {len(masks)} masks for {len(source)} images: give one to each")
        names = None if class_names is None else tuple(class_names)
        self.fields = {**source.fields, "mask": Field("mask", (None, None), "uint8", names)}
        self._masks = masks

    def masks(self) -> Masks:
        return Masks(len(self), self._mask)

    def _mask(self, index: int) -> np.ndarray | None:
        mask, shape = self._masks[index], self.source.image_shape
        if mask is None:
            return None
        mask = read_mask(mask, f"the mask of {self.filename(index)}")
        if shape is not None and mask.shape != shape[:2]:
            raise UserError(
                f"the mask of {self.filename(index)} is of {mask.shape[0]} x {mask.shape[1]} pixels, its image of "
                f"{shape[0]} x {shape[1]}"
            )
        return mask

    def beside(self, source: Source) -> Source:
        return Masked(source, self._masks, self.fields["mask"].classes)

    def checksum(self, start: int) -> int:
        for index in np.linspace(0, len(self) - 1, min(len(self), READ)).astype(int).tolist():
            mask = self._mask(index)
            start = zlib.crc32(b"" if mask is None else np.ascontiguousarray(mask).data, start)
        return start


class Boxed(Beside):
    """Another source with the boxes of its objects.

    Raises:
      UserError: if there are not boxes, perhaps none, for every image, or they cannot be, see `Boxes.of`.
    """

    def __init__(self, source: Source, boxes: Sequence[Boxes], class_names: Sequence[str]):
        super().__init__(source)
        if len(boxes) != len(source):
            raise UserError(f"{source.name}: boxes of {len(boxes)} images for {len(source)}: give all theirs")
        self._boxes = [
            Boxes.of(each.where, each.labels, each.uncertain, self.filename(index), len(class_names))
            for index, each in enumerate(boxes)
        ]
        self.fields = {
            **source.fields,
            "boxes": Field("boxes", (None, 4), "float32", tuple(class_names)),
        }

    def boxes(self) -> Sequence[Boxes]:
        return self._boxes

    def beside(self, source: Source) -> Source:
        return Boxed(source, self._boxes, self.fields["boxes"].classes or ())

    def checksum(self, start: int) -> int:
        for each in self._boxes:
            for array in (each.where, each.labels, each.uncertain):
                start = zlib.crc32(array.tobytes(), start)
        return start


def captioned_folder(source: Source, root: Path) -> Source:
    """The images of a folder that a file beside them has captions for; the folder itself where there is no such file.

    Args:
      source: of the folder.
      root: where the file may lie too: the folder of the splits.

    Raises:
      UserError: if the file cannot be read, or none of its lines names an image.
    """
    assert isinstance(source, FolderSource)
    there = dict.fromkeys(folder / name for folder in (source.root, root) for name in FILES)
    read = ((path, *_by_file(path)) for path in there if path.exists())
    path, captions, empty = next(
        ((path, own, empty) for path, own, empty in read if own is not None), (root, None, 0)
    )
    if captions is None:  # no file, or metadata of another kind
        return source
    names = {str(image.relative_to(path.parent)): place for place, image in enumerate(source.paths)}
    places = {names[name]: own for name, own in captions.items() if name in names}
    if empty and not captions:
        raise UserError(f"{shown(path)}: all of its {empty} captions are empty")
    if not places:
        example = next(iter(captions), "nothing")
        raise UserError(
            f"{shown(path)} names no image below {shown(source.root)}: it has {example}, and there is "
            f"{source.filename(0)}"
        )
    inside = "" if source.root == path.parent else f"{source.root.relative_to(path.parent)}/"
    missing = [name for name in captions if name not in names and name.startswith(inside)]
    if len(missing) > len(places):
        raise UserError(
            f"{shown(path)}: {len(missing)} files with captions are not there, more than are, {missing[0]} for one: "
            f"names must be as in {next(iter(names))}"
        )
    for count, words in (
        (len(missing), f"captions are of files that are not there: {', '.join(missing[:NAMED])}"),
        (empty, "captions are empty"),
        (len(source) - len(places), "images have no caption and are left out"),
    ):
        if count:
            logging.warning("%s: %d %s", shown(path), count, words)
    captioned = sorted(places)
    chosen = source if len(captioned) == len(source) else source.take(captioned)
    return Captioned(chosen, [tuple(places[place]) for place in captioned])


def _by_file(path: Path) -> tuple[dict[str, list[str]] | None, int]:
    """Captions by file, and how many are empty; None if the file has no captions."""
    found: dict[str, list[str]] = {}
    empty = 0
    for number, row in _rows(path):
        name = next((row[key] for key in FILE_KEYS if key in row), None)
        texts = next((row[key] for key in CAPTION_KEYS if key in row), None)
        if path.name.startswith("metadata") and not any(key in row for key in CAPTION_KEYS):
            return None, 0
        if name is None or texts is None:
            raise UserError(
                f"{shown(path)}, line {number}: it must have a file ({', '.join(FILE_KEYS)}) and a caption "
                f"({', '.join(CAPTION_KEYS)}), and has {', '.join(map(str, row)) or 'nothing'}"
            )
        for text in texts if isinstance(texts, list) else [texts]:
            if not isinstance(text, str):
                raise UserError(f"{shown(path)}, line {number}: a caption must be a text, not {text!r}")
            if text.strip():
                found.setdefault(_normal(str(name)), []).append(text.strip())
            else:
                empty += 1
    return found, empty


def _normal(name: str) -> str:
    """A path as folders name it: without ./ and with slashes."""
    return str(pathlib.PurePosixPath(name.replace("\\", "/")))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a .jsonl or a .csv with names in its first line, with their numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(path)} cannot be read as UTF-8: {error}") from error
    if path.suffix == ".csv":
        yield from _rows_of_csv(path, text)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{shown(path)}, line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(
                    f'{shown(path)}, line {number} must be an object, as in {{"file": "a.jpg", ...}}'
                )
            yield number, row


def _rows_of_csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise UserError(
                    f"{shown(path)}, line {reader.line_num} has more fields than the first line: put quotes around a "
                    "caption with commas"
                )
            yield reader.line_num, dict(row)
    except csv.Error as error:
        raise UserError(f"{shown(path)}, line {reader.line_num} is no CSV: {error}") from error
