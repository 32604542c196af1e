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
from jssl.data.sources.arrays import with_channels
from jssl.errors import UserError
from jssl.methods import INJECTED_FIELDS, Method, RunInfo
from jssl.models.network import AnyNetwork, Network, as_network

OwnMethod: TypeAlias = Method | type[Method] | Callable[[RunInfo], Method]
Images: TypeAlias = Source | np.ndarray | tuple[np.ndarray, np.ndarray]
OWN_DATA, OWN_OPTIMIZER = "own data", "own optimizer"  # what stands for them in a config

OwnData: TypeAlias = Images | Mapping[str, Images]


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """What takes the place of sections of the config; None leaves it to the config.

    Attributes:
      method: a method, its class, or a function that makes one of a `RunInfo`.
      encoder: the network that the method trains: a Flax module, `module(x, train)` with output float32[B, D].
      optimizer: its update is added to the parameters, so it must hold the learning rate.
      data: a source or images [N, H, W, C], with labels int[N] if there are some, as train; or those by split.
    """

    method: OwnMethod | None = None
    encoder: AnyNetwork | None = None
    optimizer: optax.GradientTransformation | None = None
    data: OwnData | None = None

    def check(self) -> None:
        """Raises UserError for what is none of these things."""
        method, optimizer = self.method, self.optimizer
        if method is not None and not (isinstance(method, Method) or callable(method)):
            raise UserError(
                f"method={method!r}: give a jssl.methods.Method, its class or a function of a RunInfo; a method of "
                "the library is named in the config"
            )
        _ = self.network
        if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
            raise UserError(
                f"optimizer={optimizer!r}: give an optax transformation, such as optax.adam(1e-3)"
            )

    @property
    def network(self) -> Network | None:
        """The encoder as a network."""
        return None if self.encoder is None else as_network(self.encoder)

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
            found.encoder = {**found.encoder.to_dict(), "name": _name(as_network(self.encoder).module)}
        if self.optimizer is not None:
            found.optim = {**found.optim.to_dict(), "name": OWN_OPTIMIZER}
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
        try:
            if isinstance(self.method, type) and issubclass(self.method, Method):
                known = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
                made: Any = settings.make(self.method, {}, _name(self.method), **known)
            else:
                made = self.method(info)  # type: ignore[call-arg]
        except TypeError as error:
            raise UserError(
                f"{_name(self.method)} cannot be made ({error}): a class needs a default for every field that "
                "RunInfo does not have, a function takes a RunInfo"
            ) from error
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
    pixels, labels = images if isinstance(images, tuple) and len(images) == 2 else (images, None)
    if not hasattr(pixels, "__array__"):
        raise UserError(
            f"data is {type(pixels).__name__}: give images as an array [N, H, W, C], (images, labels), a "
            "jssl.data.sources.Source, or those by split: {'train': ..., 'test': ...}"
        )
    pixels = with_channels(OWN_DATA, np.asarray(pixels))
    return ArraySource(OWN_DATA, pixels, None if labels is None else np.asarray(labels))


def _name(thing: Any) -> str:
    kind = (
        thing if isinstance(thing, type) or not hasattr(type(thing), "__dataclass_fields__") else type(thing)
    )
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', repr(kind))}"


def _settings(method: OwnMethod) -> dict[str, Any]:
    """Fields of a method that a config can hold."""
    if isinstance(method, Method):
        values = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    elif isinstance(method, type) and dataclasses.is_dataclass(method):
        values = settings.defaults(method)
    else:
        return {}
    return {
        name: value
        for name, value in values.items()
        if name not in INJECTED_FIELDS and isinstance(value, bool | int | float | str | tuple)
    }
