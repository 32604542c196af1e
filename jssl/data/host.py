"""What happens to one image on the host: decode and, where images are large or of mixed size, crop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from jssl.data.augment.views import draw_number
from jssl.data.sources.images import Opened, eight_bit, size_of, to_array, upright

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


def central_box(width: int, height: int) -> Box:
    """The largest central square."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def crops(
    image: Opened,
    boxes: list[Box],
    sizes: list[int],
    interpolations: list[str],
    channels: int,
    dtype: np.dtype | type = np.uint8,
) -> list[np.ndarray]:
    """Cuts boxes out of one upright image and resizes each to a square, dtype[size, size, channels].

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where every crop still has as many pixels as it needs.
    """
    if isinstance(image, np.ndarray) or dtype != np.uint8 or channels not in (1, 3):
        pixels = to_array(image, channels, dtype)
        return [_resized(pixels, *how) for how in zip(boxes, sizes, interpolations)]
    width, height = image.size
    spare = min(min(r - x, b - y) / size for (x, y, r, b), size in zip(boxes, sizes))
    if spare >= 2 and image.format == "JPEG":
        divisor = 2 ** min(3, int(math.log2(spare)))
        image.draft(None, (math.ceil(width / divisor), math.ceil(height / divisor)))
    scale_x, scale_y = image.size[0] / width, image.size[1] / height
    image = eight_bit(image, channels)
    resized = [
        image.resize(
            (size, size),
            RESAMPLING[interpolation],
            box=(box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y),
        )
        for box, size, interpolation in zip(boxes, sizes, interpolations)
    ]
    return [to_array(crop, channels) for crop in resized]


def _resized(pixels: np.ndarray, box: Box, size: int, interpolation: str) -> np.ndarray:
    """A box of [H, W, C], channel by channel in float32: Pillow resizes neither many channels nor 16 bits."""
    left, top, right, bottom = box
    planes = np.moveaxis(pixels[top:bottom, left:right].astype(np.float32), -1, 0)
    filter_ = RESAMPLING[interpolation]
    made = [np.asarray(Image.fromarray(plane).resize((size, size), filter_)) for plane in planes]
    return np.clip(np.round(np.stack(made, axis=-1)), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def train_crops(
    image: Opened,
    specs: Mapping[str, ViewSpec],
    seed: tuple[int, int],
    channels: int,
    dtype: np.dtype | type = np.uint8,
) -> dict[str, tuple[np.ndarray, ...]]:
    """A random resized crop for every copy of every view, by view; each draws from (*seed, its name, its copy)."""
    image = upright(image)
    refs = [(name, copy) for name, spec in specs.items() for copy in range(spec.copies)]
    expanded = [specs[name] for name, _ in refs]
    draws = [np.random.default_rng((*seed, draw_number(*ref))) for ref in refs]
    boxes = [random_box(rng, *size_of(image), spec) for rng, spec in zip(draws, expanded)]
    sizes = [spec.size for spec in expanded]
    made = iter(crops(image, boxes, sizes, [spec.interpolation for spec in expanded], channels, dtype))
    return {name: tuple(itertools.islice(made, spec.copies)) for name, spec in specs.items()}


def central_crop(image: Opened, size: int, channels: int, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """The largest central square, resized, dtype[size, size, channels]."""
    image = upright(image)
    box = central_box(*size_of(image))
    return crops(image, [box], [size], ["bicubic"], channels, dtype)[0]
