"""One kind of error for what the user can put right; the command lines print it as a single line."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """Says in one line what was wrong and what to do; no traceback is shown for it."""


class NotFinite(UserError):
    """Training ran into NaN or infinity."""


class TryAgain(UserError):
    """Nobody's mistake: the same command may well succeed."""


# What the system says where it may be otherwise in a moment; memory and file descriptors come back when others end.
PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EIO", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EBUSY", "EINTR", "ESTALE", "ENOTCONN", "ETIMEDOUT"),
        *(
            "ECONNRESET",
            "ECONNREFUSED",
            "ECONNABORTED",
            "ENETDOWN",
            "ENETUNREACH",
            "EHOSTUNREACH",
            "EREMOTEIO",
        ),
    )
    if hasattr(errno, name)
)
NO_ROOM = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, in turn."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def may_pass(error: BaseException) -> bool:
    """Whether nobody need do anything against an error: the same command may well succeed."""
    return any(
        isinstance(link, (MemoryError, TryAgain)) or (isinstance(link, OSError) and link.errno in PASSING)
        for link in causes(error)
    )


def of_system(error: OSError, what: str = "") -> UserError:
    """What the system says of a file, as a line that tells what to do.

    Args:
      error: with its errno.
      what: was done, 'cannot write to --workdir=runs/a'; by default the file's name stands there.
    """
    where = what or (shown(error.filename) if error.filename is not None else "a file")
    if error.errno in NO_ROOM:
        then = "make room and run the same command again"
    elif error.errno in FORBIDDEN:
        then = "see to its permissions"
    elif error.errno in PASSING:
        then = "it may pass: run the same command again"
    else:
        then = "see to its disk"
    return UserError(f"{where}: {error.strerror or error}: {then}")


def unknown(what: str, given: object, valid: Iterable[str]) -> UserError:
    """The error for a name that does not exist: the nearest valid one, and all of them."""
    names, given = sorted(valid), given if isinstance(given, str) else repr(given)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {what} {given!r}: {hint}valid are {', '.join(names)}")


def shown(name: object) -> str:
    """A file's name, or other text from outside, as it may be printed: what is no text, or moves a cursor, escaped."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Errors of the user within say where they are, as 'stage teacher: optim.lr=-1 must be positive'."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
