"""Losses of what is filled in."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.types import Array

EPSILON = 1e-6  # of a patch's variance, as in MAE's code


def patch_moments(patches: Array) -> tuple[Array, Array]:
    """Mean and deviation of every patch, float32[..., 1] each, of its numbers float[..., P].

    The variance is divided by P - 1, and has 1e-6 added, as in MAE's code.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> mean, deviation = losses.patch_moments(jnp.array([[1.0, 2.0, 3.0]]))
      >>> float(mean[0, 0]), round(float(deviation[0, 0]), 3)
      (2.0, 1.0)
    """
    x = patches.astype(jnp.float32)
    return jnp.mean(x, axis=-1, keepdims=True), jnp.sqrt(jnp.var(x, axis=-1, keepdims=True, ddof=1) + EPSILON)


def normalize_patches(patches: Array) -> Array:
    """Every patch, float[..., P], without its mean and divided by its deviation; a flat one becomes 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> losses.normalize_patches(jnp.array([[1.0, 2.0, 3.0]])).round(3).tolist()
      [[-1.0, 0.0, 1.0]]
    """
    mean, deviation = patch_moments(patches)
    return (patches - mean) / deviation


def masked_mse(predicted: Array, target: Array, hidden: Array) -> Array:
    """Mean squared error of hidden patches.

    Args:
      predicted, target: float[B, N, P].
      hidden: bool[B, N]; the others count for nothing.

    Returns:
      Mean over all numbers of the hidden patches of the batch, float[], at least 0.

    Raises:
      ValueError: if shapes do not fit.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. https://arxiv.org/abs/2111.06377

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> predicted, target = jnp.zeros((1, 2, 3)), jnp.array([[[1.0, 1.0, 1.0], [9.0, 9.0, 9.0]]])
      >>> float(losses.masked_mse(predicted, target, jnp.array([[True, False]])))
      1.0
    """
    if predicted.shape != target.shape or hidden.shape != target.shape[:2]:
        raise ValueError(
            f"masked_mse: shapes {predicted.shape}, {target.shape} and {hidden.shape} do not fit"
        )
    each = jnp.mean((predicted.astype(jnp.float32) - target.astype(jnp.float32)) ** 2, axis=-1)
    return jnp.sum(each, where=hidden) / jnp.maximum(1, jnp.sum(hidden))
