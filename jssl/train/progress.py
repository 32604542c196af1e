"""What is being done, and for how long still: a line at the latest every half minute."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator

import tqdm

SILENCE = 30.0  # seconds without a line after which there is one
_TICK = 1.0


def in_words(seconds: float) -> str:
    """A length of time with two units at most.

    Example:
      >>> from jssl.train import progress
      >>> progress.in_words(42.4), progress.in_words(150), progress.in_words(9000), progress.in_words(200_000)
      ('42 s', '2 min 30 s', '2 h 30 min', '2 d 7 h')
    """
    whole = round(seconds)
    for name, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def say(text: str) -> None:
    """Prints a line that does not break a progress bar; nothing where nobody reads any more."""
    with contextlib.suppress(OSError, ValueError):
        tqdm.tqdm.write(text)
        sys.stdout.flush()
    _announcer.spoke()


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """While something takes long, lines say what it is."""
    with _announcer.at(what):
        yield


@contextlib.contextmanager
def announced(enabled: bool) -> Iterator[None]:
    """Lines of what is being done, inside; without this, and where it is not enabled, `doing` is silent."""
    if not enabled or _announcer.running:
        yield
        return
    _announcer.start()
    try:
        yield
    finally:
        _announcer.stop()


@contextlib.contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """As `doing`, of so many images: what it gives is called with how many are done, and lines say how fast."""
    with _announcer.at(what, total) as task:
        yield task.done


def at_step(step: int, total: int, left: float | None) -> None:
    """Notes how far training is, for the lines, and how many seconds are left, if that can be told."""
    _announcer.base = f"step {step}/{total}" + ("" if left is None else f", {in_words(left)} left")


@dataclasses.dataclass
class _Task:
    """Something that takes long: since when, and how many of how many images it has done, if it counts them."""

    what: str
    since: float
    total: int = 0
    count: int = 0

    def done(self, count: int) -> None:
        self.count = count

    def line(self, now: float) -> str:
        passed = now - self.since
        if not self.count:
            return f"{self.what}: {in_words(passed)} so far"
        rate = self.count / max(passed, 1e-9)
        return f"{self.what}: {self.count:,} of {self.total:,} images, {rate:,.0f} images/s"


class _Announcer:
    """The thread that speaks when nobody else does."""

    def __init__(self) -> None:
        self.base = ""
        self.running = False
        self._doing: list[_Task] = []
        self._last = 0.0
        self._end = threading.Event()

    def start(self) -> None:
        self.running, self._last, self._end = True, time.monotonic(), threading.Event()
        threading.Thread(target=self._run, args=(self._end,), daemon=True, name="progress").start()

    def stop(self) -> None:
        self._end.set()
        self.running, self.base = False, ""

    def spoke(self) -> None:
        self._last = time.monotonic()

    @contextlib.contextmanager
    def at(self, what: str, total: int = 0) -> Iterator[_Task]:
        self._doing.append(_Task(what, time.monotonic(), total))
        try:
            yield self._doing[-1]
        finally:
            self._doing.pop()

    def line(self, now: float) -> str:
        """What to say: the innermost thing that is being done, else the step."""
        for task in reversed(self._doing):
            return task.line(now)
        return self.base

    def _run(self, end: threading.Event) -> None:
        while not end.wait(_TICK):
            now = time.monotonic()
            if now - self._last >= SILENCE and (text := self.line(now)):
                say(text)


_announcer = _Announcer()
