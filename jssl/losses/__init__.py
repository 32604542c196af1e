"""Pure loss functions: arrays in, scalar (or small dict) out."""

from jssl.losses.clustering import sinkhorn, swapped_prediction
from jssl.losses.consistency import adversarial_direction, divergence, entropy, squared_difference
from jssl.losses.contrastive import (
    contrastive_accuracy,
    info_nce,
    instance_discrimination,
    normalize,
    nt_xent,
)
from jssl.losses.distillation import dino_cross_entropy, negative_cosine, sharpened
from jssl.losses.geometry import alignment, mutual_information_bound, uniformity
from jssl.losses.pairs import GATHERED, Blocks, Gathered, Pairs
from jssl.losses.pseudo import (
    Guess,
    align,
    fairness,
    flexible_thresholds,
    free_thresholds,
    guess,
    guess_of,
    sharpen,
    soft_weights,
    weighted_cross_entropy,
)
from jssl.losses.redundancy import barlow_twins, vicreg
from jssl.losses.supervised import batch_hard_triplet, cross_entropy

__all__ = [
    "GATHERED",
    "Blocks",
    "Gathered",
    "Guess",
    "Pairs",
    "adversarial_direction",
    "align",
    "alignment",
    "barlow_twins",
    "batch_hard_triplet",
    "contrastive_accuracy",
    "cross_entropy",
    "dino_cross_entropy",
    "divergence",
    "entropy",
    "fairness",
    "flexible_thresholds",
    "free_thresholds",
    "guess",
    "guess_of",
    "info_nce",
    "instance_discrimination",
    "mutual_information_bound",
    "negative_cosine",
    "normalize",
    "nt_xent",
    "sharpen",
    "sharpened",
    "sinkhorn",
    "soft_weights",
    "squared_difference",
    "swapped_prediction",
    "uniformity",
    "vicreg",
    "weighted_cross_entropy",
]
