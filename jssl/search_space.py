"""The runs of a sweep: every combination of some choices, or random draws, as changes of one config.

Sweep, Axis                 what a file of configs/sweeps/ returns
parse_grid, parse_random    the same from a line such as "optim.lr=.03,.1; optim.weight_decay=1e-4,1e-3"
open_sweep                  a sweep by name, 'augmentations:small', or from a file
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import itertools
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_collections
import numpy as np

from jssl.config import configs_folder, flatten, nearest, validate
from jssl.errors import UserError, located, unknown

Changes = Mapping[str, Any]  # values by key, 'optim.lr'
RANGE = re.compile(r"(log|uniform)\(([^,()]+),([^,()]+)\)")
LONGEST_NAME = 200  # bytes of a folder's name, of which file systems allow 255


@dataclasses.dataclass(frozen=True)
class Axis:
    """What differs along one side of a grid.

    Attributes:
      label: its short name, in folders and tables.
      choices: what each choice changes, by its short name.
    """

    label: str
    choices: Mapping[str, Changes]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
      name: of its folder, from what differs.
      labels: its choice on every axis.
      changes: of the config, beside what all runs have in common.
    """

    name: str
    labels: tuple[str, ...]
    changes: Changes


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Every combination of the choices of some axes.

    Attributes:
      axes: of the grid.
      config: which config they change, 'simclr:small' or a file; '' where the command line says it.
      changes: what all runs have in common, beside that config; a command line may set it otherwise.
      unordered: two axes have the same choices, a pair is one run whatever its order, and the heat map has the mean of
        each row beside it.

    Raises:
      UserError: for axes without choices, of one name, or of two kinds where they must be the same.

    Example:
      >>> from jssl.search_space import Axis, Sweep
      >>> rates = {"low": {"optim.lr": 0.1}, "high": {"optim.lr": 1.0}}
      >>> [trial.name for trial in Sweep((Axis("rate", rates),)).trials()]
      ['rate=low', 'rate=high']
    """

    axes: tuple[Axis, ...]
    config: str = ""
    changes: Changes = dataclasses.field(default_factory=dict)
    unordered: bool = False

    def __post_init__(self) -> None:
        if not self.axes or not all(axis.choices for axis in self.axes):
            raise UserError("a sweep has at least one axis, and every axis at least one choice")
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"two axes have one name: {', '.join(self.labels)}")
        each = [dict(axis.choices) for axis in self.axes]
        if self.unordered and (len(each) != 2 or each[0] != each[1]):
            raise UserError("an unordered sweep has two axes, of the same choices")

    @property
    def keys(self) -> set[str]:
        """The keys that differ between its runs."""
        return {key for axis in self.axes for each in axis.choices.values() for key in each}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its axes."""
        return tuple(axis.label for axis in self.axes)

    def trials(self) -> list[Trial]:
        """Its runs, the last axis the fastest."""
        found = []
        for labels in itertools.product(*(axis.choices for axis in self.axes)):
            places = [list(axis.choices).index(label) for axis, label in zip(self.axes, labels)]
            if self.unordered and places != sorted(places):
                continue
            parts = [axis.choices[label] for axis, label in zip(self.axes, labels)]
            changes = {key: value for part in parts for key, value in part.items()}
            found.append(Trial(_name(self.labels, labels), labels, changes))
        return _named_apart(found)


@dataclasses.dataclass(frozen=True)
class RandomSweep:
    """Random draws from ranges. Draw i depends on the seed and i only: more of them leave the first as they were.

    Attributes:
      ranges: by key, a function of NumPy's generator that draws a value.
      count: of draws; those that come twice are one run.
      seed: of the draws.
    """

    ranges: Mapping[str, Callable[[np.random.Generator], Any]]
    count: int
    seed: int = 0

    @property
    def keys(self) -> set[str]:
        """The keys that differ between its runs."""
        return set(self.ranges)

    @property
    def labels(self) -> tuple[str, ...]:
        """The short names of its keys."""
        return tuple(short_names(self.ranges).values())

    def trials(self) -> list[Trial]:
        """Its runs, in the order of the draws."""
        found: dict[str, Trial] = {}
        for number in range(self.count):
            rng = np.random.default_rng((self.seed, number))
            changes = {key: draw(rng) for key, draw in self.ranges.items()}
            labels = tuple(map(shown, changes.values()))
            name = _name(self.labels, labels)
            found.setdefault(name, Trial(name, labels, changes))
        return _named_apart(found.values())


def _name(axes: Iterable[str], labels: Iterable[str]) -> str:
    """The folder of a run: 'lr=0.1_strides=1x2'."""
    plain = (label.strip("()").rstrip(",").replace(",", "x") for label in labels)
    text = "_".join(f"{axis}={label}" for axis, label in zip(axes, plain))
    return re.sub(r"[^\w.=+%-]+", "-", text)


