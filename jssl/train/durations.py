"""Lengths of time in a config: `NAME_steps`, `NAME_epochs`, `NAME_percent`, `NAME_examples`; 0 means not given."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection
from typing import Any

import numpy as np

from jssl.errors import UserError
from jssl.settings import LARGEST

LARGEST_LENGTH = 1e15  # in any unit: examples are many
UNITS = ("steps", "epochs", "examples", "percent")


@dataclasses.dataclass(frozen=True)
class Clock:
    """Converts epochs, examples and percentages into steps.

    Attributes:
      num_examples: size of the stream that counts.
      batch_size: its examples of a step, over all devices.
      total_steps: length of the run.
    """

    num_examples: int
    batch_size: int
    total_steps: int

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which every example is seen once; batches run on across the border of epochs."""
        return self.num_examples / self.batch_size

    @property
    def lengths(self) -> dict[str, Any]:
        """The lengths that every step may need."""
        return {
            "total_steps": np.int32(self.total_steps),
            "steps_per_epoch": np.float32(self.steps_per_epoch),
        }

    def steps(self, config: Any, name: str) -> int:
        """Reads `NAME_<unit>` of a config; 0 if none is given.

        Raises:
          UserError: if two are given at once, or one is negative.
        """
        factors = {
            "steps": 1.0,
            "epochs": self.steps_per_epoch,
            "examples": 1 / self.batch_size,
            "percent": self.total_steps / 100,
        }
        value, unit = given(config, name)
        steps = math.ceil(value * factors[unit] - 1e-9)
        if steps > LARGEST:
            raise UserError(f"{name}_{unit}={value:g} are {steps} steps, which are at most {LARGEST}")
        return steps


def given(config: Any, name: str, prefix: str = "") -> tuple[float, str]:
    """The one (value, unit) of `NAME_<unit>` that is not 0; the prefix stands before keys in messages."""
    values = {unit: config[f"{name}_{unit}"] for unit in UNITS if f"{name}_{unit}" in config}
    for unit, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{prefix}{name}_{unit}={value!r} must be a number")
    found = [(float(value), unit) for unit, value in values.items() if value]
    if len(found) > 1:
        keys = " and ".join(f"{prefix}{name}_{unit}={value:g}" for value, unit in found)
        raise UserError(f"{keys} are given at once: set all but one to 0")
    if found and not 0 < found[0][0] < LARGEST_LENGTH:
        raise UserError(
            f"{prefix}{name}_{found[0][1]}={found[0][0]:g} must be 0 or more, below {LARGEST_LENGTH:g}"
        )
    return found[0] if found else (0.0, "steps")


def parse(text: str, clock: Clock) -> int:
    """Steps of a length in words: '1 epoch', '500 steps', '10 percent'; 0 for ''.

    Raises:
      UserError: if it cannot be read.
    """
    if not text:
        return 0
    found = re.fullmatch(r"(\d+(?:\.\d+)?) (steps?|epochs?|examples?|percent)", text)
    if found is None or not float(found[1]) > 0:
        raise UserError(
            f"cannot read the length {text!r}: write '1 epoch', '500 steps' or '10 percent'; labels may be given anew "
            "'100 times' or '100 times, quadratic', too"
        )
    unit = found[2] if found[2] == "percent" else found[2].rstrip("s") + "s"
    return max(1, clock.steps({f"length_{unit}": float(found[1])}, "length"))


def moments(text: str, clock: Clock) -> Collection[int]:
    """The numbers of finished steps after which something is done, 0 among them; none for ''.

    Args:
      text: a length as in `parse`; '100 times', at equal distances; or '100 times, quadratic', more often at first: the
        i-th of n after (i / n)^2 of the run.
      clock: of the run.

    Raises:
      UserError: if it cannot be read.

    Example:
      >>> from jssl.train import durations
      >>> clock = durations.Clock(num_examples=1000, batch_size=100, total_steps=100)
      >>> list(durations.moments("3 epochs", clock)), durations.moments("4 times, quadratic", clock)
      ([0, 30, 60, 90], [0, 6, 25, 56])
    """
    found = re.fullmatch(r"(\d+) times?(, quadratic)?", text)
    if found is None:
        every = parse(text, clock)
        return range(0, clock.total_steps, every) if every else ()
    times, power = int(found[1]), 2 if found[2] else 1
    if not 1 <= times <= LARGEST:
        raise UserError(f"cannot read {text!r}: at least once")
    return sorted(
        {int((i / times) ** power * clock.total_steps) for i in range(min(times, clock.total_steps))}
    )


def make_clock(config: Any, num_examples: int) -> Clock:
    """The clock of a run whose length stands in `total_epochs`, `total_steps` or `total_examples`.

    Epochs and examples are those of the stream `data.epochs_of`, which has `num_examples`.
    """
    batch_size = config.data[config.data.epochs_of].batch_size
    total = Clock(num_examples, batch_size, 0).steps(config, "total")
    if total < 1:
        raise UserError("the run has no length: set one of total_epochs, total_steps, total_examples")
    return Clock(num_examples, batch_size, total)
