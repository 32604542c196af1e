"""Files that may lie in an object store (gs://, s3://): objects are written whole, there is no appending."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import IO, TypeAlias

from absl import logging
from etils import epath

from jssl.errors import UserError

Path: TypeAlias = pathlib.Path | epath.Path
SCHEMES = ("gs", "s3")
PART = ".part"
_UMASK = os.umask(0)
os.umask(_UMASK)
REWRITE_SECONDS = 30.0  # a growing object is written again at most this often


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of an object store."""
    return "://" in os.fspath(path)


def located(name: str) -> pathlib.Path | epath.Path:
    """The path that a name of the user's means."""
    return epath.Path(name) if is_remote(name) else pathlib.Path(name).expanduser()


def folder(name: str | os.PathLike[str], what: str = "--workdir") -> epath.Path:
    """A folder that is written to.

    Raises:
      UserError: for an address of another kind than those that are.
    """
    scheme, found, _ = os.fspath(name).partition("://")
    if found and scheme not in SCHEMES:
        raise UserError(
            f"{what}={os.fspath(name)}: give a local folder, or one in {'://, '.join(SCHEMES)}://"
        )
    return epath.Path(name)


def absolute(path: epath.Path) -> epath.Path:
    """The absolute path; object stores have no other, and epath would take theirs for relative ones."""
    return path if is_remote(path) else path.absolute()


def move(source: epath.Path, target: epath.Path) -> None:
    """Moves a folder to a place where nothing is; stores move object by object."""
    if is_remote(source):
        _copy(source, target)
        source.rmtree()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def _copy(source: epath.Path, target: epath.Path) -> None:
    for path in source.iterdir():
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            path.copy(target / path.name)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes all or nothing: an object appears when it is complete, a file is renamed when it is."""
    data = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        path.write_bytes(data)
        return
    with writing(path) as file:
        file.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A local file to write to, that takes its place when all is written, and goes when it is not.

    It has a new name of its own: whatever lies there by that name, a link that was planted, say, is not followed.
    """
    handle, part = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=PART, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(part, 0o666 & ~_UMASK)  # as a file that is simply opened
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def is_part(name: str) -> bool:
    """Whether a file is one of `writing` whose process was killed."""
    return name.startswith(".") and name.endswith(PART)


class GrowingFile:
    """A text file that grows by lines: a file at once, an object now and then and at `sync`."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._remote = is_remote(path)
        self._text = path.read_text() if self._remote and path.exists() else ""
        self._fresh = True  # the object has all lines
        self._written = time.monotonic()

    def append(self, line: str) -> None:
        """Adds a line; an object store that fails for the moment is no reason to stop."""
        if not self._remote:
            with self._path.open("a") as file:
                file.write(line + "\n")
            return
        self._text += line + "\n"
        self._fresh = False
        if time.monotonic() - self._written > REWRITE_SECONDS:
            try:
                self.sync()
            except Exception as error:
                logging.warning("cannot write %s for now: %s", self._path, error)
                self._written = time.monotonic()

    def sync(self) -> None:
        """Returns when all lines are in the store."""
        if not self._fresh:
            self._path.write_text(self._text)
            self._fresh, self._written = True, time.monotonic()


class LocalFolder:
    """A folder for libraries that write local files only; `sync` copies them to where they belong."""

    def __init__(self, target: epath.Path):
        self._target = target
        self._temporary = tempfile.mkdtemp(prefix="jssl_") if is_remote(target) else None
        self.path = str(target) if self._temporary is None else self._temporary

    def sync(self) -> None:
        """Copies what is there by now."""
        if self._temporary is None:
            return
        for source in pathlib.Path(self._temporary).rglob("*"):
            if source.is_file():
                target = self._target / str(source.relative_to(self._temporary))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())

    def close(self) -> None:
        """Copies for the last time."""
        self.sync()
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
