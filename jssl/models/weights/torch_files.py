"""PyTorch's files of tensors, read without PyTorch, and without running anything that they name.

Such a file is a zip with a pickle and the bytes of every storage. A pickle may call whatever it names; this reader
gives it inert stand-ins for the few names that tensors need, and refuses all others by name.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pathlib
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from jssl.errors import UserError, shown

DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
LARGEST_PICKLE = 2**28  # bytes; names of tensors take few
SLACK = 2**12  # bytes that a storage may have beyond its numbers


class _Inert:
    """What a pickle may name: it can be called where that makes tensors, and nothing of it can be changed."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[..., Any] | None = None):
        self.name, self._function = name, function

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise UserError(f"it calls {self.name}, which is not run")
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise UserError(f"it changes {self.name}, which is not done")


class _Dict(dict[Any, Any]):
    """A dict of tensors, whose notes beside them are left out."""

    def __setstate__(self, state: Any) -> None:
        del state


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    """The numbers that tensors are views of."""

    flat: np.ndarray


class _Reader(pickle.Unpickler):
    """A pickle of tensors, in dicts, lists and tuples."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        content = _member(archive, f"{root}data.pkl", LARGEST_PICKLE)
        _check_opcodes(content)
        super().__init__(io.BytesIO(content))
        self._archive, self._root = archive, root
        self._storages: dict[str, _Storage] = {}
        self._known = {
            ("collections", "OrderedDict"): _Inert("OrderedDict", _Dict),
            ("torch._utils", "_rebuild_tensor_v2"): _Inert("_rebuild_tensor_v2", _tensor),
            ("torch._utils", "_rebuild_parameter"): _Inert("_rebuild_parameter", _parameter),
            **{("torch", name): _Inert(name) for name in DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise UserError(
                f"it names {module}.{name}, which is no tensor and is not run: load it where you trust it, and save "
                "its state_dict alone"
            )
        return self._known[module, name]

    def persistent_load(self, given: Any) -> _Storage:
        kind, storage, key, _, count = given
        if kind != "storage" or not isinstance(storage, _Inert) or storage.name not in DTYPES:
            raise UserError("its tensors are of a kind that is not read")
        if key not in self._storages:
            dtype = np.dtype(DTYPES[storage.name])
            content = _member(self._archive, f"{self._root}data/{key}", count * dtype.itemsize)
            if len(content) < count * dtype.itemsize:
                raise UserError(
                    f"it is cut short: of {count} numbers of a tensor it has {len(content) // dtype.itemsize}"
                )
            self._storages[key] = _Storage(np.frombuffer(content, dtype, count))
        return self._storages[key]


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of the zip, which is not larger than it should be."""
    size = archive.getinfo(name).file_size
    if size > most + SLACK:
        raise UserError(f"{name} in it unpacks to {size:,} bytes, where {most:,} are enough")
    return archive.read(name)


def _check_opcodes(content: bytes) -> None:
    """Refuses places in memory that no file of tensors needs, which the unpickler would make room for."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "LONG_BINPUT" and (argument or 0) > len(content):
            raise UserError(f"it asks for {argument:,} places in memory, and has {len(content):,} bytes")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A copy of a view of a storage, which must lie within it."""
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise UserError("a tensor in it has no storage")
    flat = storage.flat
    if min((offset, *shape, *strides), default=0) < 0:
        raise UserError("a tensor in it has a negative size")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    if last >= flat.size or math.prod(shape) > flat.size:
        raise UserError("a tensor in it reaches beyond its storage")
    steps = [stride * flat.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(flat[offset:], tuple(shape), steps, writeable=False).copy()


def _parameter(data: Any, *_: Any) -> Any:
    return data


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a file by the names that lead to them, 'state_dict.conv1.weight' say.

    Raises:
      UserError: if it is none, of PyTorch before 1.6, cut short, or names anything but tensors.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise UserError("it is no file of tensors, or one of TorchScript: save its state_dict")
            content = _Reader(archive, pickles[0].removesuffix("data.pkl")).load()
    except UserError as error:
        raise UserError(f"{shown(path)}: {error}") from None
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{shown(path)} is cut short, or of PyTorch before 1.6: load and save it with a newer one"
        ) from error
    return dict(_named(content, "", set()))


def _named(content: Any, prefix: str, seen: set[int]) -> list[tuple[str, np.ndarray]]:
    """The tensors within dicts, by their path; numbers, words, lists, and what was met before, are left out."""
    if isinstance(content, np.ndarray):
        return [(prefix.removesuffix("."), content)]
    if not isinstance(content, dict) or id(content) in seen:
        return []
    seen.add(id(content))
    return [found for key, value in content.items() for found in _named(value, f"{prefix}{key}.", seen)]
