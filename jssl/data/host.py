"""What happens to one image on the host: decode and, where images are large or of mixed size, crop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jssl.data.augment.views import draw_number
from jssl.data.sources import eight_bit, to_array, upright

if TYPE_CHECKING:
    from jssl.data.augment.view_spec import ViewSpec

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Box = tuple[int, int, int, int]  # left, top, right, bottom


def random_box(rng: np.random.Generator, width: int, height: int, spec: ViewSpec) -> Box:
    """The box of a random resized crop, as torchvision draws it: ten tries, then the largest central one."""
    low, high = math.log(spec.crop_ratio_min), math.log(spec.crop_ratio_max)
    for _ in range(10):
        area = width * height * rng.uniform(spec.crop_area_min, spec.crop_area_max)
        ratio = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    ratio = min(max(width / height, spec.crop_ratio_min), spec.crop_ratio_max)
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def central_box(width: int, height: int, fraction: float) -> Box:
    """The central square whose side is a fraction of the shorter side."""
    side = max(1, round(min(width, height) * fraction))
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crops(
    image: Image.Image, boxes: list[Box], sizes: list[int], interpolations: list[str], channels: int
) -> list[np.ndarray]:
    """Cuts boxes out of one image and resizes each to a square, uint8[size, size, channels].

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where every crop still has as many pixels as it needs.
    """
    width, height = image.size
    spare = min(min(r - x, b - y) / size for (x, y, r, b), size in zip(boxes, sizes))
    if spare >= 2 and image.format == "JPEG":
        divisor = 2 ** min(3, int(math.log2(spare)))
        image.draft(None, (math.ceil(width / divisor), math.ceil(height / divisor)))
    mode = "RGB" if channels == 3 else "L"
    scale_x, scale_y = image.size[0] / width, image.size[1] / height
    image = eight_bit(image).convert(mode)
    resized = [
        image.resize(
            (size, size),
            RESAMPLING[interpolation],
            box=(box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y),
        )
        for box, size, interpolation in zip(boxes, sizes, interpolations)
    ]
    return [to_array(crop, channels) for crop in resized]


def train_crops(
    image: Image.Image, specs: Mapping[str, ViewSpec], seed: tuple[int, int], channels: int
) -> dict[str, tuple[np.ndarray, ...]]:
    """A random resized crop for every copy of every view, by view; each draws from (*seed, its name, its copy)."""
    image = upright(image)
    refs = [(name, copy) for name, spec in specs.items() for copy in range(spec.copies)]
    expanded = [specs[name] for name, _ in refs]
    draws = [np.random.default_rng((*seed, draw_number(*ref))) for ref in refs]
    boxes = [random_box(rng, *image.size, spec) for rng, spec in zip(draws, expanded)]
    sizes = [spec.size for spec in expanded]
    made = iter(crops(image, boxes, sizes, [spec.interpolation for spec in expanded], channels))
    return {name: tuple(itertools.islice(made, spec.copies)) for name, spec in specs.items()}


def central_crop(image: Image.Image, size: int, fraction: float, channels: int) -> np.ndarray:
    """The evaluation view: the central square, resized, uint8[size, size, channels]."""
    image = upright(image)
    box = central_box(*image.size, fraction)
    return crops(image, [box], [size], ["bicubic"], channels)[0]
