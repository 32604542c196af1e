"""The training loop; it reads top to bottom in the order of what happens."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import logging
from etils import epath

from jssl import parallel, storage
from jssl.data.pipeline import BadImages, DeviceIterator, DeviceStreams, TrainBatches
from jssl.errors import UserError
from jssl.methods.base import Extract
from jssl.train import checkpoint, progress
from jssl.train.checkpoint import Checkpointer
from jssl.train.metrics_file import METRICS_FILE, read_lines
from jssl.train.monitor import EVALUATING, Monitor
from jssl.train.profiler import Profiler
from jssl.train.program import Program
from jssl.train.signals import Interrupted, signals_stop
from jssl.train.state import TrainState
from jssl.types import Batch

BAD_FILES = "bad_files.txt"
Evaluate = Callable[[TrainState, Callable[[], bool]], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The outcome of training.

    Attributes:
      state: the final state.
      totals: throughput of the whole run.
      history: results of the evaluations during training, with their `step`.
      seconds_before: what earlier sessions of this run took, up to the checkpoint that this one began with.
    """

    state: TrainState
    totals: dict[str, float]
    history: list[dict[str, float]]
    seconds_before: float


def train(
    program: Program,
    batches: Mapping[str, TrainBatches],
    workdir: epath.Path,
    evaluate: Evaluate | None = None,
    on_first_batch: Callable[[Batch], None] | None = None,
    terminated: threading.Event | None = None,
    profile_steps: int = 0,
    begin: Callable[[Program, TrainState], TrainState] | None = None,
    extract: Extract | None = None,
) -> Trained:
    """Trains to the end, from the last checkpoint in the workdir if there is one.

    Args:
      program: from `make_program`.
      batches: the streams by name.
      workdir: checkpoints and metrics.jsonl go here.
      evaluate: called every `evals.every_*` with the state; its `score`, if any, chooses the best checkpoint. It may
        raise Interrupted where a second argument, a function that all processes must call together, says so.
      on_first_batch: called once with the first batch of the run, to draw it.
      terminated: set when the run shall save and stop, see `signals_noted`.
      profile_steps: a jax.profiler trace of so many steps goes to the workdir.
      extract: for methods that are refreshed, see `Method.refresh`.
      begin: changes the fresh state of a run that begins; not called when it goes on.

    Raises:
      Interrupted: after a signal, when the state is saved.
      UserError: if the loss is not finite, too many images are unreadable, or the disk is full.
    """
    config, clock = program.config, program.clock
    if program.refreshes and extract is None:
        raise ValueError(f"{type(program.method).__name__} is refreshed: give train() an extract")
    timer = Timer(config, clock)
    timer.check_nothing_lost(workdir)
    checkpointer = Checkpointer(
        workdir, config.checkpoint.keep_last, config.checkpoint.keep_best, timer.keep_every
    )
    record = workdir / BAD_FILES
    data = DeviceStreams({name: device_iterator(program, part, record) for name, part in batches.items()})
    state, extra = start_or_resume(program, checkpointer, begin)
    if extra:
        data.set_state(extra["data"])
    history: list[dict[str, float]] = extra.get("history", [])
    first, compile_seconds = int(state.step), 0.0
    due = evaluate is not None and first > 0 and timer.evaluates(first) and not _evaluated(history, first)
    if first < clock.total_steps:  # else only the closing evaluation is missing
        compile_start = time.perf_counter()
        with progress.doing("compiling the train step"):
            step_fn = program.compile()
        compile_seconds = time.perf_counter() - compile_start
    monitor = Monitor(
        config,
        workdir,
        total_steps=clock.total_steps,
        steps_per_epoch=clock.steps_per_epoch,
        batch_size=clock.batch_size,
        evaluations_left=timer.evaluations_left if evaluate is not None else lambda _: 0,
        start=first,
        evaluated=not due,
        history=extra.get("monitor"),
        flops_per_step=program.flops,
        collapse_causes=program.method.collapse_causes(),
    )
    monitor.say(
        f"compiled the train step in {compile_seconds:.1f} s; {first} of {clock.total_steps} steps done"
    )

    def evaluation(step: int) -> float | None:
        """The score of an evaluation during training."""
        assert evaluate is not None
        with monitor.paused(EVALUATING):
            results = evaluate(state, stops_now)
        score = results.pop("score", None)
        history.append({"step": step, **results})
        monitor.evaluated(step, results)
        return score

    signalled = parallel.SharedFlag(program.mesh)

    def stops(step: int) -> bool:
        """Whether a signal came, to any process; of several processes none waits to be told."""
        return step < clock.total_steps and signalled(terminated is not None and terminated.is_set())

    def stops_now() -> bool:
        """Whether a signal came, to any process; all wait for each other."""
        return parallel.any_process(terminated is not None and terminated.is_set())

    saved = [first]

    def save(step: int, score: float | None = None) -> None:
        monitor.flush()  # a state that is not finite is never saved
        monitor.sync()
        extra = {"data": data.get_state(), "monitor": monitor.state(), "history": history}
        checkpointer.save(step, state, extra, score)
        saved.append(step)

    with contextlib.ExitStack() as stack:
        stack.callback(checkpointer.close)
        stack.callback(monitor.close)
        profile = Profiler(profile_steps, first, workdir)
        stack.callback(profile.close)
        if first < clock.total_steps and stops_now():  # while it was compiled
            raise Interrupted(first or None)
        if due:  # a signal had put it off
            evaluation(first)
        for step in range(first + 1, clock.total_steps + 1):
            refreshed: Mapping[str, float] = {}
            if extract is not None and step - 1 in program.refreshes:
                try:
                    with monitor.paused("refreshing the method with features of all images"), at_once():
                        state, refreshed = program.refresh(state, extract)
                except Interrupted:  # it will be made again, of the same state
                    if step - 1 not in saved:
                        save(step - 1)
                    checkpointer.wait()
                    raise Interrupted(step - 1 or None) from None
            waiting = data.seconds_waiting
            batch = next(data)
            if step == 1 and on_first_batch is not None:
                with monitor.paused("drawing the first views"):
                    on_first_batch(batch)
            profile.before(step)
            state, metrics = step_fn(state, batch)
            more = {"bad_images": data.bad, **refreshed}
            monitor.step(step, metrics, data.seconds_waiting - waiting, more, log=bool(refreshed))
            stop, score = stops(step), None
            if evaluate is not None and timer.evaluates(step) and not stop:
                try:
                    score = evaluation(step)
                    stop = stops(step)
                except Interrupted:  # it is put off
                    stop = True
            if stop or timer.saves(step) or score is not None:
                with monitor.paused("saving a checkpoint"):
                    save(step, score)
            if stop:
                checkpointer.wait()
                raise Interrupted(step)
        monitor.flush()
        checkpointer.wait()
        totals = {**monitor.totals(), "compile_seconds": compile_seconds}
        return Trained(state, totals, history, monitor.seconds_before)


