"""How fast training goes, and how much of its time it waits for data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax

from jssl.parallel import chips


class Throughput:
    """A clock of training time: it stands still from `stop()` to `start()`, and a checkpoint carries it on.

    Args:
      batch_size: images a step.
      flops_per_step: of all devices; 0: unknown, no utilisation then.
      history: what `state()` returned when the checkpoint was saved.
    """

    def __init__(self, batch_size: int, flops_per_step: float, history: Mapping[str, Any]):
        self._batch, self._flops = batch_size, flops_per_step
        self._train = float(history.get("train_seconds", 0.0))
        self._wait = float(history.get("wait_seconds", 0.0))
        self._steps = int(history.get("steps", 0))
        self._first = self._steps  # of earlier sessions
        self._begun: tuple[float, int] | None = None  # seconds and steps after the first two of this session
        self._mark = (self._train, self._wait, self._steps)  # at the last line
        self._lap = time.perf_counter()

    def step(self, waited: float) -> None:
        """Counts a step that waited so many seconds for its batch."""
        self._wait += waited
        self._steps += 1

    def seconds_per_step(self) -> float | None:
        """The mean of this session's steps, but for its first two, which wait for whatever begins; None before."""
        self.stop()
        if self._begun is None and self._steps - self._first >= 2:
            self._begun = (self._train, self._steps)
        if self._begun is None or self._steps - self._begun[1] < 3:
            return None
        return (self._train - self._begun[0]) / (self._steps - self._begun[1])

    def start(self) -> None:
        """Lets the clock run again."""
        self._lap = time.perf_counter()

    def stop(self) -> None:
        """Adds the time since `start()`, or since the last call, to the training time."""
        now = time.perf_counter()
        self._train += now - self._lap
        self._lap = now

    def since_last(self) -> dict[str, float]:
        """The figures of the steps since the last call."""
        self.stop()
        now = (self._train, self._wait, self._steps)
        seconds, waited, steps = (new - old for new, old in zip(now, self._mark, strict=True))
        self._mark = now
        seconds = max(seconds, 1e-9)
        figures = {"images_per_second": steps * self._batch / seconds, "waiting_for_data": waited / seconds}
        return figures | (utilisation(self._flops * steps / seconds) if self._flops else {})

    def state(self) -> dict[str, float]:
        """For a checkpoint, so that the totals go on after a resume."""
        return {"train_seconds": self._train, "wait_seconds": self._wait, "steps": self._steps}

    def totals(self) -> dict[str, float]:
        """The figures of the whole run."""
        seconds = max(self._train, 1e-9)
        return {
            "images_per_second": self._steps * self._batch / seconds,
            "waiting_for_data": self._wait / seconds,
            "train_seconds": self._train,
        }


def utilisation(flops_per_second: float) -> dict[str, float]:
    """FLOP/s of all devices and, where the device's peak is known, the part of it that was used."""
    chip = chips.chip(jax.devices()[0].device_kind)
    result = {"flops_per_second": flops_per_second}
    if chip is not None:
        result["utilisation"] = flops_per_second / (chip.peak * jax.device_count())
    return result
