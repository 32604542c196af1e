"""Many runs of one config: each an ordinary run in a folder of its own, some at a time, one process each.

The sweep has no state but those folders: finished runs are skipped, others start or go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import ml_collections
from etils import epath
from matplotlib.figure import Figure

from jssl import storage
from jssl.errors import UserError, located, of_system
from jssl.report import pictures, sweep
from jssl.report.sweep import FAILED, FINISHED, WAITING, Ranking, Row
from jssl.runs import selection, workdir
from jssl.search_space import RandomSweep, Sweep, Trial, changed
from jssl.train import durations, progress

LOGS = "logs"  # folder of what the processes print
SUMMARY_FILE, HEAT_MAP_FILE = "sweep.json", "heat_map.png"
LAST_LINES = 5  # of a failed run that are shown
POLL_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Job:
    """A run of a sweep and its folder.

    Attributes:
      trial: what it is.
      config: of the run.
      folder: its workdir.
      flags: what jssl.main is called with, but for --workdir.
    """

    trial: Trial
    config: ml_collections.ConfigDict
    folder: epath.Path
    flags: tuple[str, ...]

    @property
    def last_folder(self) -> epath.Path:
        """Where its measurements lie: its folder, or that of its last stage."""
        return self.folder / self.config.order[-1] if self.config.order else self.folder

    def finished(self) -> bool:
        """Whether its folder holds a result."""
        return workdir.read_result(self.folder) is not None


def make_jobs(
    trials: Sequence[Trial], config: ml_collections.ConfigDict, flags: Sequence[str], out: epath.Path
) -> list[Job]:
    """The runs of a sweep, each checked as far as can be told without data; writes nothing.

    Args:
      trials: what differs.
      config: what they have in common.
      flags: that made this config, '--config=simclr:digits', '--config.total_epochs=5'.
      out: the folder of all.

    Raises:
      UserError: for a value that cannot be, runs that nothing held out would rank, or a folder that holds another run.
    """
    jobs = []
    for trial in trials:
        with located(trial.name):
            own = changed(config, trial.changes)
            _check_ranked(own.stages[own.order[-1]] if own.order else own)
            folder = out / trial.name
            workdir.check(folder, own)
            jobs.append(Job(trial, own, folder, _merged(flags, trial)))
    return jobs


def _merged(flags: Sequence[str], trial: Trial) -> tuple[str, ...]:
    """The flags of one run: of those that set the same key the last."""
    own = [f"--config.{key}={value}" for key, value in trial.changes.items()]
    last = {
        f"--{name.lstrip('-')}": value for name, _, value in (flag.partition("=") for flag in (*flags, *own))
    }
    return tuple(f"{name}={value}" for name, value in last.items())


def _check_ranked(config: ml_collections.ConfigDict) -> None:
    """Raises UserError for a run whose held-out images are never looked at during training."""
    every = [config.evals[f"every_{unit}"] for unit in durations.UNITS]
    if not config.data.holdout or not any(every) or config.evals.every_percent >= 100:
        raise UserError(
            "runs are ranked by images held out, evaluated during training: set data.holdout above 0 and one of "
            "evals.every_percent (below 100), every_epochs and every_steps"
        )


def command(job: Job) -> list[str]:
    """How a run is started, as by hand."""
    return [sys.executable, "-m", "jssl.main", *job.flags, f"--workdir={job.folder}"]


@dataclasses.dataclass
class _Child:
    """A run that is under way."""

    job: Job
    slot: int
    process: subprocess.Popen[bytes]
    log: pathlib.Path
    began: float
    asked: bool = False


def run(
    jobs: Sequence[Job],
    out: epath.Path,
    parallel: int = 1,
    gpus: Sequence[str] = (),
    stop: threading.Event | None = None,
    command: Callable[[Job], list[str]] = command,
) -> dict[str, str]:
    """Runs those that are not finished, some at a time.

    Args:
      jobs: all runs of the sweep.
      out: folder of all; what they print goes to files in its folder `logs`.
      parallel: processes at a time.
      gpus: which GPU each of these sees, in turn; () for all that there are.
      stop: when it is set, no run begins any more, and those under way are asked to save and end.
      command: starts a run.

    Returns:
      What the log of each failed run says at its end, by the run's name.

    Raises:
      UserError: if the folder cannot be written.
    """
    stop, failed, logs = stop or threading.Event(), dict[str, str](), _make_logs(out)
    waiting = [job for job in jobs if not job.finished()]
    total, done = len(jobs), len(jobs) - len(waiting)
    progress.say(f"{total} runs, {done} of them finished before; logs are in {logs}")
    running: list[_Child] = []
    with _ended(running):
        while running or (waiting and not stop.is_set()):
            while waiting and len(running) < parallel and not stop.is_set():
                running.append(_start(waiting.pop(0), running, logs, gpus, command))
            time.sleep(POLL_SECONDS)
            if stop.is_set():
                _ask_to_stop(running)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                done += child.job.finished()
                if not (child.job.finished() or stop.is_set()) and child.process.returncode:
                    failed[child.job.trial.name] = _last_lines(child.log)
                progress.say(_ending(child, f"{done} of {total}", child.job.trial.name in failed))
    return failed


def _make_logs(out: epath.Path) -> pathlib.Path:
    if storage.is_remote(out):
        raise UserError(f"--out={out} is no folder of this machine: take --print for machines that share it")
    logs = pathlib.Path(out) / LOGS
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise of_system(error, f"cannot write to --out={out}") from error
    return logs


def _start(
    job: Job,
    running: Sequence[_Child],
    logs: pathlib.Path,
    gpus: Sequence[str],
    command: Callable[[Job], list[str]],
) -> _Child:
    """Starts a run in a session of its own, so that the terminal's Ctrl-C reaches the sweep alone."""
    slot = next(slot for slot in range(len(running) + 1) if slot not in {child.slot for child in running})
    variables: Mapping[str, str] = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if gpus:
        variables = {**variables, "CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    log = logs / f"{job.trial.name}.txt"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command(job),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    return _Child(job, slot, process, log, time.monotonic())


def _ask_to_stop(running: Sequence[_Child]) -> None:
    """SIGTERM, once: a run then saves and ends; one that has just begun has nothing to save."""
    for child in running:
        if not child.asked:
            child.process.terminate()
            child.asked = True


@contextlib.contextmanager
def _ended(running: Sequence[_Child]) -> Iterator[None]:
    """No child is left behind, whatever ends the sweep: they go on from their last checkpoint."""
    try:
        yield
    finally:
        for child in running:
            child.process.kill()
        for child in running:
            child.process.wait()


def _ending(child: _Child, counted: str, failed: bool) -> str:
    """How a run ended, in a line."""
    name, took = child.job.trial.name, progress.in_words(time.monotonic() - child.began)
    if failed:
        return f"{name} failed after {took}, exit status {child.process.returncode}"
    return (
        f"{counted} finished: {name} ({took})" if child.job.finished() else f"{name} was stopped after {took}"
    )


def _last_lines(log: pathlib.Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])


