"""SIGTERM: save and stop, or stop at once where everything is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Interrupted(Exception):
    """SIGTERM came; the checkpoint of `step` is on disk."""

    def __init__(self, step: int):
        super().__init__(f"stopped at step {step}")
        self.step = step


@contextlib.contextmanager
def sigterm_noted() -> Iterator[threading.Event]:
    """An event that SIGTERM sets; outside the main thread signals are not ours to take."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def sigterm_stops(step: int) -> Iterator[None]:
    """SIGTERM raises Interrupted at once: everything is saved already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise Interrupted(step)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
