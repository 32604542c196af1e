"""What the user sees while it runs: each line goes to metrics.jsonl, the trackers and the progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import tqdm
from absl import logging
from etils import epath

from jssl import parallel
from jssl.errors import NotFinite, of_system
from jssl.storage import GrowingFile
from jssl.train import progress
from jssl.train.collapse import CollapseAlarm, describe_lr
from jssl.train.metrics_file import METRICS_FILE, truncate
from jssl.train.throughput import Throughput
from jssl.train.trackers import TensorBoard, Tracker, Wandb
from jssl.types import Metrics

IN_FLIGHT = 2  # steps that may be queued on the device
EVALUATING = "evaluating"
WIDTH = 40  # columns that a progress bar needs
DAYS = 2  # that a run on a CPU may take without a word


class Monitor:
    """Records the run. All of its clocks stand still inside `paused()`.

    Args:
      config: the run's whole config.
      workdir: where metrics.jsonl goes.
      total_steps, steps_per_epoch, batch_size: for the progress line.
      evaluations_left: how many there will be after a step, the closing one too.
      start: first step of this session; later lines of an interrupted session are dropped.
      evaluated: whether its evaluation, if it has one, is in the history; else that is made again.
      history: what `state()` returned when the checkpoint was saved.
      flops_per_step: of all devices; for utilisation.
      collapse_causes: what in the settings would explain a collapse, likeliest first.
    """

    def __init__(
        self,
        config: Any,
        workdir: epath.Path,
        *,
        total_steps: int,
        steps_per_epoch: float,
        batch_size: int,
        evaluations_left: Callable[[int], int] = lambda step: 0,
        start: int = 0,
        evaluated: bool = True,
        history: Mapping[str, Any] | None = None,
        flops_per_step: float = 0.0,
        collapse_causes: Sequence[str] = (),
    ):
        self._every = config.log.every_steps
        self._total, self._epoch = total_steps, steps_per_epoch
        self._evaluations_left, self._evaluations, self._warned = evaluations_left, [0.0], False
        self._path = workdir / METRICS_FILE
        self._main = parallel.is_main_process()
        self._pending: list[tuple[int, Metrics]] = []
        self._last_finite: dict[str, float] = {}
        history = history or {}
        self._throughput = Throughput(batch_size, flops_per_step, history)
        self._collapses = CollapseAlarm(total_steps, collapse_causes, history)
        self.seconds_before = float(history.get("seconds", 0.0))
        self._begin = time.perf_counter()
        if self._main:
            truncate(self._path, start, evaluated)
            self._file = GrowingFile(self._path)
        self._trackers: list[Tracker] = []
        if self._main and config.log.tensorboard:
            self._trackers.append(TensorBoard(workdir))
        if self._main and config.log.wandb:
            try:
                self._trackers.append(Wandb(workdir, config.to_dict()))
            except Exception as error:
                logging.warning("log.wandb: %s. Training goes on without it (wandb login?)", error)
        self._bar = tqdm.tqdm(
            total=total_steps,
            initial=start,
            disable=not (self._main and config.log.progress and _is_wide(sys.stderr)),
            unit="step",
            dynamic_ncols=True,
        )
        self._plain = self._main and config.log.progress and self._bar.disable

    def step(
        self, step: int, metrics: Metrics, waited: float, extra: Mapping[str, float], log: bool = False
    ) -> None:
        """Takes the metrics of the update that made the state's step `step`, still on the device.

        Args:
          step: the number of the update.
          metrics: of it.
          waited: seconds for which it waited for data.
          extra: numbers that stand beside them where the step is logged.
          log: logs it, whatever its number.

        Raises:
          NotFinite: if the loss or the gradient of this or an earlier step is NaN or infinite.
        """
        self._pending.append((step, metrics))
        if len(self._pending) > IN_FLIGHT:
            jax.block_until_ready(self._pending[-1 - IN_FLIGHT][1]["loss"])
        self._throughput.step(waited)
        progress.at_step(step, self._total, self.seconds_left(step))
        if log or step % self._every == 0 or step in (1, math.ceil(self._epoch), self._total):
            self._write_training(step, extra)
        self._bar.update()

    def flush(self) -> dict[str, float]:
        """Fetches all metrics that are still on the device, checks them, and returns the last."""
        pending, self._pending = self._pending, []
        for step, metrics in pending:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            for name, words in (("loss", "the loss"), ("grad_norm", "the norm of the gradient")):
                if not math.isfinite(values.get(name, 0.0)):
                    last = ", ".join(f"{name}={value:.4g}" for name, value in self._last_finite.items())
                    raise NotFinite(
                        f"{words} became {values[name]} at step {step} ({describe_lr(values)}). Last finite "
                        f"metrics: {last or 'none'}. The last good checkpoint stays; try a smaller optim.lr, a "
                        "longer warm-up or optim.clip_norm, in a new --workdir"
                    )
            self._last_finite = {"step": step, **values}
        return self._last_finite

    def _write_training(self, step: int, extra: Mapping[str, float]) -> None:
        values = {name: value for name, value in self.flush().items() if name != "step"}
        values |= {"epoch": step / self._epoch, **self._throughput.since_last(), **extra}
        of_all = {**extra, **{name: value for name, value in values.items() if name == "lr"}}
        if self._collapses(step, values) or self._collapses.evaluated(step, of_all):
            values["collapsed"] = 1.0
        self.write(step, values)
        parts = [f"epoch {values['epoch']:.1f}", f"loss {values['loss']:.4f}"]
        left = self.seconds_left(step)
        if left is not None:  # the first steps wait for much that is not training
            parts += [f"{values['images_per_second']:,.0f} images/s", f"{progress.in_words(left)} left"]
            self._warn_of_length(left)
        self._bar.set_postfix_str(", ".join(parts))
        if self._plain:
            self.say("  ".join([f"step {step}/{self._total}", *parts]))

    def seconds_left(self, step: int) -> float | None:
        """What training and evaluations will take from a step on; None after too few steps to tell."""
        each = self._throughput.seconds_per_step()
        if each is None:
            return None
        return (self._total - step) * each + self._evaluations_left(step) * self._evaluations[-1]

    def _warn_of_length(self, left: float) -> None:
        if left > DAYS * 86400 and not self._warned and jax.default_backend() == "cpu" and self._main:
            self._warned = True
            self.say(
                f"{progress.in_words(left)} on this CPU: this config is meant for accelerators; the presets `digits` "
                "and `small` take minutes on a CPU"
            )

    def evaluated(self, step: int, results: Mapping[str, float]) -> None:
        """Takes the results of an evaluation."""
        rate = {name: value for name, value in self._last_finite.items() if name == "lr"}
        alarmed = {"collapsed": 1.0} if self._collapses.evaluated(step, {**results, **rate}) else {}
        self.write(step, {**results, **alarmed})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one line to metrics.jsonl and tells the trackers."""
        if not self._main:
            return
        line = json.dumps({"step": step, **{k: float(v) for k, v in values.items()}})
        with self._writing():
            self._file.append(line)
        for tracker in list(self._trackers):
            try:
                tracker.write(step, values)
            except Exception as error:  # whatever a service says: training goes on without it
                self._trackers.remove(tracker)
                logging.warning("%s failed and gets no more: %s", type(tracker).__name__, error)

    def sync(self) -> None:
        """Returns when everything is where it belongs; what a checkpoint follows must be."""
        if self._main:
            with self._writing():
                self._file.sync()
            for tracker in self._trackers:
                tracker.sync()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise of_system(error, f"cannot write to {self._path}") from error

    def say(self, text: str) -> None:
        """Prints a line that does not break the progress bar."""
        if self._main:
            progress.say(text)

    @contextlib.contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Time in here does not count as training; waits for the device first.

        Args:
          what: is done; of what is 'evaluating' the time counts for what is left.
        """
        self.flush()
        self._throughput.stop()
        begin = time.perf_counter()
        try:
            with progress.doing(what):
                yield
        finally:
            if what == EVALUATING:
                self._evaluations.append(time.perf_counter() - begin)
            self._throughput.start()

    def state(self) -> dict[str, Any]:
        """The monitor's state for a checkpoint, so that totals go on after a resume."""
        seconds = self.seconds_before + time.perf_counter() - self._begin
        return {**self._throughput.state(), **self._collapses.state(), "seconds": seconds}

    def totals(self) -> dict[str, float]:
        """Throughput of the whole run, and whether the alarm of a collapse went off, for result.json."""
        return {**self._throughput.totals(), "collapsed": self._collapses.raised}

    def close(self) -> None:
        """Closes the progress bar and the trackers."""
        self._bar.close()
        self.sync()
        for tracker in self._trackers:
            tracker.close()


def _is_wide(stream: Any) -> bool:
    """Whether a stream is a terminal that a progress bar fits into; some report a width of 0."""
    return bool(stream.isatty()) and shutil.get_terminal_size((0, 0)).columns >= WIDTH