def at_once() -> contextlib.AbstractContextManager[None]:
    """A signal ends what is within; several processes go on, for none may leave the others waiting."""
    return signals_stop() if jax.process_count() == 1 else contextlib.nullcontext()


def _evaluated(history: list[dict[str, float]], step: int) -> bool:
    return bool(history) and history[-1]["step"] == step


def device_iterator(
    program: Program, batches: TrainBatches, record: epath.Path | None = None
) -> DeviceIterator:
    """The batches of a stream on the program's devices; unreadable images have a line each in the record."""
    data = program.config.data
    bad_images = BadImages(batches.source, data.max_bad_fraction, record)
    return DeviceIterator(batches, program.mesh, bad_images, data.workers, data.threads)


def start_or_resume(
    program: Program,
    checkpointer: Checkpointer,
    begin: Callable[[Program, TrainState], TrainState] | None = None,
) -> tuple[TrainState, dict[str, Any]]:
    """The state of the newest readable checkpoint, or a fresh one, changed by `begin`."""
    restored = checkpointer.restore(program.abstract_state())
    if restored is None:
        fresh = program.init()
        return fresh if begin is None else begin(program, fresh), {}
    state, extra = restored
    logging.info("resuming from step %d", int(state.step))
    return state, extra


class Timer:
    """When to evaluate, when to save; making one checks those settings."""

    def __init__(self, config: Any, clock: Any):
        self._total = clock.total_steps
        self._eval = clock.steps(config.evals, "every")
        self._save = clock.steps(config.checkpoint, "every")
        self.keep_every = clock.steps(config.checkpoint, "keep_every")
        if self.keep_every and (not self._save or self.keep_every % self._save):
            raise UserError(
                f"checkpoint.keep_every ({self.keep_every} steps) must be a multiple of "
                f"checkpoint.every ({self._save} steps)"
            )

    def check_nothing_lost(self, workdir: epath.Path) -> None:
        """Raises UserError if a run without a checkpoint has been so far that it must have had one.

        To be called before the folder of checkpoints is made, which comes before the first line of metrics.
        """
        path, folder = workdir / METRICS_FILE, workdir / checkpoint.FOLDER
        saved = folder.is_dir() and any(entry.name.isdigit() for entry in folder.iterdir())
        told_otherwise = (workdir / checkpoint.CORRUPT_FOLDER).is_dir()  # restoring says what became of them
        if saved or told_otherwise or not path.exists() or not parallel.is_main_process():
            return
        last = max((int(line["step"]) for line in read_lines(path)), default=0)
        saved_twice = self._save and last > 2 * self._save  # by the second save the first was whole
        removed = not folder.is_dir() and not storage.is_remote(folder)  # stores have no empty folders
        if last and (saved_twice or removed):
            raise UserError(
                f"{path} goes to step {last}, and there is no checkpoint any more: bring back {folder}, choose "
                "another --workdir, or remove that file to begin anew here"
            )

    def evaluates(self, step: int) -> bool:
        """The end is evaluated apart, on the test set."""
        return bool(self._eval) and step % self._eval == 0 and step < self._total

    def evaluations_left(self, step: int) -> int:
        """Evaluations after a step, the closing one too."""
        during = (self._total - 1) // self._eval - step // self._eval if self._eval else 0
        return max(0, during) + 1

    def saves(self, step: int) -> bool:
        """The last step always is saved."""
        return step == self._total or bool(self._save and step % self._save == 0)
