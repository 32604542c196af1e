"""The schema of a config in words: docs/config.md, and what --help_config prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import ml_collections

from jssl import evaluation, methods, models, settings
from jssl.config import SECTIONS, Group, Top, flatten
from jssl.data.augment.view_spec import ViewSpec


def documented() -> Iterator[tuple[str, str, Any, str, str]]:
    """Every key of the schema: the section it stands in, its name, its default, what it may be, and what it is."""
    kinds: dict[str, Any] = {"": Top, **SECTIONS, "optim.groups.NAME": Group}
    kinds |= {"data.STREAM.views.NAME": ViewSpec}
    kinds |= {f"encoder.{name}": kind for name, kind in models.FAMILIES.items()}
    kinds |= {f"evals.{name}": kind for name, kind in evaluation.EVALUATORS.items()}
    kinds |= {"method.terms.NAME": methods.Term}
    kinds |= {f"method ({name})": kind for name, kind in methods.METHODS.items()}
    options = models.encoder_defaults()
    for path, kind in kinds.items():
        words, values = settings.documented(kind), settings.defaults(kind)
        for field in dataclasses.fields(kind):
            if path.startswith("method") and field.name in (*methods.INJECTED_FIELDS, "method"):
                continue
            if path.startswith("encoder.") and field.name not in options[path.removeprefix("encoder.")]:
                continue
            yield path, field.name, values.get(field.name), settings.allowed(field), words.get(field.name, "")
        for length in getattr(kind, "lengths", ()):
            given = f"{length.percent:g} percent" if length.percent else "none"
            yield (
                path,
                f"{length.name}_epochs, _steps, _examples, _percent",
                given,
                "one of them",
                length.words,
            )


def page() -> str:
    """The schema as a page of Markdown: docs/config.md."""
    lines = [
        "# Config keys",
        "",
        "Made by `python -m jssl.config_help > docs/config.md` from the dataclasses of `jssl/config.py`, of methods,",
        "encoders and evaluators: do not edit. `python -m jssl.main --config=simclr --help_config` prints the keys of",
        "one config with their values.",
    ]
    last = None
    for path, name, default, rule, words in documented():
        if path != last:
            lines += [
                "",
                f"## {path or 'the run'}",
                "",
                "| key | default | range | what it is |",
                "|---|---|---|---|",
            ]
            last = path
        cells = (f"`{name}`", "" if default is None else f"`{default!r}`", rule, words)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def describe(config: ml_collections.ConfigDict) -> str:
    """Every key of a config with its value and what it is: what `--help_config` prints."""
    known = {"method.name": ("", "the method, or the term, whose keys stand beside it")}
    for path, names, _, rule, words in documented():
        first, *units = names.split(", ")
        stem = first.removesuffix("_epochs")
        for name in (first, *(stem + unit for unit in units)):
            known[f"{path}.{name}" if path else name] = (rule, words)
    lines = []
    for key, value in flatten(config.to_dict()).items():
        rule, words = known.get(_generic(key, config), ("", ""))
        lines.append(
            f"--config.{key}={value!r}" + (f"\n    {words}" if words else "") + (f" ({rule})" if rule else "")
        )
    return "\n".join(lines)


def _generic(key: str, config: ml_collections.ConfigDict) -> str:
    """The key as the schema has it: views and groups without their names, settings of the method with its name."""
    parts = key.split(".")
    if parts[0] == "stages" and len(parts) > 2:
        return _generic(".".join(parts[2:]), config.stages[parts[1]])
    if parts[0] == "method" and parts[-1] == "name":
        return "method.name"
    if parts[0] == "method" and len(parts) == 2:
        return f"method ({config.method.name}).{parts[1]}"
    if parts[0] == "method" and parts[-1] in ("weight", "ramp"):
        return f"method.terms.NAME.{parts[-1]}"
    if parts[0] == "method" and len(parts) == 4:
        return f"method ({config.method.terms[parts[2]].name}).{parts[3]}"
    if {"view", "views"} & set(parts[:-1]):
        return f"data.STREAM.views.NAME.{parts[-1]}"
    if parts[:2] == ["optim", "groups"]:
        return f"optim.groups.NAME.{parts[-1]}"
    return key


if __name__ == "__main__":
    print(page(), end="")
