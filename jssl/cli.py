"""What the command lines share: a user's mistake is one line on stderr and exit status 2, not a traceback."""

from __future__ import annotations

import logging as python_logging
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import ConfigDict

from jssl.errors import UserError


def run(main: Callable[[list[str]], None], required: Sequence[str] = ()) -> None:
    """Parses flags and calls `main`; never returns."""
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    python_logging.getLogger("orbax").setLevel(python_logging.ERROR)
    app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: _parse(argv, required))


def _parse(argv: list[str], required: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
        for name in required:
            if flags.FLAGS[name].value is None:
                raise UserError(f"--{name} is missing; see --help")
        _load_configs()
    except Exception as error:  # absl and ml_collections raise many kinds for a user's typo
        if isinstance(error, SystemExit):
            raise
        fail(_innermost(error))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}: options are written --name=value; see --help")
    return rest


def _load_configs() -> None:
    """ml_collections puts off the error of a config file that cannot be loaded; we do not."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, ConfigDict):
            value.to_dict()


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    from jssl.train import Interrupted

    try:
        main(argv)
    except UserError as error:
        fail(str(error))
    except Interrupted as interrupted:
        print(f"saved at step {interrupted.step}; run the same command again to go on", flush=True)


def _innermost(error: BaseException) -> str:
    """The first cause in one line: that is where the user's mistake is named."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return " ".join(text.replace("'\\", "'").split()) or type(error).__name__


def fail(message: str) -> None:
    """One line, exit status 2."""
    print(f"jssl: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(2)
