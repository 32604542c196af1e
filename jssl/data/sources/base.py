"""What a source of examples is, and the sources made of other sources: a part, a change, two in a row."""

from __future__ import annotations

import abc
import copy
import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jssl.data.sources import images
from jssl.data.sources.annotations import Boxes, Masks
from jssl.data.sources.images import Opened
from jssl.errors import UserError

KINDS = ("image", "label", "text", "audio", "video", "boxes", "mask")
DTYPES = ("uint8", "uint16")  # of images that encoders see
UNREAD = -2  # a label whose record has not been read
READ = 32  # files that a checksum reads
CHUNK = 1024  # records read at once from array_record files

PixelMap = Callable[[np.ndarray, int], np.ndarray]
Captions = Sequence[tuple[str, ...]]  # of every image, one or several


class BadImage(Exception):
    """An image that cannot be decoded; the text says which and why."""


@dataclasses.dataclass(frozen=True)
class Field:
    """The kind, shape and dtype of one named part of every example.

    Attributes:
      kind: one of KINDS.
      shape: of one example, () for a number; None stands for a length that differs.
      dtype: NumPy's name of it; encoders see images of uint8 or uint16.
      classes: names of the classes, of a label or of boxes; of a mask where they are known.
      rate: samples a second, of sound.
    """

    kind: str
    shape: tuple[int | None, ...]
    dtype: str
    classes: tuple[str, ...] | None = None
    rate: int = 0


def fields_of(
    shape: tuple[int | None, ...], dtype: str, classes: Sequence[str] | None = None
) -> dict[str, Field]:
    """The fields `image` of [H, W, C] (None: a side that differs) and, where there are classes, `label`."""
    fields = {"image": Field("image", shape, dtype)}
    if classes is not None:
        fields["label"] = Field("label", (), "int32", tuple(classes))
    return fields


