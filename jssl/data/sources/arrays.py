"""Images of one size in an array: in memory, or in an .npy on disk of which only the rows asked for are read."""

from __future__ import annotations

import functools
import lzma
import math
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
from absl import logging

from jssl.data.sources.base import BadImage, PixelMap, Source, chunks, fields_of, places_of
from jssl.data.sources.images import Opened, Path
from jssl.errors import UserError

SUFFIXES = (".npz", ".npy")
# What reading a broken archive may raise.
BROKEN = (
    *(ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
KNOWN = ("images", "labels", "test_images", "test_labels")  # arrays of an .npz
CHECKED_ROWS = 256  # of an array on disk, which its checksum is made of


class ArraySource(Source):
    """Images of one size in an array. `bad` are positions whose image could not be decoded.

    Labels are positions in `class_names`. Without names they are any numbers or words: the classes are those that
    occur, in their order, and have the labels as names. Parts of a source share its array.

    Raises:
      UserError: unless images are numbers [N, H, W, C] and labels int or str[N], none of them negative.
    """

    is_in_memory = True

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        bad: dict[int, str] | None = None,
    ):
        check_images(name, images)
        if labels is not None and labels.dtype.kind == "S":
            labels = np.char.decode(labels, "utf-8", "backslashreplace")
        elif labels is not None and labels.dtype.kind == "b":
            labels = labels.astype(np.int32)
        elif labels is not None and labels.dtype == object and all(isinstance(x, str) for x in labels.flat):
            labels = labels.astype(str)
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU"):
            raise UserError(
                f"{name}: labels must be int[{len(images)}] or words, not {labels.dtype}{list(labels.shape)}"
            )
        if labels is not None and labels.dtype.kind == "i" and labels.min(initial=0) < 0:
            raise UserError(
                f"{name}: labels must not be negative: give images without labels as data of their own, or show few "
                "by data.labels"
            )
        if class_names is None and labels is not None:
            values, labels = np.unique(labels, return_inverse=True)
            class_names = tuple(map(str, values))
        self.name = name
        # Rows are given in this machine's byte order, which is that of a dtype's name.
        self.fields = fields_of(images.shape[1:], images.dtype.name, class_names)
        self._array, self._bad = images, bad or {}
        self._labels = None if labels is None else labels.astype(np.int32)
        self._rows = np.arange(len(images))  # of the array, those of this source

    def __reduce__(self) -> tuple[Any, ...]:
        return ArraySource, (self.name, self.images, self.labels(), self.class_names, self.bad)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def images(self) -> np.ndarray:
        """All images, [N, H, W, C]."""
        return self._array if len(self) == len(self._array) and self._in_order else self._array[self._rows]

    @property
    def _in_order(self) -> bool:
        return bool((self._rows == np.arange(len(self))).all())

    @property
    def bad(self) -> dict[int, str]:
        """Positions of the images that could not be decoded, and why."""
        if not self._bad:
            return {}
        return {place: self._bad[row] for place, row in enumerate(self._rows.tolist()) if row in self._bad}

    def handles(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [np.asarray(self._array[self._rows[i]], self.dtype) for i in indices]

    def open_handle(self, handle: Any, index: int) -> Opened:
        if self._bad and (row := int(self._rows[index])) in self._bad:
            raise BadImage(self._bad[row])
        return super().open_handle(handle, index)

    def gather(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray] | None:
        rows = self._rows[np.asarray(indices)]
        if self._bad and not self._bad.keys().isdisjoint(rows.tolist()):
            return None
        found = {"image": np.asarray(self._array[rows], self.dtype)}
        return found if self._labels is None else {**found, "label": self._labels[rows]}

    def take(self, indices: Sequence[int] | np.ndarray) -> Source:
        return self._with(_rows=self._rows[np.asarray(indices, np.int64)])

    def _with(self, **changed: Any) -> ArraySource:
        """A source of the same array; copy.copy would go by `__reduce__`."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **changed)
        return other

    def map(self, function: PixelMap, dtype: str = "") -> Source:
        if not self.is_in_memory:
            return super().map(function, dtype)
        changed = np.empty((len(self), *self._array.shape[1:]), dtype or self.dtype)
        for i, row in enumerate(self._rows):
            changed[i] = function(self._array[row], i)
        return ArraySource(self.name, changed, self.labels(), self.class_names, self.bad)

    def renamed(self, class_names: Sequence[str]) -> Source:
        if self._labels is None or self.class_names == tuple(class_names):
            return self
        return self._with(
            fields=fields_of(self._array.shape[1:], self._array.dtype.name, class_names),
            _labels=places_of(self.class_names or (), class_names)[self._labels],
        )

    def concat(self, other: Source) -> Source:
        both = super().concat(other)
        if not (self.is_in_memory and other.is_in_memory):
            return both
        parts = [source.gather(np.arange(len(source))) for source in (self, other)]
        whole = [part["image"] for part in parts if part is not None]
        return both if len(whole) < 2 else ArraySource(both.name, np.concatenate(whole))

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        if (channels, np.dtype(dtype)) == (self.channels, self.dtype):
            return self
        whole = self.is_in_memory and self.dtype.kind == "u" and np.dtype(dtype) == self.dtype
        if not whole or {channels, self.channels} != {1, 3}:
            raise self._unlike(channels, np.dtype(dtype))
        images = grey(self.images) if channels == 1 else np.repeat(self.images, 3, axis=-1)
        return ArraySource(self.name, images, self.labels(), self.class_names, self.bad)

    def labels(self) -> np.ndarray | None:
        return None if self._labels is None else self._labels[self._rows]

    def exact(self) -> Source:
        return self  # an array has one dtype

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._labels is None else self._labels[self._rows[indices]]

    def content_checksum(self) -> int:
        labels = self.labels()
        checksum = 0 if labels is None else zlib.crc32(labels.data)
        for chunk in chunks(len(self)):
            checksum = zlib.crc32(np.ascontiguousarray(self._array[self._rows[chunk]]).data, checksum)
        return checksum


class NpySource(ArraySource):
    """Rows of an .npy file, mapped into memory: only those asked for are read.

    Args:
      path: of an array of numbers, [N, H, W] or [N, H, W, C].
      rows: int64[M], positions in the file; all of them by default.
    """

    is_in_memory = False

    def __init__(self, path: pathlib.Path, rows: np.ndarray | None = None):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(images, np.ndarray):
            raise UserError(f"{path} is an .npz: rename it")
        super().__init__(path.stem, with_channels(path.stem, images))
        self.path = path
        self._rows = self._rows if rows is None else rows

    def __reduce__(self) -> tuple[Any, ...]:
        return NpySource, (self.path, self._rows)  # for worker processes: not the pixels

    def content_checksum(self) -> int:
        """A checksum of some rows, evenly spaced: reading all may take hours."""
        spread = np.linspace(0, len(self) - 1, min(len(self), CHECKED_ROWS)).astype(np.int64)
        return zlib.crc32(np.ascontiguousarray(self._array[self._rows[spread]]).data, len(self))


def with_channels(name: str, images: np.ndarray) -> np.ndarray:
    """Images [N, H, W] as grey ones [N, H, W, 1].

    Raises:
      UserError: for [H, W, 3], which is rather one image than many.
    """
    if images.ndim == 4 and images.shape[1] in (1, 3) and min(images.shape[2:]) >= 8:
        raise UserError(
            f"{name}: {images.dtype}{list(images.shape)} has its channels first: give images.transpose(0, 2, 3, 1)"
        )
    if images.ndim == 3 and images.shape[-1] in (1, 3, 4) and min(images.shape[:2]) >= 8:
        raise UserError(
            f"{name}: {images.dtype}{list(images.shape)} looks like one image: give many, [N, H, W, C] or [N, H, W, 1]"
        )
    return images[..., None] if images.ndim == 3 else images


def grey(images: np.ndarray) -> np.ndarray:
    """Colour images as grey ones, [..., 3] to [..., 1], by the weights of ITU-R BT.601, as Pillow has them."""
    weights = np.array([19595, 38470, 7471], np.uint64)
    return ((images.astype(np.uint64) @ weights + (1 << 15)) >> 16).astype(images.dtype)[..., None]


def check_images(name: str, images: np.ndarray) -> None:
    """Raises UserError unless images are numbers [N, H, W, C]."""
    if images.dtype.kind not in "uif" or images.ndim != 4 or 0 in images.shape[1:]:
        raise UserError(
            f"{name}: images must be uint8, uint16 or floats[N, H, W, C], not {images.dtype}{list(images.shape)}"
        )


def check_sizes(name: str, file: Any) -> None:
    """Raises UserError if the arrays of an .npz, as their headers declare them, do not fit into memory."""
    total = 0
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as inside:
                try:
                    version = np.lib.format.read_magic(inside)
                    header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                    shape, _, dtype = header(inside)
                except (ValueError, AttributeError):  # no array; its reader says so
                    continue
            size = math.prod(shape) * dtype.itemsize
            if size > entry.file_size:
                raise UserError(
                    f"{name}: {entry.filename} says that it is {size:,} bytes and is {entry.file_size:,}"
                )
            total += size
    file.seek(0)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if total > there:
        raise UserError(
            f"{name} unpacks to {total / 2**30:,.1f} GiB, and {there / 2**30:,.1f} GiB of memory are free: give an "
            ".npy, which is mapped and not loaded"
        )


def in_memory(source: Source, threads: int = 4) -> Source:
    """Decodes a source of one image size once; a training epoch then is an array gather."""
    if source.is_in_memory:
        return source
    assert source.image_shape is not None, "only sources of one image size fit an array"
    images = np.zeros((len(source), *source.image_shape), source.dtype)
    bad: dict[int, str] = {}

    def decode(item: tuple[int, Any]) -> None:
        index, handle = item
        try:
            images[index] = source.decode(source.open_handle(handle, index), index)
        except (BadImage, ValueError) as error:
            bad[index] = str(error)

    with futures.ThreadPoolExecutor(threads) as pool:
        for chunk in chunks(len(source)):
            rows = source.gather(chunk)
            if rows is not None:
                images[chunk.start : chunk.stop] = rows["image"]
            else:
                list(pool.map(decode, zip(chunk, source.handles(chunk))))
    found: Source = ArraySource(source.name, images, source.labels(), source.class_names, bad)
    captions, sounds = source.captions(), source.sounds()
    found = found if captions is None else found.with_captions(captions)
    found = found if sounds is None else found.with_sounds(sounds, source.sound_rate)
    masks, boxes = source.masks(), source.boxes()
    found = found if masks is None else found.with_masks(masks, source.fields["mask"].classes)
    return found if boxes is None else found.with_boxes(boxes, source.fields["boxes"].classes or ())


def arrays(path: Path) -> dict[str, Source]:
    """`images`/`labels` of an .npz as `train`; `test_images`/`test_labels`, if there, as `test`; an .npy as `train`.

    Raises:
      UserError: if there is no such file, it cannot be read, or its arrays are not what ArraySource takes.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    about = path.stat()
    return _arrays(path, about.st_mtime_ns if isinstance(about, os.stat_result) else about.mtime)


@functools.lru_cache(maxsize=2)
def _arrays(path: Path, modified: int) -> dict[str, Source]:
    """Reads once what train and test are asked of, and anew when the file was written anew."""
    del modified
    try:
        if path.suffix.lower() == ".npy" and isinstance(path, pathlib.Path):
            return {"train": NpySource(path)}
        with path.open("rb") as file:
            if path.suffix.lower() == ".npz":
                check_sizes(path.name, file)
            content = np.load(file, allow_pickle=False)
            stored = {"images": content} if path.suffix.lower() == ".npy" else dict(content.items())
    except UserError:
        raise
    except (*BROKEN, MemoryError) as error:
        why = str(error) or type(error).__name__
        if "pickle" in why or "Python objects" in why:  # NumPy's words advise to load it unsafely
            why = "it holds no numbers: save an array of uint8, uint16 or floats"
        raise UserError(f"cannot read {path}: {why}") from error
    for name, array in stored.items():
        if not isinstance(array, np.ndarray):
            raise UserError(f"{path}: {name!r} is no array")
    unused = sorted(stored.keys() - KNOWN)
    if unused and "images" in stored:
        logging.warning("%s: not used: %s; known are %s", path.name, ", ".join(unused), ", ".join(KNOWN))
    if "images" not in stored:
        raise UserError(f"{path} has no array 'images', only {', '.join(sorted(stored))}")

    def split(images: str, labels: str) -> Source:
        return ArraySource(path.stem, with_channels(path.stem, stored[images]), stored.get(labels))

    result = {"train": split("images", "labels")}
    if "test_images" in stored:
        result["test"] = split("test_images", "test_labels")
    return result
