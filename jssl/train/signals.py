"""SIGTERM, Ctrl-C and a closed terminal: save and stop, or stop at once where everything is saved."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(Exception):
    """A signal came, and all that the run has done is on disk: up to `step`, if steps were taken."""

    def __init__(self, step: int | None = None):
        super().__init__("stopped" if step is None else f"saved at step {step}")
        self.step = step


@contextlib.contextmanager
def signals_noted() -> Iterator[threading.Event]:
    """An event that the first signal sets; a second Ctrl-C is Python's own."""
    event = threading.Event()

    def note(number: int) -> None:
        if event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            print(
                "\nstopping: saving after this step; Ctrl-C again stops at once", file=sys.stderr, flush=True
            )
        event.set()

    with _handled(note):
        yield event


@contextlib.contextmanager
def signals_stop(step: int | None = None) -> Iterator[None]:
    """A signal raises Interrupted at once: there is nothing that is not saved."""

    def stop(_: int) -> None:
        raise Interrupted(step)

    with _handled(stop):
        yield


@contextlib.contextmanager
def _handled(handle: Callable[[int], None]) -> Iterator[None]:
    """Signals go to a function; outside the main thread they are not ours to take."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, _: handle(number)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
