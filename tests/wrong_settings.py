"""Every key of every config with values that are wrong, or as large or as small as can be.

Each must be a config that can be built, or one line that says what is wrong: python -m tests.wrong_settings [CONFIG]
"""

import dataclasses
import math
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from jssl import config as schema
from jssl import get_config
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.train import loop
from jssl.train.program import make_program

INFO = DataInfo(num_examples=1437, image_shape=(8, 8, 1), channels=1, num_classes=10, num_labeled=1437)
COLORS = dataclasses.replace(INFO, image_shape=(8, 8, 3), channels=3)
WRONG: dict[type, tuple[Any, ...]] = {
    bool: ("yes", 2),
    int: (-1, 0, 0.5, 2**40, 10**20, "x"),
    float: (-1.0, 0.0, math.nan, math.inf, 1e308, 1e-300, "x"),
    str: ("", "nonsense", "/", 3),
    tuple: ((), ("x",), (-1,), (0,), (2**70,), (math.nan,), (1,) * 50, "x"),
}


def wrong_settings(name: str, tried: set[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    """(key, wrong value) of a shipped config; what is in `tried` is left out, what is given is added."""
    config = get_config(name)
    for key, value in schema.flatten(config.to_dict()).items():
        place = f"{config.get('method', {}).get('name')}.{key}" if key.startswith("method.") else key
        for wrong in WRONG.get(type(value), ()):
            if (place, repr(wrong)) not in tried:
                tried.add((place, repr(wrong)))
                yield key, wrong


def fault(name: str, key: str, wrong: Any) -> str:
    """What goes wrong with one wrong value other than a line for the user; '' for nothing."""
    config = get_config(name)
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    with place.ignore_type():
        place[last] = wrong
    try:
        schema.validate(config)
        if not config.order:
            info = COLORS if config.data.color_space == "lab" else INFO
            loop.Timer(config, make_program(config, info).clock)
    except UserError as error:
        text = str(error)
        return "" if text and "\n" not in text else f"{key}={wrong!r}: not one line: {text!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"{key}={wrong!r}: {type(error).__name__}: {str(error)[:80]!r} at {where.filename}:{where.lineno}"
        )
    return ""


def main() -> None:
    tried: set[tuple[str, str]] = set()
    count = wrong = 0
    for name in sys.argv[1:] or schema.shipped_names():
        for key, value in wrong_settings(name, tried):
            count += 1
            found = fault(name, key, value)
            if found:
                wrong += 1
                print(f"{name}: {found}", flush=True)
    print(f"{count} settings tried, {wrong} faults")


if __name__ == "__main__":
    main()
