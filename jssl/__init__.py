"""Self-supervised and semi-supervised representation learning in JAX.

import jssl
result = jssl.run(config, "runs/mine")     # trains, or resumes, or returns the finished result
encoder = jssl.load("runs/mine")
features = encoder(images_uint8)           # float32[B, D]
loss = jssl.losses.nt_xent(z1, z2)         # losses, metrics, models, methods, data, evaluation: without a config
"""

from __future__ import annotations

import importlib
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ml_collections
    from etils import epath

    from jssl import data, evaluation, losses, methods, metrics, models
    from jssl.report.result import Result
    from jssl.runs.encoder import Encoder

__all__ = ["data", "evaluation", "load", "losses", "methods", "metrics", "models", "run"]
__version__ = "0.4.0"
_LAZY = ("data", "evaluation", "losses", "methods", "metrics", "models")


def __getattr__(name: str) -> types.ModuleType:
    """The rooms that are usable without a config, imported (and JAX with them) when one is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def run(config: ml_collections.ConfigDict, workdir: str | epath.Path) -> Result:
    """Trains a config in a folder to its end; resumes or returns what is there already.

    Raises:
      UserError: a ValueError whose text says what to put right.
    """
    from jssl.runs import stages

    return stages.run(config, workdir)


def load(workdir: str | epath.Path, step: int | None = None) -> Encoder:
    """The encoder of a run, of its newest checkpoint or of a step: `encoder(images_uint8) -> features`."""
    from jssl.runs import encoder

    return encoder.load(workdir, step)
