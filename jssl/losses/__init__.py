"""Pure loss functions: arrays in, a scalar (or a small dict of terms) out.

Nothing here knows of a network, a method or a config. Imports parallel, errors and types alone.

  loss = jssl.losses.nt_xent(z1, z2, temperature=0.1)
"""

from jssl.losses.clustering import sinkhorn, swapped_prediction
from jssl.losses.colorization import annealed_mean, rebalancing_weights, soft_encode
from jssl.losses.consistency import adversarial_direction, entropy, kl_divergence, softmax_mse
from jssl.losses.contrastive import (
    contrastive_accuracy,
    decoupled_contrastive,
    info_nce,
    instance_discrimination,
    normalize,
    nt_xent,
)
from jssl.losses.detection import center_targets, generalized_iou, heat_map_focal
from jssl.losses.distillation import dino_cross_entropy, normalized_mse, sharpened
from jssl.losses.multimodal import clip, siglip
from jssl.losses.predictive import predictive_info_nce, predictive_top1
from jssl.losses.pseudo import (
    PseudoLabels,
    distribution_alignment,
    flexible_thresholds,
    free_thresholds,
    pseudo_labels,
    pseudo_labels_of,
    self_adaptive_fairness,
    sharpen,
    softmatch_weights,
    weighted_cross_entropy,
)
from jssl.losses.reconstruction import (
    masked_l1,
    masked_mse,
    non_saturating_gan,
    normalize_patches,
    patch_moments,
    psnr,
    sparsity_kl,
    top_k_units,
    weighted_mse,
)
from jssl.losses.redundancy import barlow_twins, vicreg
from jssl.losses.ring import Ring
from jssl.losses.similarity import DENSE, Blockwise, Dense, Similarity
from jssl.losses.supervised import batch_hard_triplet, cross_entropy

__all__ = [
    "DENSE",
    "Blockwise",
    "Dense",
    "PseudoLabels",
    "Ring",
    "Similarity",
    "adversarial_direction",
    "annealed_mean",
    "barlow_twins",
    "batch_hard_triplet",
    "center_targets",
    "clip",
    "contrastive_accuracy",
    "cross_entropy",
    "decoupled_contrastive",
    "dino_cross_entropy",
    "distribution_alignment",
    "entropy",
    "flexible_thresholds",
    "free_thresholds",
    "generalized_iou",
    "heat_map_focal",
    "info_nce",
    "instance_discrimination",
    "kl_divergence",
    "masked_l1",
    "masked_mse",
    "non_saturating_gan",
    "normalize",
    "normalize_patches",
    "normalized_mse",
    "nt_xent",
    "patch_moments",
    "predictive_info_nce",
    "predictive_top1",
    "pseudo_labels",
    "pseudo_labels_of",
    "psnr",
    "rebalancing_weights",
    "self_adaptive_fairness",
    "sharpen",
    "sharpened",
    "siglip",
    "sinkhorn",
    "soft_encode",
    "softmatch_weights",
    "softmax_mse",
    "sparsity_kl",
    "swapped_prediction",
    "top_k_units",
    "vicreg",
    "weighted_cross_entropy",
    "weighted_mse",
]
