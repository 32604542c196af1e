"""How healthy a representation is: pure functions of a batch of embeddings, cheap enough for every step."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jssl.losses import normalize
from jssl.losses.checks import check_pair
from jssl.losses.similarity import PRECISION
from jssl.types import Array

TINY = 1e-6  # singular values below that part of the largest are rounding


def relative_std(z: Array) -> Array:
    """Mean over dimensions of the standard deviation of l2-normalised rows, times sqrt(D).

    Args:
      z: embeddings, float[N, D].

    Returns:
      float[] in [0, 1]: about 1 if the rows spread over the sphere, 0 if all are the same (SimSiam, section 4.1).

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
      >>> round(float(metrics.relative_std(z)), 3)
      1.0
    """
    return jnp.mean(jnp.std(normalize(z), axis=0)) * jnp.sqrt(z.shape[-1])


def participation_ratio(z: Array) -> Array:
    """Effective rank (sum of eigenvalues)^2 / sum of their squares, of the covariance of z.

    It needs no eigenvalues, only two traces, so that it can be logged at every step.

    Args:
      z: embeddings, float[N, D].

    Returns:
      float[] in [0, min(N - 1, D)]; 0 only for a constant z.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
      >>> round(float(metrics.participation_ratio(z)), 3)  # two directions of equal variance
      2.0
    """
    centred = z.astype(jnp.float32) - jnp.mean(z, axis=0)
    n, d = centred.shape
    gram = centred.T @ centred if d <= n else centred @ centred.T  # the same non-zero eigenvalues
    return jnp.square(jnp.trace(gram)) / jnp.maximum(jnp.sum(jnp.square(gram)), 1e-30)


def rank_me(z: Array, epsilon: float = 1e-7) -> Array:
    """RankMe: the exponential of the entropy of the normalised singular values of z, which is not centred.

    Args:
      z: embeddings, float[N, D].
      epsilon: added to every normalised singular value.

    Returns:
      float[] in [1, min(N, D)] up to epsilon: the number of directions, counted as far as they are used.

    References:
      Garrido et al., RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations
      by Their Rank, 2023, eq. 1. https://arxiv.org/abs/2210.02885

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.rank_me(jnp.eye(4))), 3)
      4.0
    """
    sigma = jnp.linalg.svd(z.astype(jnp.float32), compute_uv=False)
    p = sigma / jnp.maximum(jnp.sum(sigma), 1e-30) + epsilon
    return jnp.exp(-jnp.sum(p * jnp.log(p)))


def lidar(z: Array, delta: float = 1e-4, epsilon: float = 1e-8) -> Array:
    """LiDAR: the exponential of the entropy of the normalised eigenvalues of a linear discriminant analysis.

    The views of an image are a class; S_w^(-1/2) S_b S_w^(-1/2), of the covariances within and between them, has a
    large eigenvalue for every direction that tells images but not their views.

    Args:
      z: embeddings of q views of N images, float[q, N, D], q and N at least 2.
      delta: added to the variances within an image, in the units of z.
      epsilon: added to every normalised eigenvalue.

    Returns:
      float[] in [1, min(N - 1, D)] up to epsilon.

    Raises:
      ValueError: for fewer views or images.

    References:
      Thilak et al., LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures, 2023, eqs. 1 to 3.
      https://arxiv.org/abs/2312.04000

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> images = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
      >>> round(float(metrics.lidar(jnp.stack([images, images]))), 3)  # two directions, and views that agree
      2.0
    """
    if z.ndim != 3 or min(z.shape[:2]) < 2:
        raise ValueError(f"lidar takes float[q, N, D] with q and N at least 2, not {z.shape}")
    views, images, dim = z.shape
    z = z.astype(jnp.float32) - jnp.mean(z, axis=(0, 1))
    if dim > views * images:  # the rows in coordinates of the space that they span
        z = jnp.linalg.qr(z.reshape(-1, dim).T, mode="r").T.reshape(views, images, -1)
    means = jnp.mean(z, axis=0)
    within = (z - means).reshape(-1, z.shape[-1])
    covariance = jnp.matmul(within.T, within, precision=PRECISION) / len(within)
    factor = jnp.linalg.cholesky(covariance + delta * jnp.eye(len(covariance)))
    white = jax.scipy.linalg.solve_triangular(factor, means.T, lower=True)
    eigenvalues = jnp.square(jnp.linalg.svd(white, compute_uv=False))
    p = eigenvalues / jnp.maximum(jnp.sum(eigenvalues), 1e-30) + epsilon
    return jnp.exp(-jnp.sum(p * jnp.log(p)))


def alpha_req(z: Array, first: int = 11, last: int = 50) -> Array:
    """Alpha-ReQ: how fast the eigenvalues of the covariance of z decay, lambda_j ~ j^-alpha.

    The slope of log lambda over log j by least squares, with weights 1 / j, so that every octave counts alike.

    Args:
      z: embeddings, float[N, D].
      first, last: the ranks that are fitted; of fewer than three directions in that range, all that there are.

    Returns:
      float[], 0 at least: near 1 for representations that generalise, by the reference; 0 too where fewer than two
      directions are used.

    References:
      Agrawal et al., alpha-ReQ: Assessing Representation Quality in Self-Supervised Learning by measuring
      eigenspectrum decay, 2022. https://openreview.net/forum?id=ii9X4vtZGTZ

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> scale = jnp.arange(1.0, 9.0) ** -0.75  # of the directions; variances are its square
      >>> z = jnp.concatenate([jnp.diag(scale), -jnp.diag(scale)])
      >>> round(float(metrics.alpha_req(z)), 3)
      1.5
    """
    sigma = jnp.linalg.svd(z.astype(jnp.float32) - jnp.mean(z, axis=0), compute_uv=False)
    ranks = jnp.arange(1, len(sigma) + 1)
    used = sigma > TINY * jnp.maximum(sigma[0], 1e-30)
    middle = used & (ranks >= first) & (ranks <= last)
    weight = jnp.where(jnp.sum(middle) > 2, middle, used) / ranks
    total = jnp.maximum(jnp.sum(weight), 1e-30)
    x, y = jnp.log(ranks), jnp.where(used, 2 * jnp.log(jnp.where(used, sigma, 1.0)), 0.0)
    x, y = (each - jnp.sum(weight * each) / total for each in (x, y))
    spread = jnp.sum(weight * x * x)
    slope = jnp.sum(weight * x * y) / jnp.where(spread > 0, spread, 1.0)
    return jnp.where(jnp.sum(used) > 1, -slope, 0.0)


def mean_cosine(z: Array) -> Array:
    """Mean cosine over all pairs of distinct rows, in O(N D).

    Args:
      z: embeddings, float[N, D], N at least 2.

    Returns:
      float[] in [-1 / (N - 1), 1]: 1 if all rows point the same way, about 0 if they spread over the sphere.

    Raises:
      ValueError: if there is no pair.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.mean_cosine(jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))), 3)  # (1 + 0 + 0) / 3
      0.333
    """
    n = len(z)
    if n < 2:
        raise ValueError(f"mean_cosine takes at least 2 rows, not {n}")
    unit = normalize(z)
    of_all = jnp.sum(jnp.square(jnp.sum(unit, axis=0)))
    return (of_all - jnp.sum(jnp.square(unit))) / (n * (n - 1))


def mean_norm(z: Array) -> Array:
    """Mean Euclidean norm of the rows of float[N, D], float[] at least 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> float(metrics.mean_norm(jnp.array([[3.0, 4.0], [0.0, 1.0]])))
      3.0
    """
    return jnp.mean(jnp.linalg.norm(z.astype(jnp.float32), axis=-1))


def entropy(p: Array) -> Array:
    """Mean entropy of distributions.

    Args:
      p: one distribution a row, float[N, K].

    Returns:
      float[] in [0, log K], in nats: 0 if every row is one-hot.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.entropy(jnp.array([[0.5, 0.5], [1.0, 0.0]]))), 3)  # log(2) / 2
      0.347
    """
    return jnp.mean(jnp.sum(jax.scipy.special.entr(p.astype(jnp.float32)), axis=-1))


def kl_from_uniform(p: Array) -> Array:
    """Kullback-Leibler divergence of the mean distribution from the uniform one.

    Args:
      p: one distribution a row, float[N, K].

    Returns:
      float[] in [0, log K], in nats: 0 if all classes are used alike, log K if one takes everything.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.kl_from_uniform(jnp.array([[1.0, 0.0], [1.0, 0.0]]))), 3)  # log 2: one class takes all
      0.693
    """
    return jnp.log(p.shape[-1]) - entropy(jnp.mean(p.astype(jnp.float32), axis=0, keepdims=True))


def mutual_information(p: Array) -> Array:
    """Mutual information of row and class: entropy of the mean distribution less the mean entropy.

    The log of the number of classes is this plus `entropy(p)` plus `kl_from_uniform(p)`.

    Args:
      p: one distribution a row, float[N, K].

    Returns:
      float[] in [0, log min(N, K)], in nats: 0 exactly if all rows are the same, be they one-hot or uniform,
      which are the two collapses of methods with prototypes.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.mutual_information(jnp.eye(2))), 3)  # log 2: each row is sure of another class
      0.693
    """
    return entropy(jnp.mean(p.astype(jnp.float32), axis=0, keepdims=True)) - entropy(p)


def alignment(z1: Array, z2: Array) -> Array:
    """Alignment of positive pairs: mean squared distance after l2-normalisation.

    Args:
      z1, z2: embeddings of two views, float[N, D]; need not be normalised.

    Returns:
      float[] in [0, 4]; 0 if the views of every image agree.

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Wang and Isola, Understanding Contrastive Representation Learning, 2020, eq. 6 with alpha = 2.
      https://arxiv.org/abs/2005.10242

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> z1, z2 = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 3.0]])
      >>> round(float(metrics.alignment(z1, z2)), 3)
      2.0
    """
    check_pair("alignment", z1, z2)
    return jnp.mean(jnp.sum(jnp.square(normalize(z1) - normalize(z2)), axis=-1))


def uniformity(z: Array, t: float = 2.0) -> Array:
    """Uniformity: log of the mean Gaussian potential exp(-t |z_i - z_j|^2) over distinct pairs of l2-normalised rows.

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

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.uniformity(jnp.array([[1.0, 0.0], [-1.0, 0.0]]))), 3)  # -2 * 2^2
      -8.0
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

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import metrics
      >>> round(float(metrics.mutual_information_bound(jnp.array(0.5), n=8)), 3)  # log 8 - 0.5
      1.579
    """
    if n < 1:
        raise ValueError(f"n={n} must be positive")
    return math.log(n) - nt_xent_value
