"""One kind of error for what the user can put right; the command lines print it as a single line."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """Says in one line what was wrong and what to do; no traceback is shown for it."""


def unknown(what: str, given: str, valid: Iterable[str]) -> UserError:
    """The error for a name that does not exist: the nearest valid one, and all of them."""
    names = sorted(valid)
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


def check_numbers(name: str, values: object, otherwise: str = "") -> None:
    """Raises UserError unless the value of a config key is a tuple of numbers."""
    if not isinstance(values, tuple) or not all(type(value) in (int, float) for value in values):
        raise UserError(
            f"{name}={values!r} must be numbers in parentheses: (1,) or (1, 10) {otherwise}".rstrip()
        )
