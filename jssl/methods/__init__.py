"""Methods by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from jax.sharding import Mesh

from jssl.errors import unknown
from jssl.methods.barlow_twins import BarlowTwins
from jssl.methods.base import Context, Method, Output
from jssl.methods.byol import BYOL
from jssl.methods.dino import DINO
from jssl.methods.instdisc import InstDisc
from jssl.methods.moco import MoCo
from jssl.methods.mocov3 import MoCoV3
from jssl.methods.nnclr import NNCLR
from jssl.methods.online_probe import OnlineProbe
from jssl.methods.simclr import SimCLR
from jssl.methods.simsiam import SimSiam
from jssl.methods.swav import SwAV
from jssl.methods.vicreg import VICReg
from jssl.models import Network

METHODS: dict[str, type[Method]] = {
    "barlow_twins": BarlowTwins,
    "byol": BYOL,
    "dino": DINO,
    "instdisc": InstDisc,
    "moco": MoCo,
    "mocov3": MoCoV3,
    "nnclr": NNCLR,
    "simclr": SimCLR,
    "simsiam": SimSiam,
    "swav": SwAV,
    "vicreg": VICReg,
}

__all__ = ["METHODS", "Context", "Method", "OnlineProbe", "Output", "make_method"]

NOT_IN_CONFIG = ("encoder", "dtype", "num_examples", "mesh")  # fields that the program fills in


def make_method(
    config: Any, encoder: Network, dtype: str, num_examples: int, mesh: Mesh | None = None
) -> Method:
    """Builds `config.method`: its `name`, and the fields of that class.

    Args:
      config: the section of the config.
      encoder: what the method trains.
      dtype: of matrix products outside the encoder.
      num_examples: size of the training set, for methods with a memory of every image.
      mesh: for methods whose losses speak of devices; None is one device.

    Raises:
      UserError: for a name or a field that does not exist (it names the nearest valid one), or a bad value.
    """
    if config.name not in METHODS:
        raise unknown("method.name", config.name, METHODS)
    method = METHODS[config.name]
    fields = [field.name for field in dataclasses.fields(method)]
    settings = {key: value for key, value in config.items() if key != "name"}
    for key in settings:
        if key not in fields or key in NOT_IN_CONFIG:
            raise unknown(f"key of method {config.name!r}", key, set(fields) - set(NOT_IN_CONFIG))
    given: dict[str, Any] = {"encoder": encoder, "dtype": dtype, "num_examples": num_examples, "mesh": mesh}
    return method(**{key: value for key, value in given.items() if key in fields}, **settings)
