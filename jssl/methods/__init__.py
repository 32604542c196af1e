"""Self-supervised and semi-supervised methods: the contract (`base`), what methods share, and a file a method.

The files lie in folders by family; METHODS is the table of their names. A method imports losses, metrics, models, data
and the files that methods share; nothing of train, evaluation or runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from jssl import settings
from jssl.errors import UserError, unknown
from jssl.methods.base import Context, Method, Output, Predictions, Refreshed, ViewRef
from jssl.methods.clustering.deepcluster import DeepCluster, DeeperCluster
from jssl.methods.clustering.deepcluster_v2 import DeepClusterV2
from jssl.methods.clustering.sela import SeLa
from jssl.methods.clustering.swav import SwAV
from jssl.methods.contrastive.dcl import DCL
from jssl.methods.contrastive.instdisc import InstDisc
from jssl.methods.contrastive.moco import MoCo
from jssl.methods.contrastive.mocov3 import MoCoV3
from jssl.methods.contrastive.nnclr import NNCLR
from jssl.methods.contrastive.simclr import SimCLR
from jssl.methods.distillation.byol import BYOL
from jssl.methods.distillation.dino import DINO
from jssl.methods.distillation.simsiam import SimSiam
from jssl.methods.generative.autoencoder import Autoencoder
from jssl.methods.generative.colorization import Colorization
from jssl.methods.generative.future import Future
from jssl.methods.generative.inpainting import Inpainting
from jssl.methods.generative.mae import MAE, SimMIM
from jssl.methods.generative.split_brain import SplitBrain
from jssl.methods.multimodal.audio_visual import AudioVisual
from jssl.methods.multimodal.avid import AVID
from jssl.methods.multimodal.clip import CLIP, SigLIP
from jssl.methods.multimodal.mlm import MLM
from jssl.methods.multimodal.windows import STILL, Clip
from jssl.methods.online_probe import OnlineProbe
from jssl.methods.pretext.context import ContextPrediction
from jssl.methods.pretext.exemplar import Exemplar
from jssl.methods.pretext.exemplar_cnn import ExemplarCNN
from jssl.methods.pretext.jigsaw import Jigsaw
from jssl.methods.pretext.rotation import Rotation
from jssl.methods.redundancy.barlow_twins import BarlowTwins
from jssl.methods.redundancy.vicreg import VICReg
from jssl.methods.semisupervised.consistency import VAT, EntropyMinimization, MeanTeacher, PiModel
from jssl.methods.semisupervised.mixmatch import MixMatch
from jssl.methods.semisupervised.pseudo_labels import (
    UDA,
    FixMatch,
    FlexMatch,
    FreeMatch,
    PseudoLabel,
    SoftMatch,
)
from jssl.methods.semisupervised.s4l import SemiSupervised, Term
from jssl.methods.view_task import ViewTask
from jssl.models import Network

METHODS: dict[str, type[Method]] = {
    "audio_visual": AudioVisual,
    "autoencoder": Autoencoder,
    "avid": AVID,
    "barlow_twins": BarlowTwins,
    "byol": BYOL,
    "clip": CLIP,
    "colorization": Colorization,
    "context": ContextPrediction,
    "dcl": DCL,
    "deepcluster": DeepCluster,
    "deepcluster_v2": DeepClusterV2,
    "deepercluster": DeeperCluster,
    "dino": DINO,
    "entropy_minimization": EntropyMinimization,
    "exemplar": Exemplar,
    "exemplar_cnn": ExemplarCNN,
    "fixmatch": FixMatch,
    "flexmatch": FlexMatch,
    "freematch": FreeMatch,
    "inpainting": Inpainting,
    "future": Future,
    "instdisc": InstDisc,
    "jigsaw": Jigsaw,
    "mae": MAE,
    "mean_teacher": MeanTeacher,
    "mixmatch": MixMatch,
    "mlm": MLM,
    "moco": MoCo,
    "mocov3": MoCoV3,
    "nnclr": NNCLR,
    "pi_model": PiModel,
    "pseudo_label": PseudoLabel,
    "rotation": Rotation,
    "s4l": SemiSupervised,
    "sela": SeLa,
    "siglip": SigLIP,
    "simclr": SimCLR,
    "simmim": SimMIM,
    "simsiam": SimSiam,
    "softmatch": SoftMatch,
    "split_brain": SplitBrain,
    "swav": SwAV,
    "uda": UDA,
    "vat": VAT,
    "vicreg": VICReg,
}

__all__ = [
    "INJECTED_FIELDS",
    "METHODS",
    "Context",
    "Method",
    "OnlineProbe",
    "Output",
    "Predictions",
    "Refreshed",
    "RunInfo",
    "SemiSupervised",
    "Term",
    "ViewRef",
    "ViewTask",
    "default_settings",
    "make_method",
]


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """Facts of a run that a method may need: fields of these names are filled in.

    Attributes:
      encoder: what the method trains.
      dtype: of matrix products outside the encoder.
      num_examples: size of the unlabelled stream, for methods with a memory of every image.
      mesh: for methods whose losses depend on the devices; None is one device.
      classes: of the data set; 0 if there are no labels.
      color_space: of the images that it sees, 'rgb' or 'lab'.
      text_vocabulary: number of tokens of captions; 0 where they are not read.
      text_end: the token that ends a caption.
      text_mask: the token that stands for hidden ones; -1 if there is none.
      clip: what images and their sound are as clips.
    """

    encoder: Network
    dtype: str = "float32"
    num_examples: int = 0
    mesh: Mesh | None = None
    classes: int = 0
    color_space: str = "rgb"
    text_vocabulary: int = 0
    text_end: int = 0
    text_mask: int = -1
    clip: Clip = STILL


INJECTED_FIELDS = tuple(field.name for field in dataclasses.fields(RunInfo))


def default_settings(name: str) -> dict[str, Any]:
    """The section of a config for a method: its name, and every setting with its default.

    Raises:
      UserError: for a name that does not exist.
    """
    if name not in METHODS:
        raise unknown("method.name", name, METHODS)
    return {"name": name, **settings.defaults(METHODS[name], without=INJECTED_FIELDS)}


def make_method(config: Mapping[str, Any], info: RunInfo) -> Method:
    """Builds `config.method`: its `name`, and the fields of that class.

    Args:
      config: the section of the config.
      info: what does not stand in it.

    Raises:
      UserError: for a name or a field that does not exist (it names the nearest valid one), or a bad value.
    """
    method = _make(config, info, "method")
    if isinstance(method, ViewTask) and method.uses_classifier:
        raise UserError(
            f"method.name={config['name']!r} learns from a classifier that nothing teaches: it is a term; set "
            f"method.name='s4l' and method.terms.{config['name']} (as configs/fixmatch.py does)"
        )
    return method


def _make(config: Mapping[str, Any], info: RunInfo, prefix: str) -> Any:
    """A method of the table from its section, whose keys begin with `prefix`."""
    name = config["name"]
    if name not in METHODS:
        raise unknown(f"{prefix}.name", name, METHODS)
    given = {key: value for key, value in config.items() if key != "name"}
    if "terms" in given:
        terms = given["terms"].items()
        given["terms"] = {key: _make_term(term, info, f"{prefix}.terms.{key}") for key, term in terms}
    injected = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    fields = {other: {field.name for field in dataclasses.fields(kind)} for other, kind in METHODS.items()}
    if len(given.keys() - fields[name]) > 1:
        for other, names in fields.items():
            if given.keys() <= names:
                raise UserError(
                    f"{prefix}.name={name!r}: the other keys of {prefix} are those of {other!r}; begin with a "
                    f"config of {name}, or set them too"
                )
    return settings.make(METHODS[name], given, prefix, **injected)


def _make_term(config: Mapping[str, Any], info: RunInfo, prefix: str) -> Term:
    """A method with a weight, whose settings stand beside its own."""
    own = {key: value for key, value in config.items() if key in ("weight", "ramp")}
    rest = {key: value for key, value in config.items() if key not in own}
    if rest["name"] == "s4l":
        raise UserError(f"{prefix}.name='s4l': a sum of terms is no term")
    return settings.make(Term, {"method": _make(rest, info, prefix), **own}, prefix)
