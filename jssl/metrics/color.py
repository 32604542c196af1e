"""Measures of predicted colours."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.types import Array

LARGEST = 150  # distance on the ab plane up to which errors are told apart


def color_auc(error: Array, weight: Array | None = None) -> Array:
    """Area under the curve of colour errors: the part of the pixels whose error is at most t, averaged over t = 0..150.

    Args:
      error: float[...], distances on the ab plane, at least 0.
      weight: float[...], of every pixel, at least 0, not all 0: 1 / p(bin) makes it class-balanced; None for all alike.

    Returns:
      float32[] in [0, 1]; 1 for no error at all.

    Raises:
      ValueError: if shapes differ.

    References:
      Zhang et al., Colorful Image Colorization, 2016, section 3.1. https://arxiv.org/abs/1603.08511

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.color_auc(jnp.array([0.0, 75.0]))), 3)  # (151 + 76) / 151 / 2
      0.752
    """
    if weight is not None and weight.shape != error.shape:
        raise ValueError(f"color_auc: shapes {error.shape} and {weight.shape} differ")
    each = jnp.maximum(0, jnp.floor(LARGEST - error) + 1) / (LARGEST + 1)
    return jnp.mean(each) if weight is None else jnp.sum(each * weight) / jnp.sum(weight)
