"""The run's folder decides what happens: start, resume, print the result, or refuse."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging
from etils import epath

import jssl
from jssl import parallel, storage
from jssl.config import SCHEMA, completed, flatten
from jssl.data.datasets import Data, checksum_of, open_data
from jssl.data.sources import Source
from jssl.data.streams import DataInfo
from jssl.errors import UserError, of_system
from jssl.parallel import distributed

CONFIG_FILE = "config.json"
RESULT_FILE = "result.json"
SPLITS_FILE = "splits.json"
LABELS_FILE = "labels.npy"  # where reading them takes long
TOKENIZER_FILE = "tokenizer.json"  # where there are captions
SCHEMA_KEY, VERSION_KEY = "schema", "jssl"


# Where and how it is computed, watched and kept, not what is learnt: a resumed run may have others. Whether the data
# are the same is told by what they hold.
FREE = re.compile(
    r"jssl|(stages\.\w+\.)?("
    r"mesh\..*|method\.(terms\.\w+\.)?(similarity|block_size)|encoder\.\w+\.(remat|scan)|"
    r"data\.(workers|threads|name|data_dir|cache_gib|max_bad_fraction)|"
    r"log\..*|checkpoint\..*|evals\.(?!online$).*)"
)
LENGTH = re.compile(r"total_(epochs|steps|examples|percent)")
LOCK_FILE = ".lock"
# What splits.json has, for messages.
WORDS = {
    "content": "images or labels of train",
    "val_content": "images or labels of the holdout",
    "test_content": "images or labels of the test set",
    "visible_labels": "shown labels",
    "tokenizer": "another tokeniser",
}
SHARED_SECONDS = 10.0  # in which a file of process 0 is seen by the others
TOGETHER = "{stages}/"  # the folder that the stages of a config lie in


def as_json(config: ml_collections.ConfigDict, workdir: epath.Path) -> dict[str, Any]:
    """The config as plain JSON values, as it stands in a folder.

    Tuples become lists; the versions of its schema and of the library are added; what stages take from one another is
    named from where they lie together, so that they may be moved.
    """
    versions = {SCHEMA_KEY: SCHEMA, VERSION_KEY: jssl.__version__}
    values = json.loads(json.dumps({**versions, **config.to_dict()}))
    together = storage.absolute(workdir).parent
    if (together / CONFIG_FILE).exists():
        _change_paths(values, lambda path: path.replace(f"{together}/", TOGETHER, 1))
    return values


def _change_paths(values: dict[str, Any], change: Callable[[str], str]) -> None:
    """Changes the paths of what a stage takes from others, in place."""
    sections = (values, values.get("data"), (values.get("data") or {}).get("unlabeled"))
    for section, key in zip(sections, ("init_from", "pseudo_labels", "inliers")):
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = change(section[key])


def check(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Raises UserError if the folder holds another config's run, or something that is no run; touches nothing."""
    path = workdir / CONFIG_FILE
    try:
        found = path.exists()
    except ImportError as error:
        raise UserError(f"--workdir={workdir} needs: pip install 'jssl[gcs]' ({error})") from error
    if found:
        theirs, ours = flatten(_of_this_schema(workdir)), flatten(as_json(config, workdir))
        keys = sorted(key for key in theirs.keys() | ours.keys() if not FREE.fullmatch(key))
        differing = [key for key in keys if theirs.get(key) != ours.get(key)]
        if differing:
            changes = "; ".join(f"{key}: {theirs.get(key)} there, {ours.get(key)} now" for key in differing)
            longer = all(LENGTH.fullmatch(key) for key in differing)
            raise UserError(
                f"{workdir} holds a run of another config ({changes}). Nothing was touched: choose another --workdir"
                + (
                    f"; --config.init_from={workdir} begins with its weights, and a schedule of its own"
                    if longer
                    else ""
                )
            )
    elif workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file: choose a folder")
    elif workdir.exists() and any(
        path.name != LOCK_FILE and not storage.is_part(path.name) for path in workdir.iterdir()
    ):
        raise UserError(f"{workdir} is not empty and holds no run: choose another --workdir")


