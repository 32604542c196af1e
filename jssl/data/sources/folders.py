"""Folders of image files, local or in an object store."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from jssl import storage
from jssl.data.sources.base import Source, fields_of
from jssl.data.sources.images import Path, UnsupportedImage, describe, open_image
from jssl.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
UNDECODED = frozenset({".heic", ".heif", ".avif", ".jxl", ".dng", ".nef", ".cr2", ".arw"})
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "val", "validation")
DESCRIBED = 16  # files whose headers tell what all are


class FolderSource(Source):
    """Image files below a folder; nothing is decoded until it is asked for.

    Sixteen files, evenly spaced by name, tell what all images are: 3 channels of uint8 where they have 8 bits, grey
    or not; one channel of uint16 where all are grey and one has 16 bits; the channels that they share where they
    have another number of them, in TIFFs. Where only some have 16 bits the others are widened to it.

    Raises:
      UserError: if there is no image, the sixteen differ in channels otherwise, or are of a kind that is not read.
    """

    def __init__(self, root: Path):
        self.name = root.name
        self.root = root
        self.paths = sorted(find_images(root))
        if not self.paths:
            raise UserError(f"no images below {root}: expected files ending in {' '.join(sorted(SUFFIXES))}")
        self._warn_of_others()
        parents = [path.relative_to(root).parts[0] for path in self.paths if path.parent != root]
        labelled = len(parents) == len(self.paths) and len(set(parents)) > 1
        classes = sorted(set(parents)) if labelled else None
        channels, dtype = _channels_and_dtype(root, self.paths)
        self.fields = fields_of((None, None, channels), dtype, classes)
        self._labels = None if classes is None else np.searchsorted(classes, parents).astype(np.int32)

    def _warn_of_others(self) -> None:
        others = list(find_images(self.root, UNDECODED))
        if others:
            logging.warning(
                "%d files left out, convert them to JPEG first: %s, ...", len(others), others[0].name
            )

    def __len__(self) -> int:
        return len(self.paths)

    def handles(self, indices: Sequence[int]) -> list[Path]:
        return [self.paths[i] for i in indices]

    def labels(self) -> np.ndarray | None:
        return self._labels

    def filename(self, index: int) -> str:
        return str(self.paths[index].relative_to(self.root))


def folder(path: Path) -> dict[str, Source]:
    """`train` (all of the folder, or its train/) and `test` (its test/, val/ or validation/)."""
    train = next((path / name for name in TRAIN_FOLDERS if (path / name).is_dir()), None)
    if train is None:
        return {"train": FolderSource(path)}
    test = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    splits: dict[str, Source] = {"train": FolderSource(train)}
    return splits if test is None else {**splits, "test": FolderSource(test)}


def _channels_and_dtype(root: Path, paths: Sequence[Path]) -> tuple[int, str]:
    """Channels and dtype of the images of a folder, from the headers of some."""
    spread = np.linspace(0, len(paths) - 1, min(DESCRIBED, len(paths))).astype(int)
    found = []
    for path in (paths[i] for i in spread):
        try:
            found.append(describe(open_image(path)))
        except UnsupportedImage as error:
            raise UserError(f"{path} is {error}") from error
        except Exception:  # broken files are counted when they are trained on
            continue
    channels = {count for count, _ in found}
    dtype = "uint16" if any(dtype == np.uint16 for _, dtype in found) else "uint8"
    if len(channels | {1, 3}) == 2:
        return (1, dtype) if channels == {1} and dtype == "uint16" else (3, dtype)
    if len(channels) > 1:
        counts = " and of ".join(map(str, sorted(channels)))
        raise UserError(f"{root} has images of {counts} channels: give each kind a folder of its own")
    return channels.pop(), dtype


def find_images(root: Path, suffixes: frozenset[str] = SUFFIXES) -> Iterator[Path]:
    """Image files below a folder, hidden files and folders left out."""
    if storage.is_remote(root):
        yield from _find_objects(root, suffixes)
        return
    for parent, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = pathlib.Path(parent, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                yield path


def _find_objects(root: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    """As `find_images`, in an object store; asking what an entry is costs a request, so the name tells if it can."""
    for path in root.iterdir():
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in SUFFIXES | UNDECODED:
            if path.suffix.lower() in suffixes:
                yield path
        elif path.is_dir():
            yield from _find_objects(path, suffixes)
