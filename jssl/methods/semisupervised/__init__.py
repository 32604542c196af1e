"""Terms of a semi-supervised loss by name; every method of jssl.methods is one, too."""

from __future__ import annotations

from jssl.methods.pretext.tasks import Exemplar, OfMethod, Rotation
from jssl.methods.semisupervised.base import Picture, Scene, Seen, Start, Term, TermOutput, ViewNames, options
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

TERMS: dict[str, type[Term]] = {
    "entropy_minimization": EntropyMinimization,
    "exemplar": Exemplar,
    "fixmatch": FixMatch,
    "flexmatch": FlexMatch,
    "freematch": FreeMatch,
    "mean_teacher": MeanTeacher,
    "mixmatch": MixMatch,
    "pi_model": PiModel,
    "pseudo_label": PseudoLabel,
    "rotation": Rotation,
    "softmatch": SoftMatch,
    "uda": UDA,
    "vat": VAT,
}

__all__ = [
    "TERMS",
    "OfMethod",
    "Picture",
    "Scene",
    "Seen",
    "Start",
    "Term",
    "TermOutput",
    "ViewNames",
    "options",
]