def compare_processes(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Raises UserError in the processes whose config, library or workdir differ from those of process 0."""
    values = flatten(as_json(config, workdir))
    distributed.check_equal(
        {
            **{f"--config.{key}": value for key, value in values.items() if not FREE.fullmatch(key)},
            "--workdir": str(workdir),
            "the version of jssl": jssl.__version__,
            "the version of jax": jax.__version__,
        }
    )


def compare_data(data: Data) -> None:
    """Raises UserError in the processes whose data differ from those of process 0."""
    if jax.process_count() == 1:
        return
    parts = description(data).items()
    checksums = {WORDS.get(name, name): zlib.crc32(json.dumps(part).encode()) for name, part in parts}
    distributed.check_equal({f"the checksum of {name}": checksum for name, checksum in checksums.items()})


def not_applied(workdir: epath.Path, config: ml_collections.ConfigDict) -> list[str]:
    """Keys of what is measured, and on what, in which a config differs from that of the finished run in a folder."""
    theirs, ours = flatten(_of_this_schema(workdir)), flatten(as_json(config, workdir))
    keys = (key for key in ours if key.startswith(("evals.", "data.name", "data.data_dir")))
    return sorted(key for key in keys if theirs.get(key) != ours.get(key))


def prepare(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Makes the folder and writes the config, if `check` finds nothing against it.

    Raises:
      UserError: as `check`, and if the folder cannot be written.
    """
    if parallel.is_main_process():
        check(workdir, config)
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            for path in list(workdir.iterdir()) if not storage.is_remote(workdir) else ():
                if storage.is_part(path.name):
                    path.unlink()
            now = as_json(config, workdir)
            if not holds_run(workdir) or read_json(workdir / CONFIG_FILE) != now:  # in what may differ
                write_json(workdir / CONFIG_FILE, now)
        except OSError as error:
            raise of_system(error, f"cannot write to --workdir={workdir}") from error
    parallel.barrier("workdir")
    if not parallel.is_main_process():
        _wait_for(workdir / CONFIG_FILE)


def _wait_for(path: epath.Path) -> None:
    """Returns when a file of process 0 is seen here too; network file systems take a moment.

    Raises:
      UserError: if it does not come.
    """
    last = time.monotonic() + SHARED_SECONDS
    while not path.exists():
        if time.monotonic() > last:
            raise UserError(
                f"{path} of process 0 is not to be seen in process {jax.process_index()}: give all processes the same "
                "--workdir on storage that they share"
            )
        time.sleep(0.1)


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
    """Keeps a folder for this process, until it ends in whatever way; folders in object stores are not locked.

    Raises:
      UserError: if another process has it; says which.
    """
    if not parallel.is_main_process() or storage.is_remote(workdir):
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(workdir / LOCK_FILE, "a+"))
        except OSError as error:
            raise of_system(error, f"cannot write to --workdir={workdir}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise UserError(
                f"{workdir} is in use by {who}: wait for its end, or choose another --workdir"
            ) from error
        except OSError:  # a file system without locks
            logging.warning("%s cannot be locked: start no second run in it", workdir)
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield


def read_config(workdir: epath.Path) -> ml_collections.ConfigDict:
    """The config of a run.

    Raises:
      UserError: if the folder holds no run, or stages.
    """
    path = workdir / CONFIG_FILE
    if not path.exists():
        raise UserError(f"{workdir} holds no run: there is no {CONFIG_FILE}")
    values = _of_this_schema(workdir)
    for key in (SCHEMA_KEY, VERSION_KEY):
        values.pop(key, None)
    together = storage.absolute(workdir).parent
    _change_paths(values, lambda path: path.replace(TOGETHER, f"{together}/", 1))
    config = ml_collections.ConfigDict(_tuples(values))
    if config.order:
        names = ", ".join(config.order)
        raise UserError(
            f"{workdir} holds stages ({names}), not a run: take one of them, {workdir / config.order[-1]}"
        )
    return config


def _of_this_schema(workdir: epath.Path) -> dict[str, Any]:
    """The content of a run's config.json; keys that came after it have their defaults.

    Raises:
      UserError: if another version of the library wrote it, whose keys are other ones.
    """
    values = read_json(workdir / CONFIG_FILE)
    found = values.get(SCHEMA_KEY, 1)
    if found != SCHEMA:
        version = values.get(VERSION_KEY, "before 0.4.0 was released")
        raise UserError(
            f"{workdir} was made by jssl {version}, whose config has other keys (schema {found}; jssl "
            f"{jssl.__version__} has {SCHEMA}): open it with that version, or choose another --workdir"
        )
    try:
        whole: dict[str, Any] = json.loads(json.dumps(completed(values)))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{workdir / CONFIG_FILE} is damaged ({type(error).__name__}: {error}): bring it back, or choose another "
            "--workdir"
        ) from error
    return whole


def holds_run(workdir: epath.Path) -> bool:
    """Whether a folder holds a run or a sequence of stages."""
    return (workdir / CONFIG_FILE).exists()


