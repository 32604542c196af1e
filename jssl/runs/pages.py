"""Runs as HTML pages: what is read of their folders."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from etils import epath

from jssl import config as schema
from jssl import storage
from jssl.errors import UserError
from jssl.report.page import Shown, page
from jssl.runs import workdir
from jssl.train.loop import BAD_FILES
from jssl.train.metrics_file import METRICS_FILE, read_lines
from jssl.train.progress import in_words

PAGE_FILE = "report.html"
UNREAD = 200  # files that are named


def write(folders: Sequence[str], out: epath.Path) -> None:
    """Writes the page of some finished runs.

    Raises:
      UserError: if one of them is none, or not finished.
    """
    runs = [shown(storage.folder(folder)) for folder in folders]
    if len({run.name for run in runs}) < len(runs):
        runs = [dataclasses.replace(run, name=folder) for run, folder in zip(runs, folders)]
    storage.write_whole(out, page(runs).encode())


def shown(folder: epath.Path) -> Shown:
    """What a page says of the run in a folder.

    Raises:
      UserError: if there is none, or it is not finished.
    """
    config, values = workdir.read_config(folder), workdir.read_result(folder)
    if values is None:
        raise UserError(f"{folder} holds no finished run: the same command of jssl.main goes on with it")
    record = folder / BAD_FILES
    return Shown(
        name=folder.name,
        values=values,
        lines=read_lines(folder / METRICS_FILE),
        pictures={path.stem: path.read_bytes() for path in folder.iterdir() if _is_picture(path)},
        unread=record.read_text().splitlines()[:UNREAD] if record.exists() else (),
        command=command(config, folder.name),
        made=_made(config, values, folder),
    )


def command(config: Any, name: str) -> str:
    """The command that makes a run again: its preset, and every key that differs from it."""
    spec = config.name.replace("_", ":", 1) if config.name.partition("_")[0] in schema.shipped_names() else ""
    for short in schema.shipped_names():  # names of configs have underscores, too
        if config.name.startswith(f"{short}_"):
            spec = f"{short}:{config.name[len(short) + 1 :]}"
    try:
        usual = schema.flatten(schema.get_config(spec).to_dict()) if spec else {}
    except UserError:
        usual = {}
    if not usual:
        return f"# {config.name} is no preset: its config is in config.json"
    differs = {key: x for key, x in schema.flatten(config.to_dict()).items() if usual.get(key) != x}
    parts = [f"--config.{key}={shlex.quote(str(x))}" for key, x in differs.items()]
    return " \\\n    ".join(
        [f"python -m jssl.main --config={spec}", *parts, f"--workdir={shlex.quote(name)}"]
    )


def _made(config: Any, values: dict[str, Any], folder: epath.Path) -> str:
    """With which version, on what, how fast."""
    written = workdir.read_json(folder / workdir.CONFIG_FILE)
    said = [f"{config.method.name} with {config.encoder.name} on {config.data.name}"]
    said += [f"{values['step']:,} steps"] if "step" in values else []
    said += [f"{in_words(values['seconds'])} in all"] if "seconds" in values else []
    if "images_per_second" in values:
        waited = values.get("waiting_for_data", 0.0)
        said.append(f"{values['images_per_second']:,.0f} images/s, {waited:.1%} of the time waiting for data")
    return ", ".join([*said, f"jssl {written.get(workdir.VERSION_KEY, 'of an earlier version')}"]) + "."


def _is_picture(path: epath.Path) -> bool:
    return path.suffix == ".png" and path.stem != "curves"  # which the page draws by itself
