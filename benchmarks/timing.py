"""Repeated timing, and the lines that benchmarks print."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[int], float]
"""Does n units of work, waits until they are done, returns the seconds that they took."""

Line: TypeAlias = dict[str, Any]


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def units_for(work: Work, seconds: float) -> int:
    """How many units last at least so long; the calls that find out are the warm-up.

    Args:
      work: what to measure.
      seconds: that a repeat should last.
    """
    work(1)
    units, taken = 1, work(1)
    while taken < seconds:
        # At most fourfold, since the first units may have been ready beforehand.
        units *= min(4, max(2, math.ceil(1.1 * seconds / taken)))
        taken = work(units)
    return units


def measure(work: Work, repeats: int, seconds: float) -> list[float]:
    """Seconds per unit, once a repeat."""
    units = units_for(work, seconds)
    return [work(units) / units for _ in range(repeats)]


def alternate(first: Work, second: Work, repeats: int, seconds: float) -> tuple[list[float], list[float]]:
    """As `measure`, of two works in turn, so that a drift of the machine hits both."""
    units = units_for(first, seconds), units_for(second, seconds)
    pairs = [(first(units[0]) / units[0], second(units[1]) / units[1]) for _ in range(repeats)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def summary(what: str, unit: str, values: Sequence[float], **more: Any) -> Line:
    """A line about repeats; the value under the unit's own name is the median.

    Args:
      what: name of the measurement.
      unit: what the values are: 'images_per_second', 'seconds' or 'ratio'.
      values: one a repeat.
      more: further fields, such as `config` and `target`.
    """
    median = statistics.median(values)
    spread = {"min": min(values), "median": median, "max": max(values)}
    return {"what": what, unit: median, "repeats": len(values), **spread, **more}


def throughput(what: str, images: int, seconds: Sequence[float], **more: Any) -> Line:
    """`summary` of images per second, from the seconds of units of `images` source images."""
    return summary(what, "images_per_second", [images / s for s in seconds], **more)


def show(line: Mapping[str, Any]) -> None:
    """Prints a line as JSON, with the machine's load of the last minute beside it."""
    rounded = {key: _rounded(value) for key, value in line.items()}
    print(json.dumps({**rounded, "load": round(os.getloadavg()[0], 2)}), flush=True)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
