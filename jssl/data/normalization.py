"""What pixel values mean: which are black and white, their mean and standard deviation; given or estimated."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from jssl import settings
from jssl.data.sources import BadImage, Source
from jssl.data.sources.base import DTYPES
from jssl.errors import UserError

ESTIMATE = "estimate"
LOOKED_AT = 16  # images whose largest value is looked at
RANGED = 256  # images that tell the range of numbers that have none
DARK = 8191  # of 16 bits; images with no larger value are nearly black
MAX_IMAGES = 2000  # that are looked at
DIGITS = 6  # that an estimate is rounded to

Numbers = tuple[float, ...]


def is_estimate(value: Any) -> bool:
    """Whether `data.mean` or `data.std` asks for an estimate: 'estimate', which a command line makes a tuple of."""
    return value in (ESTIMATE, (ESTIMATE,))


def check(data: Any) -> None:
    """Raises UserError unless mean, std and value_range of a data section are numbers, or ask for an estimate.

    Lab is centred and scaled by fixed numbers, so that every run, whatever its data, sees the same.
    """
    for name in ("mean", "std"):
        if not is_estimate(data[name]):
            words = "numbers in parentheses, (0.5,) or one a channel, or 'estimate'"
            settings.check_elements(f"data.{name}", data[name], words=words)
    if not is_estimate(data.std) and not all(0 < number < math.inf for number in data.std):
        raise UserError(f"data.std={data.std!r} must be positive")
    if data.color_space == "lab" and (tuple(data.mean), tuple(data.std)) != ((0.0,), (1.0,)):
        raise UserError(
            "data.color_space='lab' has a scale of its own: set data.mean=(0.0,) and data.std=(1.0,)"
        )
    ends = data.value_range
    if ends != ():
        words = "(low, high), the values of black and of white"
        settings.check_elements("data.value_range", ends, words=words)
        if len(ends) != 2 or not (math.isfinite(ends[1] - ends[0]) and ends[0] < ends[1]):
            raise UserError(f"data.value_range={ends!r} must be {words}")


def resolve(value: Any, estimated: Numbers | None, otherwise: float) -> Numbers:
    """The numbers to use for `data.mean` or `data.std`; `otherwise` stands for an estimate that has no data."""
    if not is_estimate(value):
        return tuple(value)
    return (otherwise,) if estimated is None else estimated


def estimate(source: Source, seed: int, max_images: int = MAX_IMAGES) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of all pixels of a random sample of images.

    Sums are exact, so the result depends on the pixels alone. Unreadable images are left out.

    Args:
      source: of uint8 or uint16[H, W, C].
      seed: of the sample.
      max_images: its size, where there are more.

    Returns:
      (mean, std), one number a channel, in units of the dtype's largest value, rounded to 6 digits; the std of a
      channel of one value is 1.

    Raises:
      UserError: if no image of the sample is readable.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(source))[:max_images])
    count, sums, squares = 0, [0] * source.channels, [0] * source.channels
    for row in rows.tolist():
        try:
            pixels = source.decode(source.open(row), row).reshape(-1, source.channels).astype(np.uint64)
        except BadImage:
            continue
        count += len(pixels)
        sums = [total + int(more) for total, more in zip(sums, pixels.sum(axis=0))]
        squares = [total + int(more) for total, more in zip(squares, np.square(pixels).sum(axis=0))]
    if not count:
        raise UserError(f"data.mean='estimate': none of {len(rows)} images of {source.name} is readable")
    most = int(np.iinfo(source.dtype).max)
    means = [total / (count * most) for total in sums]
    stds = [
        math.sqrt(count * square - total**2) / (count * most) or 1.0 for total, square in zip(sums, squares)
    ]
    return _rounded(means), _rounded(stds)


def _rounded(values: Sequence[float]) -> Numbers:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


@dataclasses.dataclass(frozen=True)
class Spread:
    """Pixels between two values, spread over all that a dtype holds; what lies outside is cut, NaN is black."""

    low: float
    high: float
    dtype: str

    def __call__(self, pixels: np.ndarray, index: int) -> np.ndarray:
        del index
        part = (np.nan_to_num(pixels.astype(np.float64), nan=self.low) - self.low) / (self.high - self.low)
        return np.round(np.clip(part, 0, 1) * np.iinfo(self.dtype).max).astype(self.dtype)


def value_range(source: Source, asked: Numbers, recorded: Numbers | None = None) -> Numbers | None:
    """The pixel values that are black and white, (low, high); None for all that the dtype holds.

    Args:
      source: of the training images, as they are stored.
      asked: `data.value_range`; () for what there is: the range of uint8 and uint16, of other numbers an estimate.
      recorded: the estimate that a run began with, which stands.

    Raises:
      UserError: if the dtype does not hold the values asked for, or all pixels are alike.
    """
    if asked:
        low, high = map(float, asked)
        most = np.iinfo(source.dtype).max if _has_range(source.dtype) else math.inf
        if _has_range(source.dtype) and not (low >= 0 and high <= most):
            raise UserError(
                f"data.value_range={asked} is more than pixels of {source.dtype} hold, 0 to {most}"
            )
        return None if (low, high) == (0, most) else (low, high)
    if not _has_range(source.dtype):
        return recorded or _estimated_range(source)
    if source.dtype == np.uint16:
        _warn_of_dark(source)
    return None


def spread(source: Source, black_and_white: Numbers | None, stored_dtype: str) -> Source:
    """A source whose pixels fill uint8 or uint16.

    Args:
      source: as it is stored.
      black_and_white: from `value_range` of the training images.
      stored_dtype: of the training images; all images of one kind have one range.

    Raises:
      UserError: if the source's is of another kind.
    """
    ranged = _has_range(source.dtype)
    bits_differ = ranged and black_and_white is not None and source.dtype.name != stored_dtype
    if bits_differ or ranged != _has_range(np.dtype(stored_dtype)):
        raise UserError(
            f"the pixels of {source.name} are {source.dtype}, those of the training images {stored_dtype}: "
            "store them alike"
        )
    if black_and_white is None:
        return source
    dtype = source.dtype.name if ranged else "uint16"
    return source.exact().map(Spread(black_and_white[0], black_and_white[1], dtype), dtype)


def _has_range(dtype: np.dtype) -> bool:
    """Whether all that a dtype holds is what images of it fill: of uint8 and uint16, not of floats."""
    return dtype.name in DTYPES


def _estimated_range(source: Source) -> Numbers:
    """The least and the largest value of some images."""
    finite = [pixels[np.isfinite(pixels)] for pixels in _some(source, RANGED)]
    values = np.concatenate([np.zeros(0), *([part.min(), part.max()] for part in finite if part.size)])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low < high and math.isfinite(high - low)):
        raise UserError(
            f"{source.name}: pixels of {source.dtype} that are all alike, or too far apart: set "
            "data.value_range=(LOW,HIGH)"
        )
    logging.warning(
        "%s: pixels of %s, of which %.10g is taken as black and %.10g as white, the least and the largest of %d "
        "images: data.value_range=(LOW,HIGH) sets others",
        *(source.name, source.dtype, low, high, len(finite)),
    )
    return low, high


def _some(source: Source, count: int) -> list[np.ndarray]:
    """The pixels of so many images, evenly spaced; without those that are unreadable."""
    found = []
    for row in np.linspace(0, len(source) - 1, min(count, len(source))).astype(int).tolist():
        with contextlib.suppress(BadImage):
            found.append(source.decode(source.open(row), row))
    return found


def _warn_of_dark(source: Source) -> None:
    """Says so if some images of 16 bits use an eighth of them at most."""
    largest = max((int(pixels.max()) for pixels in _some(source, LOOKED_AT)), default=0)
    if 0 < largest <= DARK:
        bits = max(8, largest.bit_length())
        logging.warning(
            "%s: pixels of 16 bits whose largest is %d of 65535, nearly black: set data.value_range=(0,%d)",
            *(source.name, largest, 2**bits - 1),
        )
