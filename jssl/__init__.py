"""Self-supervised and semi-supervised representation learning in JAX.

import jssl
config = jssl.get_config("simclr:digits")  # a shipped config, with a preset after the colon
result = jssl.run(config, "runs/mine")     # trains, or resumes, or returns the finished result
encoder = jssl.load("runs/mine")
features = encoder(images_uint8)           # float32[B, D]

The rooms are there without a config, too: jssl.losses.nt_xent(z1, z2), jssl.evaluation.knn(...).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ml_collections
    import optax
    from etils import epath

    from jssl.models.network import AnyNetwork
    from jssl.report.result import Result
    from jssl.runs.encoder import Encoder
    from jssl.runs.objects import OwnData, OwnMethod

ROOMS = ("clustering", "data", "evaluation", "losses", "methods", "metrics", "models")
__all__ = ["get_config", "load", "run", *ROOMS]
__version__ = "0.4.0"


def get_config(spec: str) -> ml_collections.ConfigDict:
    """A shipped config: 'simclr', or with a preset after a colon 'simclr:cifar10'.

    Raises:
      UserError: for a name or a preset that does not exist; it names the nearest.

    Example:
      >>> import jssl
      >>> config = jssl.get_config("simclr:digits")
      >>> config.method.name, config.method.temperature
      ('simclr', 0.1)
    """
    from jssl import config

    return config.get_config(spec)


def run(
    config: ml_collections.ConfigDict,
    workdir: str | epath.Path,
    *,
    method: OwnMethod | None = None,
    encoder: AnyNetwork | None = None,
    optimizer: optax.GradientTransformation | None = None,
    data: OwnData | None = None,
) -> Result:
    """Trains a config in a folder to its end; resumes or returns what is there already.

    Args:
      config: of `get_config`, or one of your own.
      workdir: the run's folder.
      method, encoder, optimizer, data: your own objects in the place of what the config names, see
        `jssl.runs.objects.Objects`; whoever opens the run again gives them again.

    Raises:
      UserError: a ValueError whose text says what to put right.
    """
    from jssl.runs import stages
    from jssl.runs.objects import Objects

    return stages.run(config, workdir, objects=Objects(method, encoder, optimizer, data))


def load(
    workdir: str | epath.Path = "",
    step: int | None = None,
    *,
    weights: str = "",
    size: int = 224,
    method: OwnMethod | None = None,
    encoder: AnyNetwork | str | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Encoder:
    """The encoder of a run, or one that others trained: `encoder(images_uint8) -> features`.

    Args:
      workdir: the run's folder.
      step: the checkpoint to take; the newest if it is not given.
      weights: a file of public weights in the place of a run, see docs/weights.md: .safetensors, .npz or .pth.
      size: side of the images that an encoder of a file sees.
      method, encoder, optimizer: as given to `run`, if they were; of a file the encoder's name, to check it.

    Raises:
      UserError: if the folder holds no run, or no checkpoint yet; if the file holds no encoder that is known.
    """
    from jssl.errors import UserError
    from jssl.runs import encoder as encoders
    from jssl.runs import public_weights
    from jssl.runs.objects import Objects

    if bool(workdir) == bool(weights):
        raise UserError("load takes the folder of a run, or weights=FILE")
    if weights:
        if encoder is not None and not isinstance(encoder, str):
            raise UserError("with weights=FILE the encoder is a name, such as 'vit_s'")
        return public_weights.load(weights, encoder or "", size)
    if isinstance(encoder, str):
        raise UserError(
            f"encoder={encoder!r} is a name: the encoder of a run is known; give it with weights=FILE"
        )
    return encoders.load(workdir, step, Objects(method, encoder, optimizer))


def __getattr__(name: str) -> Any:
    """Rooms are loaded when they are asked for: importing jssl alone stays light."""
    if name in ROOMS:
        return importlib.import_module(f"jssl.{name}")
    raise AttributeError(f"module 'jssl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
