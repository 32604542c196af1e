"""Pure loss functions: arrays in, scalar (or small dict) out."""

from jssl.losses.clustering import sinkhorn, swapped_prediction
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
from jssl.losses.redundancy import barlow_twins, vicreg

__all__ = [
    "GATHERED",
    "Blocks",
    "Gathered",
    "Pairs",
    "alignment",
    "barlow_twins",
    "contrastive_accuracy",
    "dino_cross_entropy",
    "info_nce",
    "instance_discrimination",
    "mutual_information_bound",
    "negative_cosine",
    "normalize",
    "nt_xent",
    "sharpened",
    "sinkhorn",
    "swapped_prediction",
    "uniformity",
    "vicreg",
]
