"""Mean and standard deviation of the pixels, per channel: given by the config, or estimated from training images."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from jssl.data.sources import BadImage, Source
from jssl.errors import UserError, check_numbers

ESTIMATE = "estimate"
LOOKED_AT = 16  # images whose largest value is looked at
DARK = 8191  # of 16 bits; images with no larger value are nearly black
MAX_IMAGES = 2000  # that are looked at
DIGITS = 6  # that an estimate is rounded to

Numbers = tuple[float, ...]


def is_estimate(value: Any) -> bool:
    """Whether `data.mean` or `data.std` asks for an estimate: 'estimate', which a command line makes a tuple of."""
    return value in (ESTIMATE, (ESTIMATE,))


def check(data: Any) -> None:
    """Raises UserError unless mean and std of a config's data section are tuples of numbers, or ask for an estimate."""
    for name in ("mean", "std"):
        if not is_estimate(data[name]):
            check_numbers(f"data.{name}", data[name], "or 'estimate'")
    if not is_estimate(data.std) and not all(0 < number < math.inf for number in data.std):
        raise UserError(f"data.std={data.std!r} must be positive")


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
class FullRange:
    """Pixels of fewer bits than their dtype has, spread over it; what is larger than the largest is cut."""

    largest: int

    def __call__(self, pixels: np.ndarray, index: int) -> np.ndarray:
        del index
        most = np.iinfo(pixels.dtype).max
        return np.round(np.minimum(pixels, self.largest) * (most / self.largest)).astype(pixels.dtype)


def of_full_range(source: Source, max_value: int) -> Source:
    """A source whose largest pixel value is that of its dtype, if `data.max_value` says what it is now.

    Raises:
      UserError: if its dtype does not hold that value.
    """
    most = int(np.iinfo(source.dtype).max)
    if max_value > most:
        raise UserError(f"data.max_value={max_value} is more than pixels of {source.dtype} hold, {most}")
    if max_value in (0, most):
        if source.dtype == np.uint16 and not max_value:
            _warn_of_dark(source)
        return source
    return source.map(FullRange(max_value))


def _warn_of_dark(source: Source) -> None:
    """Says so if some images of 16 bits use an eighth of them at most."""
    largest = 0
    for row in np.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).astype(int).tolist():
        with contextlib.suppress(BadImage):
            largest = max(largest, int(source.decode(source.open(row), row).max()))
    if 0 < largest <= DARK:
        bits = max(8, largest.bit_length())
        logging.warning(
            "%s: pixels of 16 bits whose largest is %d of 65535, nearly black: set data.max_value=%d",
            *(source.name, largest, 2**bits - 1),
        )
