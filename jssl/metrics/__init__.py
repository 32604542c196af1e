"""Pure measures of embeddings, assignments, classifications, segmentations, boxes and outliers: arrays in, numbers out.

For methods (at every step), evaluators and users alike; imports losses and types.
"""

from jssl.metrics.classification import accuracy, average_precision
from jssl.metrics.clustering import nmi
from jssl.metrics.color import color_auc
from jssl.metrics.detection import box_precision
from jssl.metrics.embedding import (
    alignment,
    alpha_req,
    entropy,
    kl_from_uniform,
    lidar,
    mean_cosine,
    mean_norm,
    mutual_information,
    mutual_information_bound,
    participation_ratio,
    rank_me,
    relative_std,
    uniformity,
)
from jssl.metrics.ood import auroc
from jssl.metrics.retrieval import by_class, ranked, recall_at
from jssl.metrics.segmentation import confusion, overlaps

__all__ = [
    "accuracy",
    "alignment",
    "alpha_req",
    "auroc",
    "average_precision",
    "box_precision",
    "by_class",
    "color_auc",
    "confusion",
    "entropy",
    "kl_from_uniform",
    "lidar",
    "mean_cosine",
    "mean_norm",
    "mutual_information",
    "mutual_information_bound",
    "nmi",
    "overlaps",
    "participation_ratio",
    "rank_me",
    "ranked",
    "recall_at",
    "relative_std",
    "uniformity",
]
