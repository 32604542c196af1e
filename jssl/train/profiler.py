"""A jax.profiler trace of some steps."""

from __future__ import annotations

import jax
from etils import epath

from jssl.storage import LocalFolder


class Profiler:
    """A jax.profiler trace of some steps, after those that warm up."""

    def __init__(self, steps: int, begin: int, workdir: epath.Path):
        self._first = begin + 4 if steps else -1
        self._last = self._first + steps
        self._workdir = workdir
        self._running = False

    def before(self, step: int) -> None:
        """Starts or stops the trace."""
        if step == self._first:
            self._folder = LocalFolder(self._workdir / "profile")
            jax.profiler.start_trace(self._folder.path)
            self._running = True
        elif step == self._last:
            self.close()

    def close(self) -> None:
        """Writes the trace if one is running."""
        if self._running:
            jax.profiler.stop_trace()
            self._folder.close()
            self._running = False
