"""PyTorch's files of tensors, read without PyTorch, and without running anything that they name.

Such a file is a zip with a pickle and the bytes of every storage. A pickle may call whatever it names; this reader
gives it inert stand-ins for the few names that tensors need, and refuses all others by name.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import pathlib
import pickle
import zipfile
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


@dataclasses.dataclass(frozen=True)
class _StorageType:
    """A stand-in for a class of storages: its name."""

    name: str


class _Reader(pickle.Unpickler):
    """A pickle of tensors, in dicts, lists and tuples."""

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in DTYPES:
            return _StorageType(name)
        raise UserError(
            f"it names {module}.{name}, which is no tensor and is not run: load it where you trust it, and save its "
            "state_dict alone"
        )

    def persistent_load(self, given: Any) -> np.ndarray:
        kind, storage, key, _, count = given
        if kind != "storage" or not isinstance(storage, _StorageType):
            raise UserError("its tensors are of a kind that is not read")
        dtype = np.dtype(DTYPES[storage.name])
        content = self._archive.read(f"{self._root}data/{key}")
        if len(content) < count * dtype.itemsize:
            raise UserError(
                f"it is cut short: of {count} numbers of a tensor it has {len(content) // dtype.itemsize}"
            )
        return np.frombuffer(content, dtype, count)


def _tensor(flat: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A view of a storage, which must lie within it."""
    if not isinstance(flat, np.ndarray) or len(shape) != len(strides):
        raise UserError("a tensor in it has no storage")
    if min((offset, *shape, *strides), default=0) < 0:
        raise UserError("a tensor in it has a negative size")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if 0 not in shape and last >= len(flat):
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
    return dict(_named(content, ""))


def _named(content: Any, prefix: str) -> list[tuple[str, np.ndarray]]:
    """The tensors within dicts, by their path; numbers, words and lists are left out."""
    if isinstance(content, np.ndarray):
        return [(prefix.removesuffix("."), content)]
    if not isinstance(content, dict):
        return []
    return [found for key, value in content.items() for found in _named(value, f"{prefix}{key}.")]
