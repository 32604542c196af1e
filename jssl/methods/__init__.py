"""Methods by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from jssl.errors import unknown
from jssl.methods.base import Context, Method, Output
from jssl.methods.clustering.swav import SwAV
from jssl.methods.contrastive.instdisc import InstDisc
from jssl.methods.contrastive.moco import MoCo
from jssl.methods.contrastive.mocov3 import MoCoV3
from jssl.methods.contrastive.nnclr import NNCLR
from jssl.methods.contrastive.simclr import SimCLR
from jssl.methods.distillation.byol import BYOL
from jssl.methods.distillation.dino import DINO
from jssl.methods.distillation.simsiam import SimSiam
from jssl.methods.online_probe import OnlineProbe
from jssl.methods.redundancy.barlow_twins import BarlowTwins
from jssl.methods.redundancy.vicreg import VICReg
from jssl.methods.semisupervised import TERMS, OfMethod, Term
from jssl.methods.semisupervised.s4l import S4L
from jssl.models import Network

METHODS: dict[str, type[Method]] = {
    "barlow_twins": BarlowTwins,
    "byol": BYOL,
    "dino": DINO,
    "instdisc": InstDisc,
    "moco": MoCo,
    "mocov3": MoCoV3,
    "nnclr": NNCLR,
    "s4l": S4L,
    "simclr": SimCLR,
    "simsiam": SimSiam,
    "swav": SwAV,
    "vicreg": VICReg,
}

__all__ = ["METHODS", "TERMS", "Context", "Method", "OnlineProbe", "Output", "RunInfo", "make_method"]


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What the program knows and a method may want to: fields of these names are filled in.

    Attributes:
      encoder: what the method trains.
      dtype: of matrix products outside the encoder.
      num_examples: size of the unlabelled stream, for methods with a memory of every image.
      mesh: for methods whose losses speak of devices; None is one device.
      classes: of the data set; 0 if there are no labels.
      view_names: of every stream, copies repeated.
      steps_per_epoch: of the run.
    """

    encoder: Network
    dtype: str = "float32"
    num_examples: int = 0
    mesh: Mesh | None = None
    classes: int = 0
    view_names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    steps_per_epoch: float = 1.0


INJECTED_FIELDS = tuple(field.name for field in dataclasses.fields(RunInfo))


def make_method(config: Mapping[str, Any], known: RunInfo) -> Method:
    """Builds `config.method`: its `name`, and the fields of that class.

    Args:
      config: the section of the config.
      known: what does not stand in it.

    Raises:
      UserError: for a name or a field that does not exist (it names the nearest valid one), or a bad value.
    """
    if config["name"] not in METHODS:
        raise unknown("method.name", config["name"], METHODS)
    settings = {key: value for key, value in config.items() if key != "name"}
    if "terms" in settings:
        settings["terms"] = {name: make_term(term, known) for name, term in settings["terms"].items()}
    return _make(METHODS[config["name"]], f"method {config['name']!r}", settings, known)


def make_term(config: Mapping[str, Any], known: RunInfo) -> Term:
    """Builds a section of `config.method.terms`: a term of the table, or a method with a weight.

    Raises:
      UserError: as `make_method`.
    """
    if config["name"] not in {**TERMS, **METHODS}:
        raise unknown("term", config["name"], {**TERMS, **METHODS})
    settings = {key: value for key, value in config.items() if key != "name"}
    if config["name"] in TERMS:
        return _make(TERMS[config["name"]], f"term {config['name']!r}", settings, known)
    own = {key: settings.pop(key) for key in ("weight", "ramp", "views") if key in settings}
    return OfMethod(method=make_method({"name": config["name"], **settings}, known), **own)


def _make(kind: type[Any], what: str, settings: Mapping[str, Any], known: RunInfo) -> Any:
    fields = {field.name for field in dataclasses.fields(kind)}
    for key in settings:
        if key not in fields or key in INJECTED_FIELDS:
            raise unknown(f"key of {what}", key, fields - set(INJECTED_FIELDS))
    given = {name: getattr(known, name) for name in INJECTED_FIELDS if name in fields}
    return kind(**given, **settings)
