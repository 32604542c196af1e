"""Folders of image files, local or in an object store: which files are images, and what the sub-folders mean."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from absl import logging
from PIL import Image

from jssl import storage
from jssl.data.sources.annotations import Boxes, Masks, read_mask
from jssl.data.sources.base import Field, Source, fields_of
from jssl.data.sources.coco import folder_boxes
from jssl.data.sources.images import (
    DECODER_ERRORS,
    Path,
    UnsupportedImage,
    describe,
    formats,
    open_image,
    why,
)
from jssl.errors import UserError, shown

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "val", "valid", "validation")
OTHER_FOLDERS = ("unlabeled", "unlabelled", "extra")
MASK_FOLDERS = ("mask", "masks", "labels", "annotations", "segmentation", "groundtruth", "ground_truth")
OF_MACOS = "__MACOSX"  # a folder that its archives have beside the real one, with copies of the names
DESCRIBED = 16  # files whose headers tell what all are
STRAY = 0.1  # part of the images that may lie beside class folders, and is left out then


@functools.cache
def suffixes() -> frozenset[str]:
    """Endings of the files that are taken for images, in lower case."""
    known, readable = Image.registered_extensions().items(), formats()
    return frozenset(suffix for suffix, name in known if name in readable)


@dataclasses.dataclass(frozen=True)
class FileKind:
    """The files that a folder is looked through for.

    Attributes:
      name: of them, in messages.
      endings: of their names, in lower case.
      recognised: whether a file without an ending is one.
    """

    name: str
    endings: Callable[[], frozenset[str]]
    recognised: Callable[[Path], bool] = lambda path: False


class FolderSource(Source):
    """Image files below a folder; nothing is decoded until it is asked for.

    Sub-folders are classes if there are two or more and nearly all images lie in them. Sixteen files, evenly spaced by
    name, tell what all images are: 3 channels of uint8 where they have 8 bits, grey or not; one channel of uint16
    where all are grey and one has 16 bits; the channels that they share where they have another number of them, in
    TIFFs. Where only some have 16 bits the others are widened to it. TIFFs of other numbers are read as float32.

    Attributes:
      what: files are called in messages.

    Raises:
      UserError: if there is no image, the sixteen differ in channels otherwise, or are of a kind that is not read.
    """

    kind: ClassVar[FileKind]

    def __init__(self, root: Path):
        self.name = shown(root.name)
        self.root = root
        kind, found = self.kind, Found(root, self.kind)
        self.paths = sorted(found.files)
        if not self.paths:
            raise UserError(
                f"no {kind.name} below {shown(root)}{found.others_in_words()}: expected files ending in "
                f"{' '.join(sorted(kind.endings()))}"
            )
        if found.others:
            logging.warning("%s: %d %s%s", self.name, len(self.paths), kind.name, found.others_in_words())
        classes = self._classes()
        self.fields = self.own_fields()
        if classes is not None:
            self.fields["label"] = Field("label", (), "int32", tuple(map(shown, classes)))
        self._masks = mask_files(self.paths, root) if kind is IMAGES else None
        if self._masks is not None:
            self.fields["mask"] = Field("mask", (None, None), "uint8")
        found_boxes = folder_boxes(self.paths, root) if kind is IMAGES else None
        self._boxes = None if found_boxes is None else found_boxes.boxes
        if found_boxes is not None:
            self.fields["boxes"] = Field("boxes", (None, 4), "float32", found_boxes.classes)
        names = {name: number for number, name in enumerate(classes or ())}
        self._labels = (
            np.array([names[self._parent(path)] for path in self.paths], np.int32) if classes else None
        )

    def own_fields(self) -> dict[str, Field]:
        """The fields of an example, but for its label."""
        some = [self.paths[i] for i in spread_evenly(len(self.paths))]
        channels, dtype = channels_and_dtype(shown(self.root), some, [shown(path) for path in some])
        return fields_of((None, None, channels), dtype)

    def _parent(self, path: Path) -> str:
        """The name of the sub-folder that a file lies in; '' for the folder itself."""
        parts = path.relative_to(self.root).parts
        return parts[0] if len(parts) > 1 else ""

    def _classes(self) -> list[str] | None:
        """The names of the classes; images beside their folders are left out. None if the images are unlabelled."""
        counts = collections.Counter(map(self._parent, self.paths))
        stray = counts.pop("", 0)
        masks = {name for name in counts if name.lower() in MASK_FOLDERS}
        if masks and len(counts) == len(masks) + 1:
            left_out = ", ".join(f"{shown(name)}/" for name in sorted(masks))
            logging.warning("%s: images of %s are left out", self.name, left_out)
            self.paths = [path for path in self.paths if self._parent(path) not in masks]
            return None
        if masks:
            logging.warning(
                "%s: %s is taken for a class", self.name, ", ".join(f"{name}/" for name in sorted(masks))
            )
        if len(counts) < 2 or stray > STRAY * len(self.paths):
            return None
        if stray:
            logging.warning(
                "%s: %d %s beside the class folders are left out", self.name, stray, self.kind.name
            )
            self.paths = [path for path in self.paths if self._parent(path)]
        alike = [name for name, count in collections.Counter(map(shown, counts)).items() if count > 1]
        if alike:
            raise UserError(
                f"{self.name}: two class folders are both shown as {alike[0]}: rename one of them"
            )
        return sorted(counts, key=lambda name: (int(name), name) if name.isdecimal() else (np.inf, name))

    def __len__(self) -> int:
        return len(self.paths)

    def handles(self, indices: Sequence[int]) -> list[Path]:
        return [self.paths[i] for i in indices]

    def stamp(self, index: int) -> str:
        path = self.paths[index]
        if storage.is_remote(path):  # each would be a request
            return self.filename(index)
        try:
            return f"{self.filename(index)} {path.stat().st_size}"
        except OSError:
            return self.filename(index)

    def stored(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError:
            return b""

    def labels(self) -> np.ndarray | None:
        return self._labels

    def masks(self) -> Masks | None:
        return None if self._masks is None else Masks(len(self), self._mask)

    def _mask(self, index: int) -> np.ndarray | None:
        path = None if self._masks is None else self._masks[index]
        return None if path is None else read_mask(path, shown(path))

    def boxes(self) -> Sequence[Boxes] | None:
        return self._boxes

    def filename(self, index: int) -> str:
        return shown(self.paths[index].relative_to(self.root))


def mask_files(paths: Sequence[Path], root: Path) -> list[Path | None] | None:
    """The masks of images: files of the same path but for one folder, which is called as masks are.

    So images/train/1.jpg has masks/train/1.png, and test/crack/1.png has ground_truth/crack/1_mask.png. The folder is
    below root, root itself, or the one that it lies in.

    Args:
      paths: of the images.
      root: that they were looked for in.

    Returns:
      A file for every image, None where there is none; or None if no image has any. In an object store none is looked
      for.
    """
    if storage.is_remote(root):
        return None
    listed, top = functools.cache(_files_by_stem), root.absolute().parent.parent

    def mask(path: Path) -> Path | None:
        parts = path.absolute().relative_to(top).parts
        for place, name in itertools.product(range(len(parts) - 1), MASK_FOLDERS):
            files = listed(top.joinpath(*parts[:place], name, *parts[place + 1 : -1]))
            for stem in (path.stem, f"{path.stem}_mask"):
                if stem in files:
                    return files[stem]
        return None

    found = [mask(path) for path in paths]
    are_masks = any(found) and set(paths).isdisjoint(found)  # classes of such a name are no masks
    return found if are_masks else None


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by name without the ending; none where there is no such folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return {path.stem: path for path in files if path.suffix.lower() in suffixes()}


def splits(
    root: Path, open_folder: Callable[[Path], FolderSource] | None = None, kind: FileKind | None = None
) -> Mapping[str, Callable[[], FolderSource]]:
    """What opens each split of a folder: `train` is all of it, or its train/ where there are such folders.

    Those have their own names then, and the first of test/, val/, valid/, validation/ is `test` besides. A lone folder,
    or one beside masks alone, is looked into. Folders without an image do not count.

    Args:
      root: the folder.
      open_folder: what opens one; images if it is not given.
      kind: of its files.

    Raises:
      UserError: for two folders of one name but for capitals, and for a test set without a training set.
    """
    open_folder, kind = open_folder or FolderSource, kind or IMAGES
    folders: dict[str, Path] = {}
    for path in _folders(root, kind):
        if path.name.lower() in folders:
            raise UserError(
                f"{shown(root)} has {shown(folders[path.name.lower()].name)}/ and {shown(path.name)}/: rename one"
            )
        folders[path.name.lower()] = path
    train = next((folders[name] for name in TRAIN_FOLDERS if name in folders), None)
    test = next((folders[name] for name in TEST_FOLDERS if name in folders), None)
    others = [name for name in folders if name not in (*TRAIN_FOLDERS, *TEST_FOLDERS, *OTHER_FOLDERS)]
    if train is not None and (test is not None or not others):
        left_out = [name for name in others if name not in MASK_FOLDERS]
        if left_out:
            logging.warning(
                "%s has train/ and test/; left out: %s", shown(root.name), ", ".join(map(shown, left_out))
            )
        more = [name for name, path in folders.items() if path not in (train, test) and name not in others]
        if more:
            logging.info(
                "%s: besides train and test there are the splits %s", shown(root.name), ", ".join(more)
            )
        named = {**{name: folders[name] for name in more}, train.name.lower(): train, "train": train}
        named |= {} if test is None else {test.name.lower(): test, "test": test}
        return {name: functools.partial(open_folder, path) for name, path in named.items()}
    if folders and not others and train is None:
        raise UserError(
            f"{shown(root)} has {', '.join(sorted(folders))} and no train: name one of them train"
        )
    pictures = [name for name in folders if name not in MASK_FOLDERS]
    if len(pictures) == 1 and not _has_own(root, kind):
        return splits(folders[pictures[0]], open_folder, kind)
    return {"train": functools.partial(open_folder, root)}


def _has_own(root: Path, kind: FileKind) -> bool:
    """Whether files of a kind lie in a folder itself."""
    return any(path.suffix.lower() in kind.endings() for path in root.iterdir())


def _has_some(root: Path, kind: FileKind) -> bool:
    """Whether a folder, or one below it, has a file that ends like the kind; in an object store it is not asked."""
    if storage.is_remote(root):
        return True
    return any(
        os.path.splitext(name)[1].lower() in kind.endings() or not os.path.splitext(name)[1]
        for _, _, names in os.walk(root, followlinks=False)
        for name in names
    ) or any(path.is_symlink() for path in root.iterdir())


def _folders(root: Path, kind: FileKind) -> list[Path]:
    """The folders in a folder, hidden ones left out."""
    named = (path for path in root.iterdir() if not path.name.startswith(".") and path.name != OF_MACOS)
    return sorted(path for path in named if _may_be_folder(path, kind) and _has_some(path, kind))


def _may_be_folder(path: Path, kind: FileKind) -> bool:
    """In an object store asking what an entry is costs a request, so the name tells if it can."""
    return path.suffix.lower() not in kind.endings() and path.is_dir()


class Found:
    """The files of a kind below a folder, and a count of the others by ending. Each real file and folder counts once.

    Hidden files and folders are left out, links that lead into the folder itself are not followed.
    """

    def __init__(self, root: Path, kind: FileKind):
        self.files: list[Path] = []
        self._kind = kind
        self.others: collections.Counter[str] = collections.Counter()
        if storage.is_remote(root):
            self._look_remote(root)
            return
        self._root = os.path.realpath(root)
        self._seen = {self._root}
        self._inodes: dict[int, str] = {}  # of the files found, which may be on several file systems
        for entry in self._entries(str(root)):
            self._look(entry)

    def others_in_words(self) -> str:
        """', 23 other files left out: 20 .txt, 3 .csv'; '' if there are none."""
        if not self.others:
            return ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.others.most_common(4))
        more = ", ..." if len(self.others) > 4 else ""
        return f", {sum(self.others.values())} other files left out: {kinds}{more}"

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                found = (e for e in entries if not e.name.startswith(".") and e.name != OF_MACOS)
                yield from sorted(found, key=lambda e: e.name)
        except PermissionError:
            self.others["folders without permission to read"] += 1

    def _look(self, entry: os.DirEntry[str]) -> None:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in self._seen or os.path.commonpath([target, self._root]) in (target, self._root):
                return  # it was found, or is where it really lies
            self._seen.add(target)
        if entry.is_dir():
            for inner in self._entries(entry.path):
                self._look(inner)
        elif not entry.is_file():
            self.others["no regular files"] += 1
        elif self._is_new(entry):
            self._note(pathlib.Path(entry.path))

    def _is_new(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file is none that was found under another name: a hard link to it."""
        first = self._inodes.setdefault(entry.inode(), entry.path)
        if first == entry.path or not os.path.samefile(first, entry.path):
            return True
        self.others["hard links to files that are taken"] += 1
        return False

    def _note(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix in self._kind.endings() or (not suffix and self._kind.recognised(path)):
            self.files.append(path)
        else:
            self.others[shown(suffix) or "without an ending"] += 1

    def _look_remote(self, root: Path) -> None:
        for path in root.iterdir():
            if path.name.startswith("."):
                continue
            if _may_be_folder(path, self._kind):
                self._look_remote(path)
            else:
                self._note(path)


def _is_image(path: Path) -> bool:
    """Whether Pillow knows what the header of a local file without an ending begins."""
    if storage.is_remote(path):
        return False
    try:
        with Image.open(path, formats=formats()):
            return True
    except DECODER_ERRORS:
        return False


IMAGES = FolderSource.kind = FileKind("images", suffixes, _is_image)


def spread_evenly(length: int) -> list[int]:
    """The positions of the files that tell what all are."""
    return np.linspace(0, length - 1, min(DESCRIBED, length)).astype(int).tolist()


def channels_and_dtype(where: str, handles: Sequence[Path | bytes], names: Sequence[str]) -> tuple[int, str]:
    """Channels and dtype of the images of a source, from the headers of some.

    Args:
      where: they lie, in messages.
      handles: files or bytes of some.
      names: of these.

    Raises:
      UserError: if none is readable, or they differ.
    """
    found, reason = [], ""
    for handle, name in zip(handles, names):
        try:
            found.append(describe(open_image(handle)))
        except UnsupportedImage as error:
            raise UserError(f"{name} is {error}") from error
        except DECODER_ERRORS as error:  # broken files are counted when they are trained on
            reason = f"{name}: {why(error)}"
    if not found:
        raise UserError(
            f"none of {len(names)} images below {where} that were looked at is readable: {reason}"
        )
    channels = {count for count, _ in found}
    dtypes = {dtype.name for _, dtype in found}
    if "float32" in dtypes and len(dtypes) > 1:
        raise UserError(f"{where} has images of floats and of integers: give each kind a folder of its own")
    dtype = max(dtypes, key=["uint8", "uint16", "float32"].index)
    if len(channels | {1, 3}) == 2:
        return (1, dtype) if channels == {1} and dtype != "uint8" else (3, dtype)
    if len(channels) > 1:
        counts = " and of ".join(map(str, sorted(channels)))
        raise UserError(f"{where} has images of {counts} channels: give each kind a folder of its own")
    return channels.pop(), dtype