def _named_apart(trials: Iterable[Trial]) -> list[Trial]:
    """The trials, if each has a folder of its own."""
    found = list(trials)
    names = [trial.name for trial in found]
    for trial in found:
        if names.count(trial.name) > 1:
            raise UserError(
                f"two runs of the sweep would have the folder {trial.name}: name their choices apart"
            )
        if len(trial.name.encode()) > LONGEST_NAME:
            raise UserError(
                f"the folder {trial.name[:40]}... would have too long a name: write the sweep as a file whose choices "
                "have short names, see docs/sweeps.md"
            )
    return found


def shown(value: Any) -> str:
    """A value as it stands in tables and folders.

    Example:
      >>> from jssl.search_space import shown
      >>> shown(1e-4), shown(0.30000000000000004), shown((2, 2)), shown("adamw")
      ('0.0001', '0.3', '(2,2)', 'adamw')
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else repr(value).replace(" ", "")


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The shortest endings of keys that tell them apart.

    Example:
      >>> from jssl.search_space import short_names
      >>> short_names(["optim.lr", "evals.sgd.lr", "seed"])
      {'optim.lr': 'optim.lr', 'evals.sgd.lr': 'sgd.lr', 'seed': 'seed'}
    """
    parts = {key: key.split(".") for key in keys}
    found = {}
    for key, own in parts.items():
        lengths = (
            n
            for n in range(1, len(own) + 1)
            if all(other[-n:] != own[-n:] for name, other in parts.items() if name != key)
        )
        found[key] = ".".join(own[-next(lengths, len(own)) :])
    return found


def parse_grid(text: str, config: ml_collections.ConfigDict) -> Sweep:
    """A grid from a line.

    Args:
      text: 'KEY=VALUE,VALUE; KEY=VALUE,...'.
      config: that it changes.

    Raises:
      UserError: for a key that there is not, or a line that is no grid.

    Example:
      >>> from jssl import get_config
      >>> from jssl.search_space import parse_grid
      >>> sweep = parse_grid("optim.lr=.1,.3; seed=0,1", get_config("simclr:digits"))
      >>> [trial.name for trial in sweep.trials()][:2]
      ['lr=0.1_seed=0', 'lr=0.1_seed=1']
    """
    texts = _keys_and_texts(text, "--grid")
    names = short_names(texts)
    axes = []
    for key, each in texts.items():
        for one in each:
            if RANGE.fullmatch(one):
                raise UserError(f"--grid: {key}={one} is a range, from which --random=N draws")
        values = [parse_value(key, one, config) for one in each]
        choices = {shown(value): {key: value} for value in values}
        if len(choices) < len(values):
            raise UserError(f"--grid: {key} has one value twice")
        axes.append(Axis(names[key], choices))
    return Sweep(tuple(axes))


def parse_random(text: str, config: ml_collections.ConfigDict, count: int, seed: int = 0) -> RandomSweep:
    """Random draws from a line of ranges.

    Args:
      text: 'KEY=log(LOW,HIGH); KEY=uniform(LOW,HIGH); KEY=VALUE,VALUE'. Draws have three digits; whole numbers of
        keys that are whole numbers; values are drawn alike.
      config: that they change.
      count: of draws.
      seed: of the draws.

    Raises:
      UserError: for a key that there is not, or a range that is none.

    Example:
      >>> from jssl import get_config
      >>> from jssl.search_space import parse_random
      >>> sweep = parse_random("optim.lr=log(1e-4,1e-1)", get_config("simclr"), count=2)
      >>> all(1e-4 <= trial.changes["optim.lr"] <= 1e-1 for trial in sweep.trials())
      True
    """
    if count < 1:
        raise UserError(f"--random={count} must be at least 1")
    ranges = {}
    for key, texts in _keys_and_texts(text, "--grid").items():
        found = RANGE.fullmatch(texts[0]) if len(texts) == 1 else None
        ranges[key] = _range(key, found, config) if found else _choice(key, texts, config)
    return RandomSweep(ranges, count, seed)


def _range(
    key: str, found: re.Match[str], config: ml_collections.ConfigDict
) -> Callable[[np.random.Generator], Any]:
    kind, whole = found[1], type(value_of(config, key)) is int
    try:
        low, high = float(found[2]), float(found[3])
    except ValueError:
        raise UserError(f"--grid: {key}={found[0]} takes two numbers, such as {kind}(1e-4,1e-1)") from None
    if not -math.inf < low < high < math.inf or (kind == "log" and low <= 0):
        least = ", the first above 0" if kind == "log" else ""
        raise UserError(f"--grid: {key}={found[0]} must go from a smaller number to a larger one{least}")
    ends = (math.log(low), math.log(high)) if kind == "log" else (low, high)

    def draw(rng: np.random.Generator) -> Any:
        drawn = rng.uniform(*ends)
        value = math.exp(drawn) if kind == "log" else drawn
        return round(value) if whole else min(max(float(f"{value:.3g}"), low), high)

    return draw


