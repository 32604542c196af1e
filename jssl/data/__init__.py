"""From files to batches on the device: sources, splits, views, streams and the input pipeline.

sources says where examples come from, augment makes views of them under jit, pipeline batches them on the host.
Importing this room loads nothing, so that workers of the pipeline start fast. Imports parallel and what is below it.
"""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jssl.data import augment, sources

__all__ = ["augment", "sources"]


def __getattr__(name: str) -> types.ModuleType:
    """`jssl.data.augment` and `jssl.data.sources`, loaded when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