def report(
    space: Sweep | RandomSweep,
    jobs: Sequence[Job],
    failed: Mapping[str, str],
    out: epath.Path,
    sizes: Sequence[int] = (),
    draws: int = 1000,
) -> Ranking:
    """Prints the table of a sweep, and writes sweep.json and, for the grid of two axes, a heat map.

    Args:
      space: what the runs are.
      jobs: the runs.
      failed: what those that failed said.
      out: folder of all.
      sizes: of small validation sets, in images of every class, that are compared with the whole one.
      draws: such sets.
    """
    found = sweep.rank(rows(jobs, failed))
    if out.exists():
        workdir.write_json(out / SUMMARY_FILE, sweep.summary(found, space.labels, failed))
        if found.score and isinstance(space, Sweep) and len(space.axes) == 2:
            pictures.save(heat_map(space, found), out / HEAT_MAP_FILE)
    progress.say(f"\n{sweep.table(found, space.labels)}")
    finished = [str(row.folder) for row in found.rows if row.status == FINISHED]
    if sizes and len(finished) > 1:
        progress.say(f"\n{selection.compare(finished, sizes, draws)}")
    for name, lines in failed.items():
        progress.say(f"\n{name} failed; {out / LOGS / name}.txt ends with\n{lines}")
    return found


def rows(jobs: Sequence[Job], failed: Mapping[str, str]) -> list[Row]:
    """What is known of every run, from its folder."""
    found = []
    for job in jobs:
        result = workdir.read_result(job.folder)
        status = FINISHED if result is not None else FAILED if job.trial.name in failed else WAITING
        found.append(Row(job.trial.name, job.trial.labels, job.last_folder, status, result or {}))
    return found


def heat_map(space: Sweep, found: Ranking) -> Figure:
    """The scores of the grid of two axes."""
    first, second = (list(axis.choices) for axis in space.axes)
    values = sweep.grid(found, first, second, space.unordered)
    title = f"{found.score} on held-out images"
    return sweep.heat_map(values, first, second, (space.labels[0], space.labels[1]), title, space.unordered)
