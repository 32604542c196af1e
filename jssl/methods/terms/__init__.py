"""Terms of a semi-supervised loss by name; every method of jssl.methods is one, too."""

from __future__ import annotations

from jssl.methods.terms.base import Picture, Scene, Seen, Start, Term, TermOutput, ViewNames, options
from jssl.methods.terms.consistency import VAT, EntropyMinimization, MeanTeacher, PiModel
from jssl.methods.terms.guesses import UDA, FixMatch, FlexMatch, FreeMatch, PseudoLabel, SoftMatch
from jssl.methods.terms.mixmatch import MixMatch
from jssl.methods.terms.pretext import Exemplar, OfMethod, Rotation

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
