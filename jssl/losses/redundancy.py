"""Redundancy-reduction losses, which decorrelate the dimensions of an embedding."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_pair
from jssl.losses.contrastive import PRECISION
from jssl.types import Array

BATCH_NORM_EPSILON = 1e-5  # of the batch norm that the official Barlow Twins standardises with


def barlow_twins(z1: Array, z2: Array, off_diagonal_weight: float = 0.0051) -> Array:
    """Barlow Twins: distance of the cross-correlation matrix of two views from the identity.

    Every dimension is standardised over the batch, each view on its own, with the biased variance.

    Args:
      z1, z2: embeddings of the two views, float[N, D], N > 1.
      off_diagonal_weight: the paper's lambda.

    Returns:
      sum_i (1 - C_ii)^2 + off_diagonal_weight * sum_{i != j} C_ij^2, float[].

    Raises:
      ValueError: if the shapes differ, are not rank 2, or N < 2.

    References:
      Zbontar et al., Barlow Twins, 2021, eq. 1 and 2. https://arxiv.org/abs/2103.03230

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> z = jnp.array([[1.0, 1.0], [-1.0, -1.0]])  # two dimensions that say the same
      >>> round(float(losses.barlow_twins(z, z)), 4)  # 2 * 0.0051
      0.0102
    """
    _check("barlow_twins", z1, z2)
    c = jnp.matmul(_standardized(z1).T, _standardized(z2), precision=PRECISION) / len(z1)
    diagonal = jnp.diagonal(c)
    on = jnp.sum(jnp.square(diagonal - 1))
    return on + off_diagonal_weight * _off_diagonal(c)


def vicreg(
    z1: Array,
    z2: Array,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    epsilon: float = 1e-4,
    as_in_paper: bool = False,
) -> dict[str, Array]:
    """VICReg: invariance, variance and covariance terms, each times its weight; the loss is their sum.

    Variances and covariances are unbiased (divided by N - 1) and over the whole batch.

    Args:
      z1, z2: embeddings of the two views, float[N, D], N > 1.
      invariance, variance, covariance: weights of the terms.
      epsilon: added to the variance before the square root.
      as_in_paper: the official code, which is the default, averages the invariance term over dimensions and
        the variance term over the two views; the paper sums both.

    Returns:
      {'invariance', 'variance', 'covariance'}, float[] each.

    Raises:
      ValueError: if the shapes differ, are not rank 2, or N < 2.

    References:
      Bardes et al., VICReg, 2022, eq. 1 to 6. https://arxiv.org/abs/2105.04906

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> collapsed = jnp.ones((4, 2))
      >>> {name: round(float(term), 2) for name, term in losses.vicreg(collapsed, collapsed).items()}
      {'invariance': 0.0, 'variance': 24.75, 'covariance': 0.0}
    """
    _check("vicreg", z1, z2)
    z1, z2 = z1.astype(jnp.float32), z2.astype(jnp.float32)
    n, d = z1.shape
    distance = jnp.sum(jnp.square(z1 - z2)) / (n if as_in_paper else n * d)
    spread, redundancy = jnp.zeros(()), jnp.zeros(())
    for z in (z1, z2):
        centred = z - jnp.mean(z, axis=0)
        c = jnp.matmul(centred.T, centred, precision=PRECISION) / (n - 1)
        var = jnp.diagonal(c)
        spread += jnp.mean(jax.nn.relu(1 - jnp.sqrt(var + epsilon)))
        redundancy += _off_diagonal(c) / d
    return {
        "invariance": invariance * distance,
        "variance": variance * (spread if as_in_paper else spread / 2),
        "covariance": covariance * redundancy,
    }


def _off_diagonal(c: Array) -> Array:
    """Sum of the squares off the diagonal; all minus the diagonal's would drown them in its rounding."""
    return jnp.sum(jnp.square(jnp.where(jnp.eye(len(c), dtype=bool), 0.0, c)))


def _standardized(z: Array) -> Array:
    z = z.astype(jnp.float32)
    return (z - jnp.mean(z, axis=0)) * jax.lax.rsqrt(jnp.var(z, axis=0) + BATCH_NORM_EPSILON)


def _check(name: str, z1: Array, z2: Array) -> None:
    check_pair(name, z1, z2)
    if len(z1) < 2:
        raise ValueError(f"{name} takes its statistics over the batch: two rows at least are needed")
