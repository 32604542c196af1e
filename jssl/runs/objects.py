"""Objects of a user's own in the place of what a config names: a method, an encoder, an optimiser, data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import ml_collections
import numpy as np
import optax

from jssl import settings
from jssl.data.sources import ArraySource, Source
from jssl.errors import UserError
from jssl.methods import INJECTED_FIELDS, Method, RunInfo
from jssl.models import Network

OwnMethod: TypeAlias = Method | type[Method] | Callable[[RunInfo], Method]
Images: TypeAlias = Source | np.ndarray | tuple[np.ndarray, np.ndarray]
OWN_DATA = "own data"  # what stands for them in a config

OwnData: TypeAlias = Images | Mapping[str, Images]


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """What takes the place of sections of the config; None leaves it to the config.

    Attributes:
      method: a method, its class, or a function that makes one of a `RunInfo`.
      encoder: the network that the method trains: `models.Network(module)` of a Flax module `module(x, train)`.
      optimizer: its update is added to the parameters, so it must hold the learning rate.
      data: a source or images [N, H, W, C], with labels int[N] if there are some, as train; or those by split.
    """

    method: OwnMethod | None = None
    encoder: Network | None = None
    optimizer: optax.GradientTransformation | None = None
    data: OwnData | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(getattr(self, field.name) is not None for field in dataclasses.fields(self))

    def named_in(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        """The config with the names of these objects, for the run's folder: it is compared when the run goes on."""
        if not self.given:
            return config
        found = ml_collections.ConfigDict(config.to_dict())
        if self.method is not None:
            found.method = {"name": _name(self.method), **_settings(self.method)}
        if self.encoder is not None:
            found.encoder = {**found.encoder.to_dict(), "name": _name(self.encoder.module)}
        if self.optimizer is not None:
            found.optim = {**found.optim.to_dict(), "name": "own optimizer"}
        if self.data is not None:
            found.data.name = OWN_DATA
        return found

    def make_method(self, info: RunInfo) -> Method | None:
        """The method, given what the program knows; None for that of the config.

        Raises:
          UserError: if what was given makes none.
        """
        if self.method is None or isinstance(self.method, Method):
            return self.method
        if isinstance(self.method, type) and issubclass(self.method, Method):
            known = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
            made: Any = settings.make(self.method, {}, "method", **known)
        else:
            made = self.method(info)  # type: ignore[call-arg]
        if not isinstance(made, Method):
            raise UserError(f"method={self.method!r} makes {type(made).__name__}, not a jssl.methods.Method")
        return made

    def sources(self) -> dict[str, Source] | None:
        """The data as sources by split; None for those of the config.

        Raises:
          UserError: if there is no train, or arrays are no images.
        """
        if self.data is None:
            return None
        data: Any = self.data if isinstance(self.data, Mapping) else {"train": self.data}
        if "train" not in data:
            raise UserError(f"data has no split 'train', only {', '.join(data) or 'none'}")
        return {split: _source(images) for split, images in data.items()}


NONE = Objects()


def _source(images: Images) -> Source:
    if isinstance(images, Source):
        return images
    pixels, labels = images if isinstance(images, tuple) else (images, None)
    pixels = np.asarray(pixels)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    return ArraySource(OWN_DATA, pixels, None if labels is None else np.asarray(labels))


def _name(thing: Any) -> str:
    kind = (
        thing if isinstance(thing, type) or not hasattr(type(thing), "__dataclass_fields__") else type(thing)
    )
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', repr(kind))}"


def _settings(method: OwnMethod) -> dict[str, Any]:
    """Fields of a method that a config can hold."""
    if not isinstance(method, Method):
        return {}
    values = {
        f.name: getattr(method, f.name) for f in dataclasses.fields(method) if f.name not in INJECTED_FIELDS
    }
    return {
        name: value for name, value in values.items() if isinstance(value, bool | int | float | str | tuple)
    }