def _choice(
    key: str, texts: list[str], config: ml_collections.ConfigDict
) -> Callable[[np.random.Generator], Any]:
    values = [parse_value(key, text, config) for text in texts]
    return lambda rng: values[int(rng.integers(len(values)))]


def _keys_and_texts(text: str, flag: str) -> dict[str, list[str]]:
    """'a=1,2; b=(3,4)' as {'a': ['1', '2'], 'b': ['(3,4)']}."""
    found: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, _split(text, ";"))):
        key, equals, values = (word.strip() for word in part.partition("="))
        texts = [value.strip() for value in _split(values, ",")]
        if not (key and equals and all(texts)):
            raise UserError(f"{flag}: {part!r} must be KEY=VALUE,VALUE,...; keys are apart by ';'")
        if key in found:
            raise UserError(f"{flag}: {key} is there twice")
        found[key] = texts
    if not found:
        raise UserError(f"{flag} names no key: --grid='optim.lr=.03,.1; optim.weight_decay=1e-4,1e-3'")
    return found


def _split(text: str, mark: str) -> list[str]:
    """Parts of a text between marks that are not within parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def value_of(config: ml_collections.ConfigDict, key: str) -> Any:
    """What a config has under a key, 'optim.lr'.

    Raises:
      UserError: for a key that there is not; it names the nearest.
    """
    keys = flatten(config.to_dict())
    if key not in keys:
        alike = nearest(key, keys)
        inside = [name for name in keys if name.startswith(f"{key}.")]
        hint = f"it is a section: {', '.join(inside[:3])}, ..." if inside else ""
        hint = hint or (f"did you mean {' or '.join(alike)}?" if alike else "see --help_config of jssl.main")
        raise UserError(f"the config has no key {key!r}: {hint}")
    return keys[key]


def parse_value(key: str, text: str, config: ml_collections.ConfigDict) -> Any:
    """A value of a key as it is written on a command line; `changed` tells whether the key may have it.

    Raises:
      UserError: for a key that there is not.
    """
    now = value_of(config, key)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    value: Any = text[1:-1] if quoted and isinstance(now, str) else text
    if not isinstance(now, str):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError):
            value = {"true": True, "false": False}.get(text.lower(), text)
    if isinstance(now, float) and type(value) is int:
        value = float(value)
    return value


def changed(config: ml_collections.ConfigDict, changes: Changes) -> ml_collections.ConfigDict:
    """A copy of a config with some keys changed, validated.

    Raises:
      UserError: for a key that there is not, or values that cannot be.
    """
    copy = ml_collections.ConfigDict(config.to_dict())
    for key, value in changes.items():
        value_of(config, key)
        *parents, last = key.split(".")
        place = copy
        for parent in parents:
            place = place[parent]
        with place.ignore_type():
            place[last] = value
    validate(copy)
    return copy


def sweep_names() -> list[str]:
    """The names of the shipped sweeps."""
    folder = configs_folder() / "sweeps"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def open_sweep(spec: str) -> Sweep:
    """A shipped sweep by name, or one of a file that has `get_sweep`; with a preset after a colon.

    Raises:
      UserError: for a name, a file or a preset that there is not.

    Example:
      >>> from jssl.search_space import open_sweep
      >>> len(open_sweep("augmentations:digits").trials())
      28
    """
    name, colon, preset = spec.partition(":")
    if name.endswith(".py"):
        module = _from_file(name)
    elif name in sweep_names():
        module = importlib.import_module(f"jssl.configs.sweeps.{name}")
    else:
        raise unknown("sweep", name, sweep_names())
    with located(f"--sweep={spec}"):
        sweep = module.get_sweep(preset) if colon else module.get_sweep()
    if not isinstance(sweep, Sweep):
        raise UserError(f"--sweep={spec}: get_sweep must return a jssl.search_space.Sweep, not {sweep!r}")
    return sweep


def _from_file(name: str) -> Any:
    path = pathlib.Path(name)
    if not path.is_file():
        raise UserError(f"--sweep={name}: there is no such file; shipped are {', '.join(sweep_names())}")
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"--sweep={name} cannot be read: {type(error).__name__}: {error}") from error
    if not hasattr(module, "get_sweep"):
        raise UserError(f"--sweep={name} has no function get_sweep, see docs/sweeps.md")
    return module
