"""Settings: fields of dataclasses that a config may set, with the values that they may take."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jssl.errors import UserError, unknown

RULE = "rule"  # key of a field's metadata
TUPLES: dict[str, tuple[tuple[type, ...], str]] = {  # what their elements are, in words
    "tuple[int, ...]": ((int,), "whole numbers in parentheses, such as (2, 2) or (2,)"),
    "tuple[float, ...]": ((int, float), "numbers in parentheses, such as (0.6, 0.8) or (0.6,)"),
    "tuple[str, ...]": ((str,), "names in parentheses, such as ('first', 'second') or ('first',)"),
}
LARGEST = 2**31 - 1  # of a whole number: steps, positions and shapes are int32 on devices


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which values a setting may take.

    Attributes:
      low, high: the smallest and the largest value.
      open_low, open_high: whether these themselves are not allowed.
      choices: the only values; () for any.
      words: what a value 'must be', in a message; with choices, a hint.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[Any, ...] = ()
    words: str = ""

    def allows(self, value: Any) -> bool:
        """Whether a number is within the limits."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below  # NaN is neither


def _setting(default: Any, rule: Rule) -> Any:
    return dataclasses.field(default=default, metadata={RULE: rule})


def size(default: Any = dataclasses.MISSING, at_least: int = 1, at_most: int = LARGEST) -> Any:
    """A whole number of at least 1; without a default it must be given."""
    words = f"at least {at_least}" if at_most == LARGEST else f"from {at_least} to {at_most}"
    return _setting(default, Rule(low=at_least, high=at_most, words=words))


def count(default: int) -> Any:
    """A whole number of at least 0."""
    return _setting(default, Rule(low=0, words="at least 0"))


def positive(default: float) -> Any:
    """A number above 0."""
    return _setting(default, Rule(low=0, open_low=True, high=math.inf, open_high=True, words="positive"))


def weight(default: float) -> Any:
    """A number of at least 0."""
    return _setting(default, Rule(low=0, high=math.inf, open_high=True, words="at least 0"))


def fraction(default: float) -> Any:
    """A number in [0, 1]."""
    return _setting(default, Rule(low=0, high=1, words="in [0, 1]"))


def part(default: float) -> Any:
    """A number in [0, 1)."""
    return _setting(default, Rule(low=0, high=1, open_high=True, words="at least 0 and less than 1"))


def part_above(default: float) -> Any:
    """A number in (0, 1]."""
    return _setting(default, Rule(low=0, open_low=True, high=1, words="above 0 and at most 1"))


def at_least_one(default: float) -> Any:
    """A number of at least 1."""
    return _setting(default, Rule(low=1, high=math.inf, open_high=True, words="at least 1"))


def within(default: float, low: float, high: float) -> Any:
    """A number from low to high, or a whole number if the field is an int."""
    return _setting(default, Rule(low=low, high=high, words=f"from {low:g} to {high:g}"))


def sizes(default: Any = dataclasses.MISSING) -> Any:
    """A tuple of whole numbers of at least 1, at least one of them; without a default it must be given."""
    return _setting(default, Rule(low=1, words="a tuple of whole numbers of at least 1, such as (2, 2)"))


def choice(default: Any, choices: Sequence[Any], hint: str = "") -> Any:
    """One of some values; the hint ends the message about another one."""
    return _setting(default, Rule(choices=tuple(choices), words=hint))


def check(settings: Any) -> None:
    """Raises UserError if a field of a dataclass has a value of the wrong type or outside of its rule.

    For `__post_init__`: the message begins with the field's name, and `make` puts before it where it stands.
    """
    for field in dataclasses.fields(settings):
        check_value(field.name, getattr(settings, field.name), field)


def check_value(key: str, value: Any, field: dataclasses.Field[Any]) -> None:
    """Raises UserError if a value of one field is of the wrong type or outside of its rule."""
    rule: Rule | None = field.metadata.get(RULE)
    kind = str(field.type)
    if kind == "bool" and not isinstance(value, bool):
        raise UserError(f"{key}={value!r} must be True or False")
    if kind == "str" and not isinstance(value, str):
        raise UserError(f"{key}={value!r} must be text")
    if kind in TUPLES:
        check_elements(key, value, kind, rule.words if rule else "")
    for number in value if isinstance(value, tuple) else (value,):
        if type(number) is int and abs(number) > LARGEST:
            raise UserError(f"{key}={value!r} must be at most {LARGEST}")
    if rule is None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)
        if kind == "float" and not number:
            raise UserError(f"{key}={value!r} must be a finite number")
        return
    if rule.choices:
        if not any(type(value) is type(other) and value == other for other in rule.choices):
            error = unknown(key, str(value), map(str, rule.choices))
            raise UserError(f"{error}; {rule.words}" if rule.words else str(error))
        return
    if kind in TUPLES:
        if not value or not all(map(rule.allows, value)):
            raise UserError(f"{key}={value!r} must be {rule.words}")
        return
    whole = kind == "int"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise UserError(f"{key}={value!r} must be a {'whole ' if whole else ''}number")
    if not rule.allows(value):
        raise UserError(f"{key}={value} must be {rule.words}")


def check_elements(key: str, value: Any, kind: str = "tuple[float, ...]", words: str = "") -> None:
    """Raises UserError unless a value is a tuple of the elements that its kind names; the words say what it must be."""
    elements, example = TUPLES[kind]
    if not isinstance(value, tuple) or not all(type(x) in elements and is_finite(x) for x in value):
        raise UserError(f"{key}={value!r} must be {words or example}")


def is_finite(value: Any) -> bool:
    """Whether a value is no number, or a finite one; whole ones may be beyond floats."""
    return not isinstance(value, int | float) or -math.inf < value < math.inf


def make(kind: type[Any], settings: Mapping[str, Any], prefix: str, **injected: Any) -> Any:
    """An instance of a dataclass from a section of a config.

    Args:
      kind: the dataclass.
      settings: its fields by name.
      prefix: of their keys in messages.
      injected: fields that no config sets; those that the class does not have are left out.

    Raises:
      UserError: for a key that is no field (the nearest one is named), or a value that cannot be.
    """
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for key in settings:
        if key not in fields or key in injected:
            raise unknown(f"key of {prefix}", str(key), fields.keys() - injected.keys())
    for key, field in fields.items():
        if key in settings:
            check_value(f"{prefix}.{key}", settings[key], field)
        elif key not in injected and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{prefix}.{key} is missing: it has no default")
    try:
        return kind(**{key: value for key, value in injected.items() if key in fields}, **settings)
    except UserError as error:
        raise UserError(f"{prefix}.{error}") from None


def defaults(kind: type[Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Every field of a dataclass that has a default, with it: a section of a config."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.name in without or not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def documented(kind: type[Any]) -> dict[str, str]:
    """The description of each field in the docstrings of a dataclass and of those it extends, in one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = base.__dict__.get("__doc__") or ""
        _, _, rest = text.partition("Attributes:\n" if "Attributes:\n" in text else "Args:\n")
        for names, words in re.findall(r"^ {6}([\w, ]+): (.*(?:\n {8,}.*)*)", rest, re.MULTILINE):
            line = " ".join(words.split())
            found |= dict.fromkeys((name.strip() for name in names.split(",")), line)
    return found


def allowed(field: dataclasses.Field[Any]) -> str:
    """Which values a field may take, in words; '' for any of its type."""
    rule: Rule | None = field.metadata.get(RULE)
    if rule is None:
        return ""
    return f"one of {', '.join(map(str, rule.choices))}" if rule.choices else rule.words
