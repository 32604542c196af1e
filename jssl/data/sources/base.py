"""Where images come from. Every source is random-access, has a length, and knows nothing of batches.

`load(name, split)` understands four kinds of name:

  digits               scikit-learn's 1,797 handwritten digits, 8x8 grey, embedded: no download
  a folder             images in it, or one sub-folder a class, or train/ and test/ sub-folders of either kind
  an .npz or .npy file arrays `images` uint8[N, H, W, C] and, optionally, `labels` int[N]
  anything else        a TensorFlow Datasets name, read as array_record without TensorFlow

Folders and arrays may lie in an object store: gs://bucket/folder.
"""

from __future__ import annotations

import abc
import functools
import io
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any, TypeAlias

import numpy as np
from absl import logging
from etils import epath
from PIL import Image, ImageOps

from jssl import storage
from jssl.errors import UserError, unknown

Path: TypeAlias = pathlib.Path | epath.Path

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
)
ARRAY_SUFFIXES = (".npz", ".npy")
UNDECODED = frozenset({".heic", ".heif", ".avif", ".jxl", ".dng", ".nef", ".cr2", ".arw"})
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "val", "validation")
UNREAD = -2  # a label whose record has not been read
CHUNK = 1024  # records read at once from array_record files


class BadImage(Exception):
    """An image that cannot be decoded; the text says which and why."""


class Source(abc.ABC):
    """Images by position.

    Attributes:
      name: what messages call it.
      image_shape: (H, W, C) if all images share it, else None.
      channels: 1 or 3.
      class_names: names of the labels, or None if the images are unlabelled.
      labels_are_cheap: False where all records must be read to know the labels.
    """

    name: str
    image_shape: tuple[int, int, int] | None
    channels: int
    class_names: tuple[str, ...] | None
    labels_are_cheap: bool = True

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def handles(self, indices: Sequence[int]) -> list[Any]:
        """What `open_image` takes, for many positions at once: a path, encoded bytes or an array."""

    @abc.abstractmethod
    def labels(self) -> np.ndarray | None:
        """All labels, int32[N], or None."""

    def filename(self, index: int) -> str:
        """A name for the example, for messages and exports."""
        return f"{self.name}[{index}]"

    def open(self, index: int) -> Image.Image:
        """One image, perhaps not decoded yet; raises BadImage."""
        return self.open_handle(self.handles([index])[0], index)

    def open_handle(self, handle: Any, index: int) -> Image.Image:
        """As `open`, for a handle that was read before."""
        try:
            return open_image(handle)
        except Exception as error:  # a decoder may raise anything on a broken file
            raise BadImage(f"{self.filename(index)}: {error}") from error

    def decode(self, image: Image.Image, index: int) -> np.ndarray:
        """All pixels, uint8[H, W, C]; raises BadImage."""
        try:
            return to_array(image, self.channels)
        except Exception as error:
            raise BadImage(f"{self.filename(index)}: {error}") from error


def open_image(handle: Path | bytes | np.ndarray) -> Image.Image:
    """Opens lazily: for files only the header is read."""
    if isinstance(handle, np.ndarray):
        return Image.fromarray(handle[..., 0] if handle.shape[-1] == 1 else handle)
    if not isinstance(handle, bytes) and storage.is_remote(handle):
        handle = handle.read_bytes()
    return Image.open(io.BytesIO(handle) if isinstance(handle, bytes) else handle)


def upright(image: Image.Image) -> Image.Image:
    """Turns a photograph as its camera noted; where nothing is noted it stays undecoded."""
    if not (image.info.get("exif") or image.format == "TIFF"):
        return image
    return ImageOps.exif_transpose(image)


def eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey to 8 bits, where Pillow would cut it off at white."""
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    return Image.fromarray((pixels.astype(np.uint16) >> 8).astype(np.uint8))


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """Decodes to uint8[H, W, channels], upright as the camera meant it."""
    array = np.asarray(eight_bit(upright(image)).convert("RGB" if channels == 3 else "L"))
    return array if channels == 3 else array[..., None]


class ArraySource(Source):
    """Images of one size in memory. `bad` are positions whose image could not be decoded."""

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        bad: dict[int, str] | None = None,
    ):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise UserError(
                f"{name}: images must be uint8[N, H, W, 1 or 3], not {images.dtype}{list(images.shape)}"
            )
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
            raise UserError(
                f"{name}: labels must be int[{len(images)}], not {labels.dtype}{list(labels.shape)}"
            )
        if labels is not None and labels.min(initial=0) < 0:
            raise UserError(
                f"{name}: labels must not be negative: leave unlabelled images to a file of their own"
            )
        self.name = name
        self.images = images
        self.image_shape = images.shape[1:]
        self.channels = images.shape[-1]
        self.bad = bad or {}
        self._labels = None if labels is None else labels.astype(np.int32)
        if class_names is not None:
            self.class_names = tuple(class_names)
        elif labels is not None:
            self.class_names = tuple(str(i) for i in range(int(labels.max(initial=-1)) + 1))
        else:
            self.class_names = None

    def __len__(self) -> int:
        return len(self.images)

    def handles(self, indices: Sequence[int]) -> list[np.ndarray]:
        return [self.images[i] for i in indices]

    def open(self, index: int) -> Image.Image:
        if index in self.bad:
            raise BadImage(self.bad[index])
        return super().open(index)

    def labels(self) -> np.ndarray | None:
        return self._labels


class FolderSource(Source):
    """Image files below a folder; nothing is decoded until it is asked for."""

    image_shape = None
    channels = 3

    def __init__(self, root: Path):
        self.name = root.name
        self.root = root
        self.paths = sorted(find_images(root))
        if not self.paths:
            raise UserError(
                f"no images below {root}: expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}"
            )
        self._warn_of_others()
        parents = [path.relative_to(root).parts[0] for path in self.paths if path.parent != root]
        labelled = len(parents) == len(self.paths) and len(set(parents)) > 1
        self.class_names = tuple(sorted(set(parents))) if labelled else None
        if self.class_names is None:
            self._labels = None
        else:
            number = {name: i for i, name in enumerate(self.class_names)}
            self._labels = np.asarray([number[name] for name in parents], np.int32)

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


class Subset(Source):
    """Some positions of another source, in the order given."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source = source
        self.indices = np.asarray(indices, np.int64)
        self.name, self.image_shape = source.name, source.image_shape
        self.channels, self.class_names = source.channels, source.class_names
        self.labels_are_cheap = source.labels_are_cheap

    def __len__(self) -> int:
        return len(self.indices)

    def handles(self, indices: Sequence[int]) -> list[Any]:
        return self.source.handles([int(self.indices[i]) for i in indices])

    def open_handle(self, handle: Any, index: int) -> Image.Image:
        return self.source.open_handle(handle, int(self.indices[index]))

    def labels(self) -> np.ndarray | None:
        labels = self.source.labels()
        return None if labels is None else labels[self.indices]

    def filename(self, index: int) -> str:
        return self.source.filename(int(self.indices[index]))


def subset(source: Source, indices: np.ndarray) -> Source:
    """Part of a source; arrays stay arrays, so that they keep their fast path."""
    if not isinstance(source, ArraySource):
        return Subset(source, indices)
    labels = source.labels()
    where = {int(old): new for new, old in enumerate(indices)} if source.bad else {}
    return ArraySource(
        source.name,
        source.images[indices],
        None if labels is None else labels[indices],
        source.class_names,
        {where[i]: text for i, text in source.bad.items() if i in where},
    )


def in_memory(source: Source, threads: int = 4) -> ArraySource:
    """Decodes a source of one image size once; a training epoch then is an array gather."""
    if isinstance(source, ArraySource):
        return source
    assert source.image_shape is not None, "only sources of one image size fit an array"
    images = np.zeros((len(source), *source.image_shape), np.uint8)
    bad: dict[int, str] = {}

    def decode(item: tuple[int, Any]) -> None:
        index, handle = item
        try:
            images[index] = source.decode(source.open_handle(handle, index), index)
        except (BadImage, ValueError) as error:
            bad[index] = str(error)

    with futures.ThreadPoolExecutor(threads) as pool:
        for chunk in chunks(len(source)):
            list(pool.map(decode, zip(chunk, source.handles(chunk))))
    return ArraySource(source.name, images, source.labels(), source.class_names, bad)