class Source(abc.ABC):
    """Examples by position; an example is a dict of named fields.

    Those that train image encoders have the fields `image` and, where there are labels, `label`.

    Attributes:
      name: what messages call it.
      fields: what the parts of an example are, by name.
      labels_are_cheap: False where all records must be read to know the labels.
      is_in_memory: True where images are an array, so that parts and changes of it are arrays again.
      widens: whether pixels of 8 bits are spread where the others have 16.
    """

    name: str
    fields: Mapping[str, Field]
    labels_are_cheap: bool = True
    is_in_memory: bool = False
    widens: bool = True

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def handles(self, indices: Sequence[int]) -> list[Any]:
        """Many stored images at once, undecoded, for `open_handle`: paths, encoded bytes or arrays."""

    @abc.abstractmethod
    def labels(self) -> np.ndarray | None:
        """All labels, int32[N], or None."""

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        """The labels at some positions, int32[M], or None; no other records are read for them."""
        labels = self.labels()
        return None if labels is None else labels[indices]

    def note_labels(self, labels: np.ndarray) -> None:
        """Takes labels that were read before, int32[N], so that they need not be read again."""
        del labels

    def captions(self) -> Captions | None:
        """The captions of all images, in words; None where there are none."""
        return None

    def sounds(self) -> np.ndarray | None:
        """The sound of all examples, int16[N, samples]; None where there is none."""
        return None

    def masks(self) -> Masks | None:
        """The masks of all images, each of its image's size; None where there are none."""
        return None

    def boxes(self) -> Sequence[Boxes] | None:
        """The objects of all images; None where there are none."""
        return None

    @property
    def sound_rate(self) -> int:
        """Samples a second of the sound; 0 where there is none."""
        return self.fields["audio"].rate if "audio" in self.fields else 0

    def with_sounds(self, sounds: np.ndarray, rate: int) -> Source:
        """A source of the same examples with sound, int16[N, samples] of so many samples a second."""
        from jssl.data.sources.paired import Sounding

        return Sounding(self, sounds, rate)

    def with_captions(self, captions: Captions) -> Source:
        """A source of the same examples with captions, one or several for each."""
        from jssl.data.sources.paired import Captioned

        return Captioned(self, captions)

    def with_masks(
        self, masks: Sequence[np.ndarray | None] | Masks, class_names: Sequence[str] | None = None
    ) -> Source:
        """A source of the same examples with masks, uint8[h, w] of every image's size; None for an image without."""
        from jssl.data.sources.paired import Masked

        return Masked(self, masks, class_names)

    def with_boxes(self, boxes: Sequence[Boxes], class_names: Sequence[str]) -> Source:
        """A source of the same examples with the boxes of every image's objects, whose labels are of some classes."""
        from jssl.data.sources.paired import Boxed

        return Boxed(self, boxes, class_names)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, C) if all images share it, else None."""
        height, width, channels = self.fields["image"].shape
        if height is None or width is None or channels is None:
            return None
        return height, width, channels

    @property
    def channels(self) -> int:
        """The number of channels of all images."""
        channels = self.fields["image"].shape[-1]
        assert channels is not None
        return channels

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the pixels: uint8 or uint16, or as they are stored."""
        return np.dtype(self.fields["image"].dtype)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels, or None if the images are unlabelled."""
        return self.fields["label"].classes if "label" in self.fields else None

    def filename(self, index: int) -> str:
        """A name for the example, for messages and exports."""
        return f"{self.name}[{index}]"

    def open(self, index: int) -> Opened:
        """One image, perhaps not decoded yet; raises BadImage."""
        return self.open_handle(self.handles([index])[0], index)

    def open_handle(self, handle: Any, index: int) -> Opened:
        """One image from a handle that was read before; raises BadImage."""
        try:
            return images.open_image(handle)
        except images.DECODER_ERRORS as error:
            raise BadImage(f"{self.filename(index)}: {images.why(error)}") from error

    def decode(self, image: Opened, index: int) -> np.ndarray:
        """All pixels, [H, W, C] of the source's dtype; raises BadImage."""
        try:
            return images.to_array(image, self.channels, self.dtype, self.widens)
        except images.DECODER_ERRORS as error:
            raise BadImage(f"{self.filename(index)}: {images.why(error)}") from error

    def gather(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray] | None:
        """The fields of many examples as arrays with a row each, or None where they must be decoded one by one."""
        del indices
        return None

    def take(self, indices: Sequence[int] | np.ndarray) -> Source:
        """The examples at some positions, in the order given."""
        return Subset(self, np.asarray(indices, np.int64))

    def map(self, function: PixelMap, dtype: str = "") -> Source:
        """A source of the same examples with changed images.

        Args:
          function: of pixels [H, W, C] and a position in this source, to pixels of that shape. It is pickled where
            worker processes decode.
          dtype: of the changed pixels; '' if they keep theirs.
        """
        return Mapped(self, function, dtype)

    def renamed(self, class_names: Sequence[str]) -> Source:
        """A source of the same examples whose labels are positions in other names, which hold all of its own."""
        return self if self.class_names == tuple(class_names) else Renamed(self, class_names)

    def concat(self, other: Source) -> Source:
        """The examples of this source, then those of another, without labels.

        Raises:
          UserError: if their images differ in channels or dtype, or this one's share a size that the others lack.
        """
        mine, theirs = self.fields["image"], other.fields["image"]
        sizes_fit = self.image_shape is None or self.image_shape == other.image_shape
        if (mine.shape[-1], mine.dtype) != (theirs.shape[-1], theirs.dtype) or not sizes_fit:
            raise UserError(
                f"the images of {other.name} are {pixels_of(other)}, those of {self.name} {pixels_of(self)}: "
                "they must be alike"
            )
        return Concat(self, other)

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        """A source of the same examples, decoded to so many channels and to a dtype.

        Grey and colour become one another, and 8 bits become 16; nothing else.

        Raises:
          UserError: if they cannot be.
        """
        dtype = np.dtype(dtype)
        if (channels, dtype) == (self.channels, self.dtype):
            return self
        grey_or_colour = channels == self.channels or {channels, self.channels} == {1, 3}
        if not grey_or_colour or dtype.kind != self.dtype.kind or dtype < self.dtype:
            raise self._unlike(channels, dtype)
        other = copy.copy(self)
        image = self.fields["image"]
        image = dataclasses.replace(image, shape=(*image.shape[:2], channels), dtype=str(dtype))
        other.fields = {**self.fields, "image": image}
        return other

    def _unlike(self, channels: int, dtype: np.dtype) -> UserError:
        return UserError(
            f"{self.name} has images of {self.channels} channels, {self.dtype}: give images of {channels}, {dtype}"
        )

    def exact(self) -> Source:
        """A source of the same examples, of which those with fewer bits are unreadable."""
        other = copy.copy(self)
        other.widens = False
        return other

    def content_checksum(self) -> int:
        """A checksum that tells other data from these: of pixels and labels where they are at hand.

        Of files their names and sizes count, and the bytes of some of them: reading all may take hours.
        """
        checksum = zlib.crc32(
            "\n".join(self.stamp(i) for i in range(len(self))).encode(errors="surrogateescape")
        )
        for index in np.linspace(0, len(self) - 1, min(len(self), READ)).astype(int).tolist():
            checksum = zlib.crc32(self.stored(index), checksum)
        return checksum

    def stamp(self, index: int) -> str:
        """A text that changes when an example does, as far as can be told without reading it."""
        return self.filename(index)

    def stored(self, index: int) -> bytes:
        """The bytes of an image as they are stored; b'' where they are none of its own."""
        del index
        return b""


