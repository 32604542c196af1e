"""What the command lines share: a user's mistake is one line on stderr and exit status 2, not a traceback."""

from __future__ import annotations

import contextlib
import difflib
import logging as python_logging
import os
import pathlib
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from jssl import compile_cache
from jssl.errors import UserError, may_pass, of_system

DECODERS = ("PIL", "tifffile")  # that log by themselves


def run(
    main: Callable[[list[str]], None],
    required: Sequence[str] = (),
    expand: Callable[[Sequence[str]], list[str]] = list,
    positional: int = 0,
) -> None:
    """Parses flags and calls `main`; never returns.

    Args:
      main: takes the arguments that are no flags, after the program's name.
      required: flags that must be given.
      expand: puts others in the place of the arguments, before they are parsed.
      positional: how many arguments are no flags.
    """
    for name in ("stdout", "stderr"):  # a daemon may have none
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    python_logging.raiseExceptions = False  # nor does a log that cannot be written end anything
    compile_cache.use()
    if {"--help", "-h", "--helpshort"} & set(sys.argv[1:]):
        print(help_text(sys.modules["__main__"].__doc__ or ""))
        sys.exit(0)
    logging.set_verbosity(logging.WARNING)
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(Plain())
    python_logging.getLogger("asyncio").setLevel(python_logging.CRITICAL)
    warn_once_a_kind()
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda raised: (
        None if "Event loop is closed" in str(raised.exc_value) else unraisable(raised)
    )
    app.run(
        lambda argv: _guarded(main, argv),
        flags_parser=lambda argv: _parse(argv, required, expand, positional),
    )