def load(name: str, split: str, data_dir: str | None = None) -> Source:
    """Opens a split, with TFDS slicing: `train`, `test[:50%]`, `train[100:200]`.

    Raises:
      UserError: if there is no such data set or split, or it is neither prepared nor downloadable.
    """
    if not name:
        raise UserError("config.data.name is empty: give a folder, an .npz file, a TFDS name or 'digits'")
    path = storage.located(name)
    if name == "digits":
        return sliced(digits(), split)
    if path.suffix in ARRAY_SUFFIXES:
        return sliced(arrays(path), split)
    if path.is_dir():
        return sliced(folder(path), split)
    if path.is_absolute() or name.startswith((".", "~")):
        raise UserError(f"there is no folder {path}")
    from jssl.data.sources.tfds import TfdsSource

    return TfdsSource(name, split, data_dir or os.environ.get("TFDS_DATA_DIR"))


def has_split(name: str, split: str) -> bool:
    """Whether folders and arrays have the split; digits and TFDS sets are taken at their word."""
    path = storage.located(name)
    if not split or (path.suffix not in ARRAY_SUFFIXES and not path.is_dir()):
        return bool(split)
    splits = arrays(path) if path.suffix in ARRAY_SUFFIXES else folder(path)
    return split.partition("[")[0] in splits


def sliced(splits: dict[str, Source], spec: str) -> Source:
    """Applies a TFDS slicing string to named splits."""
    base = spec.partition("[")[0]
    if base not in splits:
        raise unknown("split", base, splits)
    source = splits[base]
    if base == spec:
        return source
    import tensorflow_datasets as tfds

    try:
        instruction = tfds.core.ReadInstruction.from_spec(spec)
        info = tfds.core.SplitInfo(name=base, shard_lengths=[len(source)], num_bytes=0)
        (part,) = instruction.to_absolute({base: info})
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"cannot read the split {spec!r}: write it as {base}[:10%] or {base}[5:20]"
        ) from error
    return subset(source, np.arange(part.from_ or 0, len(source) if part.to is None else part.to))


def digits() -> dict[str, Source]:
    """Scikit-learn's digits: train 1,437 and test 360, drawn once, the same share of every class."""
    from sklearn import datasets, model_selection

    data = datasets.load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int32)
    train, test = model_selection.train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return {
        split: ArraySource("digits", images[np.sort(rows)], labels[np.sort(rows)])
        for split, rows in {"train": train, "test": test}.items()
    }


def arrays(path: Path) -> dict[str, Source]:
    """`images`/`labels` of an .npz as `train`; `test_images`/`test_labels`, if there, as `test`."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    about = path.stat()
    return _arrays(path, about.st_mtime_ns if isinstance(about, os.stat_result) else about.mtime)


@functools.lru_cache(maxsize=2)
def _arrays(path: Path, modified: int) -> dict[str, Source]:
    """Reads once what train and test are asked of, and anew when the file was written anew."""
    del modified
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            stored = {"images": content} if path.suffix == ".npy" else dict(content.items())
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if "images" not in stored:
        raise UserError(f"{path} has no array 'images', only {', '.join(sorted(stored))}")

    def split(images: str, labels: str) -> Source:
        pixels = stored[images][..., None] if stored[images].ndim == 3 else stored[images]
        return ArraySource(path.stem, pixels, stored.get(labels))

    result = {"train": split("images", "labels")}
    if "test_images" in stored:
        result["test"] = split("test_images", "test_labels")
    return result


def folder(path: Path) -> dict[str, Source]:
    """`train` (all of the folder, or its train/) and `test` (its test/, val/ or validation/)."""
    train = next((path / name for name in TRAIN_FOLDERS if (path / name).is_dir()), None)
    if train is None:
        return {"train": FolderSource(path)}
    test = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), None)
    splits: dict[str, Source] = {"train": FolderSource(train)}
    return splits if test is None else {**splits, "test": FolderSource(test)}


def find_images(root: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
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
        if path.suffix.lower() in IMAGE_SUFFIXES | UNDECODED:
            if path.suffix.lower() in suffixes:
                yield path
        elif path.is_dir():
            yield from _find_objects(path, suffixes)


def chunks(length: int) -> Iterator[range]:
    """Consecutive ranges of at most CHUNK positions."""
    for start in range(0, length, CHUNK):
        yield range(start, min(start + CHUNK, length))
