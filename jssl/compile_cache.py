"""Compiled programs are kept for the next start, in the user's cache folder, unless the environment says otherwise."""

from __future__ import annotations

import hashlib
import os
import pathlib
import platform

VARIABLE = "JSSL_COMPILE_CACHE"  # a folder, or 'off'
JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # which goes before it
LIMIT = 2 * 2**30  # bytes, above which the oldest programs go


def use() -> pathlib.Path | None:
    """Has JAX keep its programs; call before it compiles. None if it shall not, or the folder cannot be made."""
    chosen = os.environ.get(VARIABLE, "")
    if os.environ.get(JAX_VARIABLE) or chosen.lower() in ("off", "0", "no"):
        return None
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = pathlib.Path(chosen or cache / "jssl" / "compiled") / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prune(folder.parent)
    except OSError:
        return None
    os.environ[JAX_VARIABLE] = str(folder)
    return folder


def prune(folder: pathlib.Path, limit: int = LIMIT) -> None:
    """Removes the files used longest ago until the rest are within a limit."""
    files = []
    for path in folder.rglob("*"):
        try:
            about = path.stat()
        except OSError:  # another process removed it
            continue
        if path.is_file():
            files.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda file: file[0]):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _machine() -> str:
    """Programs for CPUs are for those of one kind, while a home may be that of many."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        kind = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        kind = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {kind}".encode()).hexdigest()[:12]
