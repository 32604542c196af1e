"""Colour as a distribution over bins of the ab plane: targets, weights and what is read of a prediction."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.types import Array


def soft_encode(values: Array, bins: Array, sigma: float = 5.0) -> Array:
    """Values as distributions over bins, by a Gaussian of their distance to each.

    p_q is proportional to exp(-|x - b_q|^2 / 2 sigma^2). The paper takes the 5 nearest bins, its code 10: on a grid
    of 10 with sigma 5 those have all but 0.2 % of the sum over all.

    Args:
      values: float[..., D].
      bins: float[Q, D], their centres.
      sigma: standard deviation of the Gaussian, > 0.

    Returns:
      float32[..., Q]; the last axis sums to 1.

    Raises:
      ValueError: if shapes do not fit.

    References:
      Zhang et al., Colorful Image Colorization, 2016, section 2.1. https://arxiv.org/abs/1603.08511

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> bins = jnp.array([[0.0, 0.0], [10.0, 0.0]])
      >>> losses.soft_encode(jnp.array([5.0, 0.0]), bins).tolist()  # half way
      [0.5, 0.5]
    """
    check_bins("soft_encode", bins, values.shape[-1:])
    values, bins = values.astype(jnp.float32), bins.astype(jnp.float32)
    # |x|^2 is common to all bins, and the softmax does not see it.
    products = jnp.matmul(values, bins.T, precision=jax.lax.Precision.HIGHEST)
    return jax.nn.softmax((products - jnp.sum(bins**2, axis=-1) / 2) / sigma**2)


def annealed_mean(logits: Array, bins: Array, temperature: float = 0.38) -> Array:
    """The mean of the bins under a sharpened prediction: between its mean, at 1, and its mode, towards 0.

    Args:
      logits: float[..., Q].
      bins: float[Q, D].
      temperature: by which logits are divided, > 0.

    Returns:
      float32[..., D].

    Raises:
      ValueError: if shapes do not fit.

    References:
      Zhang et al., Colorful Image Colorization, 2016, eq. 5. https://arxiv.org/abs/1603.08511

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> bins = jnp.array([[0.0, 0.0], [10.0, 0.0]])
      >>> losses.annealed_mean(jnp.array([1.0, 1.0]), bins).tolist()
      [5.0, 0.0]
    """
    check_bins("annealed_mean", bins, bins.shape[1:], logits.shape[-1])
    p = jax.nn.softmax(logits.astype(jnp.float32) / temperature)
    return jnp.matmul(p, bins.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)


def rebalancing_weights(prior: Array, uniform_mix: float = 0.5) -> Array:
    """Weights of bins that let rare colours count for more: w is proportional to 1 / ((1 - m) p + m / Q).

    Args:
      prior: float[Q], the distribution p of the data's colours over bins, > 0 where m is 0.
      uniform_mix: the part m that is uniform, in [0, 1]; with 1 all weights are 1.

    Returns:
      float32[Q], whose mean under the prior is 1. No gradient flows into the prior.

    Raises:
      ValueError: if the prior is not [Q], or uniform_mix out of its range.

    References:
      Zhang et al., Colorful Image Colorization, 2016, eq. 4. https://arxiv.org/abs/1603.08511

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> losses.rebalancing_weights(jnp.array([0.75, 0.25]), uniform_mix=0.0).tolist()  # 2 / (3 + 1), 3 times that
      [0.6666666865348816, 2.0]
    """
    if prior.ndim != 1 or not 0 <= uniform_mix <= 1:
        raise ValueError(
            f"rebalancing_weights takes [Q] and a part in [0, 1], not {prior.shape} and {uniform_mix}"
        )
    prior = jax.lax.stop_gradient(prior.astype(jnp.float32))
    weights = 1 / ((1 - uniform_mix) * prior + uniform_mix / len(prior))
    return weights / jnp.sum(prior * weights)


def check_bins(name: str, bins: Array, dimensions: tuple[int, ...], count: int | None = None) -> None:
    """Raises ValueError unless bins are float[Q, D] for vectors of that many dimensions (and of that number)."""
    if bins.ndim != 2 or bins.shape[1:] != dimensions or count not in (None, len(bins)):
        raise ValueError(f"{name} takes bins [Q, D] for the last axis of what it is given, not {bins.shape}")
