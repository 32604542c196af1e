"""Points at which a child process stops for the test: no test races against the program that it tests."""

import dataclasses
import errno
import functools
import importlib
import pathlib
import re
import time


def wait_for(child, happened):
    """Waits for an event for as long as the child lives; tests/commands.py kills one that hangs."""
    while not happened():
        assert child.poll() is None, f"ended by itself: {child.errors() if hasattr(child, 'errors') else ''}"
        time.sleep(0.002)


def found(target):
    """Where a function 'module:name' or 'module:Class.method' is, its name there, and itself."""
    module, _, names = target.partition(":")
    *parents, name = names.split(".")
    owner = functools.reduce(getattr, parents, importlib.import_module(module))
    return owner, name, getattr(owner, name)


@dataclasses.dataclass(frozen=True)
class Forbidden:
    """A function that raises PermissionError in a child instead of doing anything."""

    target: str

    def install(self):
        owner, name, _ = found(self.target)

        def forbidden(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", "/forbidden/file")

        setattr(owner, name, forbidden)


@dataclasses.dataclass(frozen=True)
class Hold:
    """A call at which a child stops, until it is killed or `release` is called.

    Args:
      target: the function, 'module:name' or 'module:Class.method'; a function that was imported by name is held where
        it was imported.
      mark: a file that appears when the child stops there.
      call: only calls stop whose first two arguments, as text with a blank between them, match this expression.
      once: calls stop only when this file is there.
    """

    target: str
    mark: pathlib.Path
    call: str = ""
    once: pathlib.Path | None = None

    def install(self):
        """In the child, before its command line runs."""
        owner, name, function = found(self.target)

        @functools.wraps(function)
        def held(*args, **kwargs):
            if self._stops(args):
                self.mark.touch()
                while not self._released.exists():
                    time.sleep(0.002)
            return function(*args, **kwargs)

        setattr(owner, name, held)

    def _stops(self, args):
        there = self.once is None or self.once.exists()
        return there and re.search(self.call, " ".join(map(repr, args[:2]))) is not None

    @property
    def _released(self):
        return self.mark.with_suffix(".released")

    def wait(self, child):
        """Returns when the child has stopped there."""
        wait_for(child, self.mark.exists)

    def release(self):
        """Lets the child go on."""
        self._released.touch()
