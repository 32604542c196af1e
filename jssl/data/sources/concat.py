"""Two sources as one: images of other classes among those of a training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jssl.data.sources import ArraySource, Source
from jssl.errors import UserError


class Concat(Source):
    """The images of one source, then those of another, without labels. A handle is (which source, its handle)."""

    def __init__(self, first: Source, second: Source):
        self.parts = (first, second)
        self.name = f"{first.name} and {second.name}"
        self.image_shape = first.image_shape if first.image_shape == second.image_shape else None
        self.channels, self.class_names, self.labels_are_cheap = first.channels, None, True

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

    def open_handle(self, handle: Any, index: int) -> Image.Image:
        which, inner = handle
        return self.parts[which].open_handle(inner, self._place(index)[1])

    def labels(self) -> np.ndarray | None:
        return None

    def filename(self, index: int) -> str:
        which, place = self._place(index)
        return self.parts[which].filename(place)


def concat(first: Source, second: Source) -> Source:
    """Both as one source; arrays of one size stay arrays.

    Raises:
      UserError: if one is grey and the other is not, or the first has images of one size and the second has not.
    """
    if first.channels != second.channels or (first.image_shape not in (None, second.image_shape)):
        raise UserError(
            f"config.data.unlabeled.add: the images of {second.name} are {second.image_shape or 'of mixed sizes'}, "
            f"those of {first.name} {first.image_shape}: they must be alike"
        )
    if not (isinstance(first, ArraySource) and isinstance(second, ArraySource)):
        return Concat(first, second)
    images = np.concatenate([first.images, second.images])
    bad = first.bad | {len(first) + index: text for index, text in second.bad.items()}
    return ArraySource(f"{first.name} and {second.name}", images, bad=bad)
