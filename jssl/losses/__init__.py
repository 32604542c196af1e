"""Pure loss functions: arrays in, scalar (or small dict) out."""

from jssl.losses.contrastive import contrastive_accuracy, normalize, nt_xent

__all__ = ["contrastive_accuracy", "normalize", "nt_xent"]
