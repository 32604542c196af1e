"""Shifts of the data on the host: unlabelled sets that differ from the labelled one in a known way.

Fewer examples of some classes, corrupted pixels, or a lower resolution. All of it is a function of a seed and of
the position of an image, so that it does not matter in what order or on how many hosts images are read.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from jssl.data.sources import ArraySource, Source, to_array
from jssl.data.splits import class_order
from jssl.errors import UserError, unknown

Levels = tuple[Any, Any, Any, Any, Any]
Change = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


def imbalance_ratio(labels: np.ndarray, factor: float, seed: int) -> np.ndarray:
    """Positions of a long-tailed subset: the classes shrink exponentially in the order of their labels.

    Args:
      labels: int[N].
      factor: the first of the C classes over the last, at least 1. Class c keeps
        n_max factor^(-c / (C - 1)) examples, rounded down, n_max being the size of the largest class;
        all of its own where those are fewer, and at least one.
      seed: for one seed the subset of a larger factor lies inside that of a smaller one.

    Returns:
      int64[M], sorted.

    Raises:
      UserError: unless factor is at least 1 and finite.

    References:
      Cui et al., Class-balanced loss, 2019, section 5.1. https://arxiv.org/abs/1901.05555
    """
    if not 1 <= factor < math.inf:
        raise UserError(f"the long tail's factor is {factor}; set it to at least 1, where all is kept")
    orders = class_order(labels, seed)
    most = max(map(len, orders), default=0)
    decay = factor ** (-1.0 / max(1, len(orders) - 1))
    sizes = [max(1, int(most * decay**c + 1e-6)) for c in range(len(orders))]
    kept = [order[:size] for order, size in zip(orders, sizes)]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *kept]))


# Corruptions: float64[H, W, C] in [0, 1], a severity and a generator to an array that is clipped later.


def _gaussian_noise(image: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    return image + rng.normal(0.0, std, image.shape)


def _shot_noise(image: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(image * photons) / photons


def _impulse_noise(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    hit = rng.random(image.shape) < share
    return np.where(hit, rng.integers(0, 2, image.shape), image)


def _gaussian_blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """With nine taps; beyond the border its pixels go on."""
    taps = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    for axis in (0, 1):
        length = image.shape[axis]
        places = (np.clip(np.arange(length) + tap, 0, length - 1) for tap in range(-4, 5))
        image = sum(w * image.take(place, axis) for w, place in zip(taps / taps.sum(), places))
    return image


def _brightness(image: np.ndarray, shift: float, rng: np.random.Generator) -> np.ndarray:
    """Raises the value of HSV; hue and saturation stay."""
    value = image.max(axis=-1, keepdims=True)
    raised = np.minimum(value + shift, 1.0)
    return np.where(value > 0, image * (raised / np.where(value > 0, value, 1.0)), raised)


def _contrast(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    mean = image.mean(axis=(0, 1))
    return mean + factor * (image - mean)


def _saturate(image: np.ndarray, change: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Scales and shifts the saturation of HSV; what is grey stays so."""
    factor, shift = change
    value = image.max(axis=-1, keepdims=True)
    chroma = value - image.min(axis=-1, keepdims=True)
    saturation = chroma / np.where(value > 0, value, 1.0)
    wanted = np.clip(factor * saturation + shift, 0.0, 1.0)
    return value - (value - image) * (wanted / np.where(chroma > 0, saturation, 1.0))


def _pixelate(image: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    def coarse(x: Image.Image) -> Image.Image:
        small = (max(1, int(x.width * scale)), max(1, int(x.height * scale)))
        return x.resize(small, Image.Resampling.BOX).resize(x.size, Image.Resampling.BOX)

    return _by_pil(image, coarse)


def _jpeg(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    def compressed(x: Image.Image) -> Image.Image:
        file = io.BytesIO()
        x.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pil(image, compressed)


def _by_pil(image: np.ndarray, function: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return to_array(function(_to_pil(_to_bytes(image))), image.shape[-1]) / 255.0


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.round(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)


def _to_pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


KINDS: dict[str, tuple[Change, Levels]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),  # standard deviation
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),  # photons of a white pixel
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),  # share of black and white
    "gaussian_blur": (_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0)),  # pixels
    "brightness": (_brightness, (0.05, 0.10, 0.15, 0.20, 0.30)),  # added to the value
    "contrast": (_contrast, (0.75, 0.50, 0.40, 0.30, 0.15)),  # what is left of it
    "saturate": (_saturate, ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))),
    "pixelate": (_pixelate, (0.95, 0.90, 0.85, 0.75, 0.65)),  # part of the side
    "jpeg": (_jpeg, (80, 65, 58, 50, 40)),  # quality
}


