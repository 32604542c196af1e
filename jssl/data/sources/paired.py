"""Images with captions or sound: any source beside a list of them, a folder beside captions.jsonl or captions.csv."""

from __future__ import annotations

import abc
import csv
import io
import json
import zlib
from collections.abc import Iterator

import numpy as np
from absl import logging

from jssl.data.sources.base import Captions, Field, Source, Subset
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

    def __init__(self, source: Source, captions: Captions):
        super().__init__(source)
        if len(captions) != len(source) or not all(captions):
            raise UserError(f"{source.name}: every one of {len(source)} images needs a caption")
        self.fields = {**source.fields, "text": Field("text", (None,), "str")}
        self._captions = captions

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
        if sounds.dtype != np.int16 or sounds.ndim != 2 or len(sounds) != len(source) or rate < 1:
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


def captioned_folder(source: Source, root: Path) -> Source:
    """The images of a folder that a file beside them has captions for; the folder itself where there is no such file.

    Args:
      source: of the folder.
      root: where the file may lie too: the folder of the splits.

    Raises:
      UserError: if the file cannot be read, or none of its lines names an image.
    """
    assert isinstance(source, FolderSource)
    found = next(
        (folder / name for folder in (source.root, root) for name in FILES if (folder / name).exists()), None
    )
    if found is None:
        return source
    captions, empty = _by_file(found)
    if captions is None:  # metadata of another kind
        return source
    names = {str(path.relative_to(found.parent)): place for place, path in enumerate(source.paths)}
    places = {names[name]: own for name, own in captions.items() if name in names}
    if not places:
        example = next(iter(captions), "nothing")
        raise UserError(
            f"{shown(found)} names no image below {shown(source.root)}: it has {example}, and there is "
            f"{source.filename(0)}"
        )
    missing = [name for name in captions if name not in names]
    for count, words in (
        (len(missing), f"captions are of files that are not there: {', '.join(missing[:NAMED])}"),
        (empty, "captions are empty"),
        (len(source) - len(places), "images have no caption and are left out"),
    ):
        if count:
            logging.warning("%s: %d %s", shown(found), count, words)
    kept = sorted(places)
    chosen = source if len(kept) == len(source) else source.take(kept)
    return Captioned(chosen, [tuple(places[place]) for place in kept])


def _by_file(path: Path) -> tuple[dict[str, list[str]] | None, int]:
    """Captions by file, and how many are empty; None if the file has no captions."""
    found: dict[str, list[str]] = {}
    empty = 0
    for number, row in enumerate(_rows(path), 1):
        name = next((row[key] for key in FILE_KEYS if key in row), None)
        texts = next((row[key] for key in CAPTION_KEYS if key in row), None)
        if name is None or texts is None:
            if path.name.startswith("metadata"):
                return None, 0
            raise UserError(
                f"{shown(path)}, line {number}: it must have a file ({', '.join(FILE_KEYS)}) and a caption "
                f"({', '.join(CAPTION_KEYS)}), and has {', '.join(row) or 'nothing'}"
            )
        for text in texts if isinstance(texts, list) else [texts]:
            if str(text).strip():
                found.setdefault(str(name), []).append(str(text).strip())
            else:
                empty += 1
    return found, empty


def _rows(path: Path) -> Iterator[dict[str, object]]:
    """The rows of a .jsonl or a .csv with names in its first line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(path)} cannot be read as UTF-8: {error}") from error
    if path.suffix == ".csv":
        yield from csv.DictReader(io.StringIO(text))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{shown(path)}, line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(
                    f'{shown(path)}, line {number} must be an object, as in {{"file": "a.jpg", ...}}'
                )
            yield row
