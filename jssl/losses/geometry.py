"""What contrastive losses are made of, as quantities of their own."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_pair
from jssl.losses.contrastive import PRECISION, normalize
from jssl.types import Array


def alignment(z1: Array, z2: Array) -> Array:
    """Mean squared distance of l2-normalised pairs.

    Args:
      z1, z2: embeddings of two views, float[N, D]; need not be normalised.

    Returns:
      float[] in [0, 4]; 0 if the views of every image agree.

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Wang and Isola, Understanding Contrastive Representation Learning, 2020, eq. 6 with alpha = 2.
      https://arxiv.org/abs/2005.10242
    """
    check_pair("alignment", z1, z2)
    return jnp.mean(jnp.sum(jnp.square(normalize(z1) - normalize(z2)), axis=-1))


def uniformity(z: Array, t: float = 2.0) -> Array:
    """Log of the mean Gaussian potential exp(-t |z_i - z_j|^2) over distinct pairs of l2-normalised rows.

    Args:
      z: embeddings, float[N, D], N > 1; need not be normalised.
      t: positive.

    Returns:
      float[] in [-4t, 0]; 0 if all rows are one, about -t * 2 if they spread over the sphere.

    Raises:
      ValueError: for fewer than two rows, or a t that is not positive.

    References:
      Wang and Isola, Understanding Contrastive Representation Learning, 2020, eq. 7.
      https://arxiv.org/abs/2005.10242
    """
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"uniformity takes float[N, D] with N > 1, not {z.shape}")
    if not t > 0:
        raise ValueError(f"t={t} must be positive")
    z, n = normalize(z), len(z)
    cosine = jnp.matmul(z, z.T, precision=PRECISION)
    potential = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, -2 * t * (1 - cosine))
    return jax.nn.logsumexp(potential) - math.log(n * (n - 1))


def mutual_information_bound(nt_xent_value: Array, n: int) -> Array:
    """Lower bound of the mutual information of two views, log n - loss.

    Args:
      nt_xent_value: an InfoNCE loss, float[].
      n: how many candidates each anchor chose from, the positive included.

    Returns:
      float[] in nats, at most log n.

    Raises:
      ValueError: if n is not positive.

    References:
      van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, section 2.3.
      https://arxiv.org/abs/1807.03748
    """
    if n < 1:
        raise ValueError(f"n={n} must be positive")
    return math.log(n) - nt_xent_value
