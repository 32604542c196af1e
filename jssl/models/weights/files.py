"""Files of named tensors: safetensors and .npz are read and written, .pth is read."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from jssl import storage
from jssl.errors import UserError, of_system, shown
from jssl.models.weights import torch_files

Tensors = dict[str, np.ndarray]
PICKLES = (".pth", ".pt", ".tar", ".torch", ".bin", ".ckpt")
LARGEST = 100 * 2**30  # bytes


def read(path: str | pathlib.Path) -> Tensors:
    """The tensors of a file by name; of half precision as float32.

    Args:
      path: .safetensors, .npz, or .pth as PyTorch writes it since version 1.6.

    Raises:
      UserError: if there is no such file, it is damaged, of another kind, or has a number that is not finite.
    """
    path = storage.located(str(path))
    if not path.is_file():
        raise UserError(f"there is no file {shown(path)}")
    try:
        ending = path.suffix.lower()
        reader = (
            _read_npz if ending == ".npz" else torch_files.read if ending in PICKLES else _read_safetensors
        )
        found = {name: _whole(name, tensor) for name, tensor in reader(path).items()}
    except UserError:
        raise
    except OSError as error:
        raise of_system(error, f"cannot read {shown(path)}") from error
    except Exception as error:  # whatever a reader says of a broken file
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{shown(path)} cannot be read: {why[:200]}") from error
    if not found:
        raise UserError(f"{shown(path)} has no tensors")
    broken = [name for name, x in found.items() if x.dtype.kind == "f" and not np.isfinite(x).all()]
    if broken:
        raise UserError(f"{shown(path)}: {broken[0]} has numbers that are not finite")
    return found


def _whole(name: str, tensor: np.ndarray) -> np.ndarray:
    """In float32, whatever floats it was of; raises ValueError for what are no numbers."""
    if tensor.dtype.kind not in "fiub" and tensor.dtype != ml_dtypes.bfloat16:
        raise ValueError(f"{name} is of {tensor.dtype}, no numbers")
    return tensor if tensor.dtype.kind in "iub" else tensor.astype(np.float32)


def _read_safetensors(path: pathlib.Path) -> Tensors:
    from safetensors.numpy import load, load_file

    try:
        return dict(load(path.read_bytes()) if storage.is_remote(path) else load_file(path))
    except KeyError as error:  # of a dtype
        raise ValueError(f"it has tensors of {error}, which are not read") from error


def _read_npz(path: pathlib.Path) -> Tensors:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
    if total > LARGEST:
        raise UserError(f"{shown(path)} unpacks to {total / 2**30:,.0f} GiB")
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def write(path: str | pathlib.Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, str] = {}) -> None:
    """Writes tensors as .safetensors or .npz, whole or not at all.

    Args:
      path: of the file.
      tensors: by name.
      about: notes that a safetensors file carries, str to str.

    Raises:
      UserError: if it cannot be written, or ends otherwise.
    """
    path = pathlib.Path(path)
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in tensors}
    try:
        with storage.writing(path) as file:
            if path.suffix == ".npz":
                np.savez(file, **ordered)  # type: ignore[arg-type]
            elif path.suffix == ".safetensors":
                from safetensors.numpy import save

                file.write(save(ordered, {"format": "pt", **about}))
            else:
                raise UserError(f"{shown(path)} must end in .safetensors or .npz")
    except OSError as error:
        raise of_system(error, f"cannot write {shown(path)}") from error
