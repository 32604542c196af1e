"""Points at which a child process stops, or a file fails, for the test: none races against what it tests."""

import dataclasses
import errno
import functools
import importlib
import itertools
import os
import pathlib
import re
import signal
import sys
import time

from jssl.train.monitor import Monitor

KILL = -signal.SIGKILL
FILE_EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir")


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
class FailingFile:
    """The n-th operation on files below a folder fails in a child, as the system would have it fail, or kills it.

    Python tells its audit hooks of every open, rename, mkdir, remove and listing before it does it.

    Args:
      folder: of the files.
      number: which operation, from 0.
      code: of the error; KILL for the death of the child.
      log: a file that has a line for every operation; it is not one itself.
    """

    folder: pathlib.Path
    number: int
    code: int
    log: pathlib.Path

    def install(self):
        count, inside = itertools.count(), str(self.folder)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def hook(event, args):
            if event not in FILE_EVENTS or not args:
                return
            path = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes)) else ""
            if not path.startswith(inside):
                return
            number = next(count)
            os.write(log, f"{number} {event} {path}\n".encode())
            if number == self.number and self.code == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.number:
                raise OSError(self.code, os.strerror(self.code), path)

        sys.addaudithook(hook)


def stop_after(patch, step):
    """A run in this process gets SIGTERM in one of its steps."""
    took = Monitor.step

    def stepped(self, number, *args, **options):
        took(self, number, *args, **options)
        if number == step:
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(Monitor, "step", stepped)


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