class Plain(python_logging.Formatter):
    """What is logged, for the eyes of users: 'warning: ...', without a time and a place in the source."""

    def format(self, record: python_logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {super().format(record)}"


def check_out(out: pathlib.Path, overwrite: bool) -> None:
    """Refuses a file that cannot, or shall not, be written, before the work for it.

    Raises:
      UserError: if it is a folder, is there already, or its folder is missing or may not be written to.
    """
    if out.is_dir():
        raise UserError(f"--out={out} is a folder: name a file")
    if out.exists() and not overwrite:
        raise UserError(f"--out={out} is there already: choose another name or give --overwrite")
    if not out.parent.is_dir():
        raise UserError(f"--out={out}: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"--out={out}: the folder {out.parent} may not be written to")


def warn_once_a_kind() -> None:
    """Decoders warn of every odd file in other words: the first warning of a place in their code is enough."""
    seen: set[tuple[str, int]] = set()

    def is_first(path: str, line: int) -> bool:
        first = (path, line) not in seen
        seen.add((path, line))
        return first

    def show(message: Warning | str, category: type[Warning], path: str, line: int, *_: object) -> None:
        if is_first(path, line):
            logging.warning("%s: %s (said once)", category.__name__, " ".join(str(message).split()))

    warnings.showwarning = show  # type: ignore[assignment]
    logging.get_absl_handler().addFilter(
        lambda record: (
            record.name.partition(".")[0] not in DECODERS or is_first(record.pathname, record.lineno)
        )
    )


def help_text(usage: str) -> str:
    """The usage of a command line, its flags, and the shipped configs."""
    from jssl import config

    lines = [usage, "", flags.FLAGS.main_module_help()]
    if "config" in flags.FLAGS:
        presets = "digits, small or tiny, cifar10, imagenet, folder; --help_config prints the keys of one"
        lines += ["", f"configs: {' '.join(config.shipped_names())}", f"presets: {presets}"]
    return "\n".join(lines)


def _parse(
    argv: list[str], required: Sequence[str], expand: Callable[[Sequence[str]], list[str]], positional: int
) -> list[str]:
    try:
        argv[:] = expand(argv)  # sys.argv itself, in which ml_collections looks for --config.KEY=VALUE
        rest = flags.FLAGS([shipped(argument) for argument in argv])
        for name in required:
            if flags.FLAGS[name].value is None:
                raise UserError(f"--{name} is missing; see --help")
        _load_configs()
    except Exception as error:  # absl and ml_collections raise many kinds for a user's typo
        if isinstance(error, SystemExit):
            raise
        fail(_explained(error, argv))
    if len(rest) > 1 + positional:
        fail(f"unexpected argument {rest[1 + positional]!r}: options are written --name=value; see --help")
    return rest


def shipped(argument: str) -> str:
    """--config=NAME, with or without a preset, as the file of that shipped config; other arguments as they are."""
    flag, _, value = argument.partition("=")
    name, colon, preset = value.partition(":")
    if flag.lstrip("-") != "config" or not value:
        return argument
    from jssl import config

    if "/" in name or name.endswith(".py"):
        if not os.path.isfile(name):
            known = config.shipped_names()
            near = difflib.get_close_matches(os.path.basename(name).removesuffix(".py"), known, n=1)
            hint = (
                f": did you mean --config={near[0]}{colon}{preset}?"
                if near
                else f"; shipped are {', '.join(known)}"
            )
            raise UserError(f"there is no file {name}{hint}")
        return argument
    return f"{flag}={config.config_file(name)}{colon}{preset}"


def _load_configs() -> None:
    """ml_collections puts off the error of a config file that cannot be loaded; we do not."""
    if "config" in flags.FLAGS and flags.FLAGS["config"].value is not None:
        flags.FLAGS["config"].value.to_dict()


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    from jssl.parallel import heartbeat
    from jssl.train.signals import Interrupted

    try:
        main(argv)
    except UserError as error:
        if error.__cause__ is not None:
            heartbeat.check_others()
        heartbeat.leave(" ".join(str(error).split()), heartbeat.TRY_AGAIN if may_pass(error) else 2)
    except Interrupted as interrupted:
        from jssl import parallel

        if parallel.is_main_process():
            print(f"{interrupted}; run the same command again to go on", flush=True)
    except KeyboardInterrupt:
        heartbeat.leave("stopped at once: run the same command again to go on from the last checkpoint", 130)
    except BrokenPipeError:  # `| head`: whoever read has gone
        pass
    except OSError as error:
        if error.errno is None:
            raise
        heartbeat.leave(str(of_system(error)), heartbeat.TRY_AGAIN if may_pass(error) else 2)
    except Exception as error:
        if not heartbeat.watching():
            raise
        heartbeat.check_others()
        traceback.print_exc()
        heartbeat.leave(" ".join(f"{type(error).__name__}: {error}".split()), 1)
    heartbeat.stop()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
    )  # Python would flush it once more at its end


def _explained(error: BaseException, argv: Sequence[str]) -> str:
    """The mistake in one line: our own words if there are some, else a key that does not exist, else absl's words."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for link in reversed(chain):
        if isinstance(link, UserError):
            return str(link)
    if isinstance(chain[-1], KeyError):
        key = str(chain[-1].args[0])
        option = next((a for a in argv if key in a.partition("=")[0].split(".")), key)
        hints = [str(link.args[0]).partition("\n")[2] for link in chain if isinstance(link, KeyError)]
        return f"{option}: the config has no such key. {' '.join(hints).strip() or _nearest(option)}"
    return str(error)


def _nearest(option: str) -> str:
    """Keys of the schema that an option of --config may have meant; '' if there is none alike."""
    from jssl import config

    asked = option.partition("=")[0].lstrip("-").removeprefix("config.")
    keys = [
        key for key in config.flatten(config.defaults("simclr").to_dict()) if not key.startswith("encoder.")
    ]
    alike = config.nearest(asked, keys)
    return f"Did you mean {' or '.join(f'--config.{key}' for key in alike)}?" if alike else ""


def fail(message: str) -> NoReturn:
    """One line, exit status 2."""
    print(f"jssl: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(2)
