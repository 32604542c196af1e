"""What is known of the places of images: the class of every pixel, and boxes around objects."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jssl.data.sources.images import DECODER_ERRORS, Path, open_image, why
from jssl.errors import UserError

SLACK = 0.01  # part of a side by which annotators' boxes leave their images


@dataclasses.dataclass(frozen=True)
class Masks:
    """The masks of all images, opened one by one when they are asked for.

    Attributes:
      length: number of images.
      open: the class of every pixel of the image at a position, uint8[h, w], or None where an image has no mask.

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources import Masks
      >>> masks = Masks(2, lambda index: np.full((4, 5), index, np.uint8))
      >>> masks.take([1])[0].max()
      np.uint8(1)
    """

    length: int
    open: Callable[[int], np.ndarray | None]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray | None:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.open(index)

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return map(self.open, range(self.length))

    def take(self, indices: Sequence[int] | np.ndarray) -> Masks:
        """The masks of the images at some positions."""
        return Masks(len(indices), functools.partial(_at, self, np.asarray(indices)))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Masks:
        """Changed masks, of the images that have one."""
        return Masks(self.length, functools.partial(_changed, self, function))


def _at(masks: Masks, indices: np.ndarray, index: int) -> np.ndarray | None:
    return masks[int(indices[index])]


def _changed(masks: Masks, function: Callable[[np.ndarray], np.ndarray], index: int) -> np.ndarray | None:
    mask = masks[index]
    return None if mask is None else function(mask)


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The objects of one image.

    Attributes:
      where: float32[n, 4], y0, x0, y1, x1 as parts of the image's height and width, in [0, 1].
      labels: int32[n], positions in the classes of the field `boxes`.
      uncertain: bool[n]: crowds, and what annotators call difficult, whose absence or presence is not scored.

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources import Boxes
      >>> Boxes.of([[0.1, 0.2, 0.5, 0.6]], [3]).labels
      array([3], dtype=int32)
    """

    where: np.ndarray
    labels: np.ndarray
    uncertain: np.ndarray

    @classmethod
    def of(
        cls,
        where: Sequence[Sequence[float]] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        uncertain: Sequence[bool] | np.ndarray | None = None,
        name: str = "boxes",
        classes: int | None = None,
    ) -> Boxes:
        """Checked boxes; what leaves the image by a hundredth is cut off.

        Args:
          where, labels, uncertain: see above, as lists or arrays.
          name: of the image, in messages.
          classes: number of classes.

        Raises:
          UserError: for boxes outside of the image or turned around, and for labels that are no class.
        """
        corners = np.asarray(where, np.float32).reshape(-1, 4)
        known = np.asarray(labels, np.int32).reshape(-1)
        doubt = np.zeros(len(known), bool) if uncertain is None else np.asarray(uncertain, bool).reshape(-1)
        if not len(corners) == len(known) == len(doubt):
            raise UserError(f"{name}: {len(corners)} boxes and {len(known)} labels: give one to each")
        inside = np.all((corners >= -SLACK) & (corners <= 1 + SLACK), axis=1)
        ordered = np.all(corners[:, :2] <= corners[:, 2:], axis=1)
        for wrong, words in (
            (~inside, "leaves its image: corners are parts of its height and width, in [0, 1]"),
            (~ordered, "is turned around: give y0, x0, y1, x1"),
        ):
            if wrong.any():
                numbers = ", ".join(f"{x:g}" for x in corners[np.argmax(wrong)])
                raise UserError(f"{name}: the box ({numbers}) {words}")
        if classes is not None and len(known) and not 0 <= known.min() <= known.max() < classes:
            raise UserError(
                f"{name}: labels of boxes are from 0 to {classes - 1}, not {known.min()} to {known.max()}"
            )
        return cls(np.clip(corners, 0, 1), known, doubt)


def label_sets(boxes: Sequence[Boxes], classes: int) -> np.ndarray:
    """Which classes every image shows, int8[N, classes]: 1 yes, 0 no, -1 where the only objects are uncertain.

    Example:
      >>> from jssl.data.sources.annotations import Boxes, label_sets
      >>> corners = [[0, 0, 1, 1], [0, 0, 1, 1]]
      >>> label_sets([Boxes.of(corners, [0, 2], [False, True])], 3).tolist()
      [[1, 0, -1]]
    """
    found = np.zeros((len(boxes), classes), np.int8)
    for row, each in zip(found, boxes):
        row[each.labels[each.uncertain]] = -1
        row[each.labels[~each.uncertain]] = 1
    return found


def read_mask(handle: Path | bytes | np.ndarray, name: str) -> np.ndarray:
    """The class of every pixel of a picture, uint8[h, w]; of one with a palette the numbers of its colours.

    Args:
      handle: a file, its bytes, or an array [h, w] or [h, w, 1].
      name: of the mask, in messages.

    Raises:
      UserError: if it is not readable, has several channels, or numbers above 255.
    """
    try:
        mask = handle if isinstance(handle, np.ndarray) else np.asarray(open_image(handle))
    except DECODER_ERRORS as error:
        raise UserError(f"{name}: {why(error)}") from error
    mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    if (
        mask.ndim != 2
        or mask.dtype.kind not in "bui"
        or (mask.size and not 0 <= mask.min() <= mask.max() <= 255)
    ):
        raise UserError(
            f"{name}: a mask has one channel of class numbers from 0 to 255, not {mask.dtype}{list(mask.shape)}"
        )
    return mask.astype(np.uint8)