def corrupt_one(image: np.ndarray, kind: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Corrupts one image.

    Args:
      image: uint8[H, W, C], C = 1 or 3.
      kind: one of KINDS; saturate leaves a grey image as it is.
      severity: 1 to 5; the levels are those for images of about 32 pixels.
      rng: what noise is drawn from.

    Returns:
      uint8[H, W, C].

    Raises:
      UserError: on another kind or severity.

    References:
      Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions and
      perturbations, 2019, section 4 (CIFAR-10-C). https://arxiv.org/abs/1903.12261
    """
    check_corruption(kind, severity)
    change, levels = KINDS[kind]
    return _to_bytes(change(image / 255.0, levels[severity - 1], rng))


def corrupt(images: np.ndarray, kind: str, severity: int, seed: int) -> np.ndarray:
    """Corrupts images, uint8[N, H, W, C]; what is drawn for row i depends on (seed, i) only.

    See corrupt_one for the rest.
    """
    check_corruption(kind, severity)
    result = np.empty_like(images)
    for i, image in enumerate(images):
        result[i] = corrupt_one(image, kind, severity, np.random.default_rng((seed, i)))
    return result


def check_corruption(kind: str, severity: int) -> None:
    """Raises UserError unless kind is one of KINDS and severity is 1, 2, 3, 4 or 5."""
    if kind not in KINDS:
        raise unknown("corruption", kind, KINDS)
    if type(severity) is not int or not 1 <= severity <= 5:
        raise UserError(f"the severity of {kind} is {severity!r}; set it to 1, 2, 3, 4 or 5")


def lower_resolution(images: np.ndarray, size: int) -> np.ndarray:
    """Makes images smaller and as large as before again, by bicubic interpolation with antialiasing.

    Args:
      images: uint8[N, H, W, C], C = 1 or 3.
      size: pixels of either side in between; a side that has no more stays.

    Returns:
      uint8[N, H, W, C].

    Raises:
      UserError: unless size is at least 1.
    """
    check_resolution(size)
    return np.stack([_lower_resolution(image, size) for image in images]) if len(images) else images


def check_resolution(size: int) -> None:
    """Raises UserError unless size is a whole number of pixels, at least 1."""
    if type(size) is not int or size < 1:
        raise UserError(f"the resolution is {size!r}; set it to a side in pixels, at least 1")


def _lower_resolution(image: np.ndarray, size: int) -> np.ndarray:
    whole = _to_pil(image)
    small = whole.resize((min(size, whole.width), min(size, whole.height)), Image.Resampling.BICUBIC)
    return to_array(small.resize(whole.size, Image.Resampling.BICUBIC), image.shape[-1])


# Sources


def corrupted(source: Source, corruption: str, severity: int, resolution: int, seed: int) -> Source:
    """A source whose pixels have shifted: first to a lower resolution, then corrupted.

    Arrays are changed at once and stay arrays; other images when they are read, before any crop. Take the
    parts of a source first and shift them then: what is drawn depends on the position in the source given.

    Args:
      source: what to shift.
      corruption: one of KINDS, or empty for none.
      severity: of the corruption, 1 to 5; not looked at where there is none.
      resolution: see lower_resolution; 0 for none.
      seed: of the noise.

    Returns:
      The source itself where nothing is asked for; else one with the same labels and names.

    Raises:
      UserError: on another corruption, severity or resolution.
    """
    if corruption:
        check_corruption(corruption, severity)
    if resolution != 0:
        check_resolution(resolution)
    if not corruption and not resolution:
        return source
    shift = _Shift(corruption, severity, resolution, seed)
    if not isinstance(source, ArraySource):
        return Shifted(source, shift)
    images = np.empty_like(source.images)
    for i, image in enumerate(source.images):
        images[i] = shift(image, i)
    return ArraySource(source.name, images, source.labels(), source.class_names, source.bad)


@dataclasses.dataclass(frozen=True)
class _Shift:
    """What to do with the pixels uint8[H, W, C] of the image at a position."""

    corruption: str
    severity: int
    resolution: int
    seed: int

    def __call__(self, pixels: np.ndarray, position: int) -> np.ndarray:
        if self.resolution:
            pixels = _lower_resolution(pixels, self.resolution)
        if self.corruption:
            rng = np.random.default_rng((self.seed, position))
            pixels = corrupt_one(pixels, self.corruption, self.severity, rng)
        return pixels


class Shifted(Source):
    """Another source with shifted pixels. A handle is the pair of the other's handle and the position."""

    def __init__(self, source: Source, shift: _Shift):
        self.source = source
        self.shift = shift
        self.name, self.image_shape = source.name, source.image_shape
        self.channels, self.class_names = source.channels, source.class_names
        self.labels_are_cheap = source.labels_are_cheap

    def __len__(self) -> int:
        return len(self.source)

    def handles(self, indices: Sequence[int]) -> list[Any]:
        return list(zip(self.source.handles(indices), indices))

    def open_handle(self, handle: Any, index: int) -> Image.Image:
        raw, position = handle
        pixels = self.source.decode(self.source.open_handle(raw, position), position)
        return _to_pil(self.shift(pixels, position))

    def labels(self) -> np.ndarray | None:
        return self.source.labels()

    def filename(self, index: int) -> str:
        return self.source.filename(index)
