"""Losses of what is filled in."""

from __future__ import annotations

from collections.abc import Callable

import jax
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
    return _of_hidden(jnp.square, predicted, target, hidden)


def masked_l1(predicted: Array, target: Array, hidden: Array) -> Array:
    """Mean absolute error of hidden patches; arguments and errors are those of `masked_mse`.

    References:
      Xie et al., SimMIM, 2021, section 3.4. https://arxiv.org/abs/2111.09886

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> predicted, target = jnp.zeros((1, 2, 3)), jnp.array([[[2.0, 2.0, 2.0], [9.0, 9.0, 9.0]]])
      >>> float(losses.masked_l1(predicted, target, jnp.array([[True, False]])))
      2.0
    """
    return _of_hidden(jnp.abs, predicted, target, hidden)


def _of_hidden(cost: Callable[[Array], Array], predicted: Array, target: Array, hidden: Array) -> Array:
    if predicted.shape != target.shape or hidden.shape != target.shape[:2]:
        raise ValueError(
            f"errors of hidden patches: shapes {predicted.shape}, {target.shape} and {hidden.shape} do not fit"
        )
    each = jnp.mean(cost(predicted.astype(jnp.float32) - target.astype(jnp.float32)), axis=-1)
    return jnp.sum(each, where=hidden) / jnp.maximum(1, jnp.sum(hidden))


def weighted_mse(predicted: Array, target: Array, weight: Array) -> Array:
    """Squared error of pixels, averaged with weights.

    Args:
      predicted, target: float[B, H, W, C].
      weight: float[B, H, W], at least 0; pixels of weight 0 count for nothing.

    Returns:
      sum w (p - t)^2 / (C sum w), float[]; 0 where all weights are.

    Raises:
      ValueError: if shapes do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> predicted, target = jnp.zeros((1, 1, 2, 1)), jnp.array([[[[1.0], [3.0]]]])
      >>> float(losses.weighted_mse(predicted, target, jnp.array([[[3.0, 1.0]]])))
      3.0
    """
    if predicted.shape != target.shape or weight.shape != target.shape[:3]:
        raise ValueError(
            f"weighted_mse: shapes {predicted.shape}, {target.shape} and {weight.shape} do not fit"
        )
    each = jnp.mean((predicted.astype(jnp.float32) - target.astype(jnp.float32)) ** 2, axis=-1)
    total = jnp.sum(weight)
    return jnp.sum(each * weight) / jnp.where(total > 0, total, 1)


def sparsity_kl(units: Array, target: float) -> Array:
    """Divergence of the mean activation of every unit from a target.

    Args:
      units: float[B, K] in (0, 1), as a sigmoid gives them.
      target: wanted mean activation over the batch, in (0, 1).

    Returns:
      Mean over units of t log(t / m) + (1 - t) log((1 - t) / (1 - m)), float[], at least 0; m, the mean over the batch,
      is kept 1e-6 away from 0 and 1.

    References:
      Ng, Sparse autoencoder (CS294A lecture notes), 2011. https://web.stanford.edu/class/cs294a/sparseAutoencoder.pdf

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> float(losses.sparsity_kl(jnp.full((4, 3), 0.05), 0.05))
      0.0
    """
    mean = jnp.clip(jnp.mean(units.astype(jnp.float32), axis=0), 1e-6, 1 - 1e-6)
    rare, often = jnp.float32(target), jnp.float32(1 - target)
    return jnp.mean(rare * jnp.log(rare / mean) + often * jnp.log(often / (1 - mean)))


def top_k_units(units: Array, k: int) -> Array:
    """Every row of float[B, K] with its k greatest numbers, and 0 for the others; no gradient reaches those.

    References:
      Makhzani and Frey, k-Sparse Autoencoders, 2013. https://arxiv.org/abs/1312.5663

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> losses.top_k_units(jnp.array([[3.0, 1.0, 2.0]]), 2).tolist()
      [[3.0, 0.0, 2.0]]
    """
    _, best = jax.lax.top_k(units, k)
    return units * jnp.sum(jax.nn.one_hot(best, units.shape[1], dtype=units.dtype), axis=1)


def non_saturating_gan(real: Array, fake: Array, generator: Array) -> tuple[Array, Array]:
    """The losses of both players of a generative adversarial network.

    Args:
      real: the discriminator's logits of real images, float[B].
      fake: those of generated ones, that do not lead back to the generator.
      generator: those of generated ones by a discriminator that does not learn from them.

    Returns:
      The discriminator's loss, the mean of the cross entropies of both kinds, and the generator's, -log D(fake),
      float[] each, at least 0; log 2 = 0.693 where all logits are 0.

    References:
      Goodfellow et al., Generative Adversarial Networks, 2014, section 3. https://arxiv.org/abs/1406.2661

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> [round(float(x), 3) for x in losses.non_saturating_gan(*jnp.zeros((3, 4)))]
      [0.693, 0.693]
    """
    discriminator = (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))) / 2
    return discriminator, jnp.mean(jax.nn.softplus(-generator))


def psnr(predicted: Array, target: Array, where: Array) -> Array:
    """Peak signal-to-noise ratio in decibels.

    Args:
      predicted, target: float[B, H, W, C].
      where: bool[B, H, W], the pixels that count; the peak is the range of all pixels of the target.

    Returns:
      10 log10(range^2 / mean squared error), float[].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> target = jnp.array([[[[0.0], [1.0]]]])
      >>> round(float(losses.psnr(target + 0.1, target, jnp.ones((1, 1, 2), bool))), 3)
      20.0
    """
    error = weighted_mse(predicted, target, where.astype(jnp.float32))
    peak = jnp.max(target) - jnp.min(target)
    return 10 * jnp.log10(jnp.maximum(peak**2, 1e-12) / jnp.maximum(error, 1e-12))