def pixels_of(source: Source) -> str:
    """The images of a source in words: 'uint8[32, 32, 3]'; a side that differs is a question mark."""
    image = source.fields["image"]
    return f"{image.dtype}[{', '.join('?' if n is None else str(n) for n in image.shape)}]"


class Subset(Source):
    """Some positions of another source, in the order given."""

    def __init__(self, source: Source, indices: np.ndarray):
        self.source = source
        self.indices = np.asarray(indices, np.int64)
        self.name, self.fields = source.name, source.fields
        self.labels_are_cheap = source.labels_are_cheap

    def __len__(self) -> int:
        return len(self.indices)

    def handles(self, indices: Sequence[int]) -> list[Any]:
        return self.source.handles([int(self.indices[i]) for i in indices])

    def open_handle(self, handle: Any, index: int) -> Opened:
        return self.source.open_handle(handle, int(self.indices[index]))

    def gather(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray] | None:
        return self.source.gather(self.indices[np.asarray(indices)])

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        return Subset(self.source.converted(channels, dtype), self.indices)

    def exact(self) -> Source:
        return Subset(self.source.exact(), self.indices)

    def decode(self, image: Opened, index: int) -> np.ndarray:
        return self.source.decode(image, int(self.indices[index]))

    def labels(self) -> np.ndarray | None:
        return self.source.labels_at(self.indices)

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        return self.source.labels_at(self.indices[indices])

    def captions(self) -> Captions | None:
        captions = self.source.captions()
        return None if captions is None else [captions[index] for index in self.indices.tolist()]

    def sounds(self) -> np.ndarray | None:
        sounds = self.source.sounds()
        return None if sounds is None else sounds[self.indices]

    def masks(self) -> Masks | None:
        masks = self.source.masks()
        return None if masks is None else masks.take(self.indices)

    def boxes(self) -> Sequence[Boxes] | None:
        boxes = self.source.boxes()
        return None if boxes is None else [boxes[index] for index in self.indices.tolist()]

    def content_checksum(self) -> int:
        """Of files as of any; of arrays some pixels; and all that is beside them."""
        checksum, captions, sounds = super().content_checksum(), self.captions(), self.sounds()
        found = self.gather(np.linspace(0, len(self) - 1, min(len(self), CHUNK)).astype(int))
        if found is not None:
            checksum = zlib.crc32(np.ascontiguousarray(found["image"]).data, checksum)
        if captions is not None:
            checksum = zlib.crc32(repr(list(captions)).encode(errors="surrogateescape"), checksum)
        return checksum if sounds is None else zlib.crc32(np.ascontiguousarray(sounds).data, checksum)

    def filename(self, index: int) -> str:
        return self.source.filename(int(self.indices[index]))

    def stamp(self, index: int) -> str:
        return self.source.stamp(int(self.indices[index]))

    def stored(self, index: int) -> bytes:
        return self.source.stored(int(self.indices[index]))


