"""Whole images as squares of one size, and their masks and boxes with them: what dense evaluation sees."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from jssl.data import host
from jssl.data.sources import BadImage, Masks, Source
from jssl.data.sources.base import Mapped
from jssl.data.sources.images import from_array, size_of
from jssl.errors import UserError

CHECKED = 32  # masks whose size is compared with their images' before training


class Squared(Mapped):
    """Another source whose images are resized to squares, whatever their sides; nothing is cut off.

    Masks are resized by the nearest pixel; boxes are parts of the sides, and so stay as they are.

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources import ArraySource
      >>> from jssl.data.squares import Squared
      >>> images = ArraySource("bars", np.zeros((2, 30, 40, 3), np.uint8))
      >>> source = Squared(images.with_masks(np.ones((2, 30, 40), np.uint8)), 16)
      >>> source.image_shape, source.masks()[0].shape
      ((16, 16, 3), (16, 16))
    """

    def __init__(self, source: Source, size: int):
        super().__init__(source, functools.partial(_resized, size=size))
        self.size = size
        image = dataclasses.replace(self.fields["image"], shape=(size, size, source.channels))
        self.fields = {**self.fields, "image": image}

    def masks(self) -> Masks | None:
        masks = self.source.masks()
        return None if masks is None else masks.map(functools.partial(nearest, size=self.size))

    def converted(self, channels: int, dtype: np.dtype | str) -> Source:
        return Squared(self.source.converted(channels, dtype), self.size)


def _resized(pixels: np.ndarray, position: int, size: int) -> np.ndarray:
    del position
    height, width, channels = pixels.shape
    box = (0, 0, width, height)
    return host.crops(from_array(pixels), [box], [size], ["bicubic"], channels, pixels.dtype)[0]


def nearest(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask [h, w] as a square of the pixels nearest to the centres of its own, [size, size].

    Example:
      >>> import numpy as np
      >>> from jssl.data.squares import nearest
      >>> nearest(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.uint8), 2).tolist()
      [[2, 4], [6, 8]]
    """
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in mask.shape)
    return mask[np.ix_(rows, columns)]


def stacked(masks: Masks, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The masks at some positions as one array, uint8[n, h, w]; they must be there and of one size."""
    found = [masks[int(index)] for index in indices]
    return np.stack([mask for mask in found if mask is not None])


def check_masks(source: Source) -> None:
    """Raises UserError if a mask, of some evenly spaced ones, is of another size than its image."""
    masks = source.masks()
    assert masks is not None
    for index in np.linspace(0, len(source) - 1, min(CHECKED, len(source))).astype(int).tolist():
        mask = masks[index]
        try:
            width, height = size_of(source.open(index))
        except BadImage:  # counted when it is evaluated
            continue
        if mask is not None and mask.shape != (height, width):
            raise UserError(
                f"the mask of {source.filename(index)} is of {mask.shape[0]} x {mask.shape[1]} pixels, its image of "
                f"{height} x {width}"
            )