def write_splits(workdir: epath.Path, data: Data) -> None:
    """Writes what the run trains, chooses and tests on, and the shapes that `load` needs; or checks that they are so.

    Raises:
      UserError: if it is not what the run began with.
    """
    if data.read_labels is not None and recorded_labels(workdir) is None:
        buffer = io.BytesIO()
        np.save(buffer, data.read_labels)
        storage.write_whole(workdir / LABELS_FILE, buffer.getvalue())
    if not (workdir / SPLITS_FILE).exists():
        write_json(workdir / SPLITS_FILE, description(data))
    else:
        check_data(workdir, data)
    if data.tokenizer is not None and not (workdir / TOKENIZER_FILE).exists():
        storage.write_whole(workdir / TOKENIZER_FILE, data.tokenizer.description.encode())


def description(data: Data) -> dict[str, Any]:
    """What splits.json says of data, as it gives it back."""
    return json.loads(json.dumps({**data.describe(), "info": as_json_info(data.info)}))


def check_data(workdir: epath.Path, data: Data) -> None:
    """Raises UserError if data are not those that a run began with, as far as it noted them; says what differs."""
    then, now = read_json(workdir / SPLITS_FILE), description(data)
    then = {**now, **then, "info": as_json_info(read_info(workdir))}
    differing = [name for name in now if then[name] != now[name]]
    if differing:
        counts = ", ".join(
            f"{then[name]} {words} then, {now[name]} now"
            for name, words in (("train", "training images"), ("test", "test images"))
            if then[name] != now[name]
        )
        words = [WORDS.get(name, name) for name in differing]
        raise UserError(
            f"the data changed since the run in {workdir} began ({counts or 'other ' + ', '.join(words)}): "
            "restore them, or choose another --workdir"
        )


def read_info(workdir: epath.Path) -> DataInfo:
    """The shapes of a run's data, without the data."""
    path = workdir / SPLITS_FILE
    try:
        return DataInfo(**_tuples(read_json(path)["info"]))
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): bring it back, or choose another --workdir"
        ) from error


def recorded_info(workdir: epath.Path) -> DataInfo | None:
    """As `read_info`; None for a folder whose run has not begun."""
    return read_info(workdir) if (workdir / SPLITS_FILE).exists() else None


def open_recorded(
    workdir: epath.Path, config: ml_collections.ConfigDict, own: Mapping[str, Source] | None = None
) -> Data:
    """The data of a config, with what the run in a folder has noted of them."""
    tokenizer = recorded_tokenizer(workdir) if (workdir / SPLITS_FILE).exists() else None
    return open_data(config, recorded_info(workdir), own, recorded_labels(workdir), tokenizer)


def recorded_tokenizer(workdir: epath.Path) -> str | None:
    """The tokeniser of a run's captions, a tokenizer.json; None for runs that read none."""
    path = workdir / TOKENIZER_FILE
    return path.read_text() if path.exists() else None


def recorded_labels(workdir: epath.Path) -> np.ndarray | None:
    """`Data.read_labels` of a run that has some; None if there are none, or not those that it wrote."""
    path, splits = workdir / LABELS_FILE, workdir / SPLITS_FILE
    if not (path.exists() and splits.exists()):
        return None
    try:
        labels = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if checksum_of(labels) == read_json(splits).get("read_labels"):
            return labels
        error: object = "they are not those that it wrote"
    except Exception as found:  # whatever a damaged file makes NumPy raise
        error = found
    logging.warning("%s cannot be used, so the labels are read anew: %s", path, error)
    return None


def as_json_info(info: DataInfo) -> dict[str, Any]:
    """As JSON gives it back; what older runs did not note has its default."""
    return json.loads(json.dumps(dataclasses.asdict(info)))


def read_result(workdir: epath.Path) -> dict[str, Any] | None:
    """The result of a finished run, or None."""
    path = workdir / RESULT_FILE
    if not path.exists():
        return None
    values = read_json(path)
    missing = [name for name in ("step", "seconds") if not isinstance(values.get(name), (int, float))]
    if missing and "/seconds" not in " ".join(values):
        raise UserError(
            f"{path} is damaged, it has no {missing[0]}: remove it, and the same command evaluates the run anew"
        )
    return values


def read_json(path: epath.Path) -> dict[str, Any]:
    """A JSON object of a run's folder.

    Raises:
      UserError: if the file is none.
    """
    try:
        if not (
            path.is_file() if storage.is_remote(path) else os.path.isfile(path)
        ):  # epath takes a FIFO for one
            raise UserError(f"{path} is no file: remove it, or choose another --workdir")
        values = json.loads(path.read_bytes().decode())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged, it is not readable JSON ({error}): bring it back, or choose another --workdir"
        ) from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path} is damaged, it holds no JSON object: bring it back, or choose another --workdir"
        )
    return values


def write_json(path: epath.Path, values: dict[str, Any]) -> None:
    """Writes whole or not at all."""
    storage.write_whole(path, json.dumps(values, indent=2) + "\n")


def _tuples(value: Any) -> Any:
    """JSON's lists back to the tuples that configs hold."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
