"""Images with captions: any source beside a list, a folder beside captions.jsonl or captions.csv, pairs of digits."""

from __future__ import annotations

import csv
import io
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Captions, Field, Source, Subset
from jssl.data.sources.digits import grey_digits, split_rows
from jssl.data.sources.folders import FolderSource
from jssl.data.sources.images import Path
from jssl.errors import UserError, shown

FILES = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
FILE_KEYS = ("file", "file_name", "filename", "image")
CAPTION_KEYS = ("caption", "captions", "text")
NAMED = 3  # files in a message

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = (
    "{} {}",
    "{} and then {}",
    "the digits {} {}",
    "a {} followed by a {}",
    "{} on the left, {} on the right",
)
UNSEEN = 3  # of every ten pairs, which no training image shows
PER_PAIR = {"train": 50, "test": 20}


class Captioned(Subset):
    """Another source with captions, one or several for every image.

    Raises:
      UserError: if there is not at least one caption for every image.
    """

    def __init__(self, source: Source, captions: Captions):
        super().__init__(source, np.arange(len(source)))
        if len(captions) != len(source) or not all(captions):
            raise UserError(f"{source.name}: every one of {len(source)} images needs a caption")
        self.fields = {**source.fields, "text": Field("text", (None,), "str")}
        self.is_in_memory = source.is_in_memory
        self._captions = captions

    def captions(self) -> Captions:
        return self._captions

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        return Captioned(self.source.converted(channels, dtype), self._captions)

    def exact(self) -> Source:
        return Captioned(self.source.exact(), self._captions)

    def note_labels(self, labels: np.ndarray) -> None:
        self.source.note_labels(labels)

    def content_checksum(self) -> int:
        return zlib.crc32(repr(self._captions).encode(), self.source.content_checksum())


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


def digit_pairs() -> dict[str, Source]:
    """Two handwritten digits side by side and a caption, "seven and then three": 3,500 to train on and 600 to test.

    Of the hundred pairs 70 train and the other 30 are those of the test set, which so asks for what was never seen
    together. Labels are the pair, whose class is called "seven three". The digits of the test set are test digits.

    Example:
      >>> from jssl.data import sources
      >>> pairs = sources.digit_pairs()
      >>> len(pairs["train"]), pairs["train"].image_shape, pairs["test"].captions()[0]
      (3500, (16, 16, 1), ('zero zero',))
    """
    images, labels = grey_digits()
    names = [f"{first} {second}" for first, second in itertools.product(WORDS, WORDS)]
    unseen = np.random.default_rng(7).permuted(np.arange(100).reshape(10, 10), axis=1)[:, :UNSEEN]
    found: dict[str, Source] = {}
    for split, rows in split_rows(labels).items():
        rng = np.random.default_rng({"train": 0, "test": 1}[split])
        pairs = np.sort(unseen.ravel()) if split == "test" else np.setdiff1d(np.arange(100), unseen)
        pairs = np.repeat(pairs, PER_PAIR[split])
        of_class = [rows[labels[rows] == digit] for digit in range(10)]
        canvas = np.zeros((len(pairs), 16, 16), np.uint8)
        for side in (0, 1):
            digits = np.stack(np.divmod(pairs, 10))[side]
            chosen = np.array([rng.choice(of_class[digit]) for digit in digits])
            for row, (image, top) in enumerate(zip(images[chosen], rng.integers(0, 9, len(pairs)))):
                canvas[row, top : top + 8, 8 * side : 8 * side + 8] = image
        source = ArraySource("digit_pairs", canvas[..., None], pairs.astype(np.int32), names)
        templates = TEMPLATES if split == "train" else TEMPLATES[:1]
        found[split] = Captioned(source, [_captions(pair, templates) for pair in pairs.tolist()])
    return found


def _captions(pair: int, templates: Sequence[str]) -> tuple[str, ...]:
    first, second = (WORDS[digit] for digit in divmod(pair, 10))
    return tuple(template.format(first, second) for template in templates)
