"""Corrupted pixels or a lower resolution: unlabelled images that differ from the labelled ones in a known way.

All of it is a function of a seed and of the position of an image, so that it does not matter in what order or on how
many hosts images are read.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from jssl.data.sources.base import Source
from jssl.data.sources.images import to_array
from jssl.errors import UserError, unknown

Levels = tuple[Any, Any, Any, Any, Any]
Change = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]


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
    height, width = image.shape[:2]
    small = (max(1, int(width * scale)), max(1, int(height * scale)))

    def coarse(x: Image.Image) -> Image.Image:
        return x.resize(small, Image.Resampling.BOX).resize(x.size, Image.Resampling.BOX)

    return _by_plane(image, coarse)


def _jpeg(image: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    file, pixels = io.BytesIO(), _to_integers(image, np.dtype(np.uint8))
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "JPEG", quality=quality)
    return to_array(Image.open(file), image.shape[-1]) / 255.0


def _by_plane(image: np.ndarray, function: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Of every channel on its own: Pillow has no images of many channels, nor of 16 bits in colour."""
    planes = [function(Image.fromarray(plane)) for plane in np.moveaxis(image.astype(np.float32), -1, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _to_integers(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.round(np.iinfo(dtype).max * np.clip(image, 0.0, 1.0)).astype(dtype)


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
    """Corrupts one image, as CIFAR-10-C does.

    Args:
      image: uint8 or uint16[H, W, C].
      kind: one of KINDS; saturate leaves a grey image as it is, jpeg takes uint8 with C = 1 or 3 only.
      severity: 1 to 5; the levels are those for images of about 32 pixels.
      rng: what noise is drawn from.

    Returns:
      As image.

    Raises:
      UserError: on another kind or severity, or images that the kind does not take.

    References:
      Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions and
      perturbations, 2019, section 4 (CIFAR-10-C). https://arxiv.org/abs/1903.12261
    """
    check_corruption(kind, severity)
    _check_pixels(kind, image.shape[-1], image.dtype)
    change, levels = KINDS[kind]
    changed = change(image / np.iinfo(image.dtype).max, levels[severity - 1], rng)
    return _to_integers(changed, image.dtype)


def corrupt(images: np.ndarray, kind: str, severity: int, seed: int) -> np.ndarray:
    """Corrupts images, [N, H, W, C]; what is drawn for row i depends on (seed, i) only.

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


def _check_pixels(kind: str, channels: int, dtype: np.dtype) -> None:
    if kind == "jpeg" and (channels not in (1, 3) or dtype != np.uint8):
        raise UserError(f"jpeg takes images of uint8 with 1 or 3 channels, not {dtype} with {channels}")


def lower_resolution(images: np.ndarray, size: int) -> np.ndarray:
    """Makes images smaller and as large as before again, by bicubic interpolation with antialiasing.

    Args:
      images: uint8 or uint16[N, H, W, C].
      size: pixels of either side in between; a side that has no more stays.

    Returns:
      As images.

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
    height, width = image.shape[:2]
    if size >= max(height, width):
        return image

    def small_and_large(x: Image.Image) -> Image.Image:
        small = x.resize((min(size, width), min(size, height)), Image.Resampling.BICUBIC)
        return small.resize(x.size, Image.Resampling.BICUBIC)

    most = np.iinfo(image.dtype).max
    return _to_integers(_by_plane(image / most, small_and_large), image.dtype)


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
      UserError: on another corruption, severity or resolution, or images that the corruption does not take.
    """
    if corruption:
        check_corruption(corruption, severity)
        _check_pixels(corruption, source.channels, source.dtype)
    if resolution != 0:
        check_resolution(resolution)
    if not corruption and not resolution:
        return source
    return source.map(_Shift(corruption, severity, resolution, seed))


@dataclasses.dataclass(frozen=True)
class _Shift:
    """What to do with the pixels [H, W, C] of the image at a position."""

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