class Mapped(Source):
    """Another source with changed pixels. A handle is the pair of the other's handle and the position."""

    def __init__(self, source: Source, function: PixelMap, dtype: str = ""):
        self.source, self.function, self._dtype = source, function, dtype
        image = dataclasses.replace(source.fields["image"], dtype=dtype or source.dtype.name)
        self.name, self.fields = source.name, {**source.fields, "image": image}
        self.labels_are_cheap = source.labels_are_cheap

    def __len__(self) -> int:
        return len(self.source)

    def handles(self, indices: Sequence[int]) -> list[Any]:
        return list(zip(self.source.handles(indices), indices))

    def open_handle(self, handle: Any, index: int) -> Opened:
        raw, position = handle
        pixels = self.source.decode(self.source.open_handle(raw, position), position)
        return images.from_array(self.function(pixels, position))

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        if not self._dtype:
            return Mapped(self.source.converted(channels, dtype), self.function)
        if np.dtype(dtype) != self.dtype:
            raise self._unlike(channels, np.dtype(dtype))
        return Mapped(self.source.converted(channels, self.source.dtype), self.function, self._dtype)

    def content_checksum(self) -> int:
        return self.source.content_checksum()

    def labels(self) -> np.ndarray | None:
        return self.source.labels()

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        return self.source.labels_at(indices)

    def note_labels(self, labels: np.ndarray) -> None:
        self.source.note_labels(labels)

    def captions(self) -> Captions | None:
        return self.source.captions()

    def sounds(self) -> np.ndarray | None:
        return self.source.sounds()

    def masks(self) -> Masks | None:
        return self.source.masks()

    def boxes(self) -> Sequence[Boxes] | None:
        return self.source.boxes()

    def filename(self, index: int) -> str:
        return self.source.filename(index)


class Renamed(Subset):
    """Another source whose labels are positions in other class names."""

    def __init__(self, source: Source, class_names: Sequence[str]):
        super().__init__(source, np.arange(len(source)))
        label = dataclasses.replace(source.fields["label"], classes=tuple(class_names))
        self.fields = {**source.fields, "label": label}
        self._places = places_of(source.class_names or (), class_names)

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        return Renamed(self.source.converted(channels, dtype), self.class_names or ())

    def gather(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray] | None:
        found = self.source.gather(indices)
        return (
            found
            if found is None or "label" not in found
            else {**found, "label": self._places[found["label"]]}
        )

    def labels(self) -> np.ndarray | None:
        return self.labels_at(np.arange(len(self)))

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        labels = super().labels_at(indices)
        return None if labels is None else np.where(labels < 0, labels, self._places[labels])


def places_of(own: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The position of every one of some names in others, int32[len(own)]."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in own], np.int32)


class Concat(Source):
    """The images of one source, then those of another, without labels. A handle is (which source, its handle)."""

    def __init__(self, first: Source, second: Source):
        self.parts = (first, second)
        self.name = f"{first.name} and {second.name}"
        self.fields = {"image": first.fields["image"]}

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def _place(self, index: int) -> tuple[int, int]:
        first = len(self.parts[0])
        return (0, index) if index < first else (1, index - first)

    def handles(self, indices: Sequence[int]) -> list[Any]:
        places = [self._place(index) for index in indices]
        own = [[index for part, index in places if part == which] for which in (0, 1)]
        read = [iter(part.handles(found)) if found else iter(()) for part, found in zip(self.parts, own)]
        return [(which, next(read[which])) for which, _ in places]

    def open_handle(self, handle: Any, index: int) -> Opened:
        which, inner = handle
        return self.parts[which].open_handle(inner, self._place(index)[1])

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        first, second = (part.converted(channels, dtype) for part in self.parts)
        return Concat(first, second)

    def labels(self) -> np.ndarray | None:
        return None

    def filename(self, index: int) -> str:
        which, place = self._place(index)
        return self.parts[which].filename(place)


def chunks(length: int) -> Iterator[range]:
    """Consecutive ranges of at most CHUNK positions."""
    for start in range(0, length, CHUNK):
        yield range(start, min(start + CHUNK, length))
