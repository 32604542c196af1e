"""Losses against cluster assignments."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_pair, check_positive
from jssl.losses.distillation import swapped_cross_entropy
from jssl.types import Array


def sinkhorn(scores: Array, epsilon: float = 0.05, iterations: int = 3) -> Array:
    """Soft assignments that use all prototypes equally, by Sinkhorn-Knopp on exp(scores / epsilon).

    Each iteration makes the columns' sums equal, then the rows'. In logarithms, so that no score is too large;
    under `jit` the sums are those of the global batch.

    Args:
      scores: similarities of samples and prototypes, float[B, K].
      epsilon: positive; smaller is harder.
      iterations: at least 1.

    Returns:
      Assignments float32[B, K] without gradient; every row sums to 1, every column to about B / K.

    Raises:
      ValueError: for scores that are not rank 2, or settings that are not positive.

    References:
      Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, eq. 5.
      https://arxiv.org/abs/2006.09882

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> scores = jnp.array([[1.0, 0.0], [1.0, 0.0]])  # both samples prefer the first prototype
      >>> [round(x, 3) for x in losses.sinkhorn(scores).ravel().tolist()]
      [0.5, 0.5, 0.5, 0.5]
    """
    if scores.ndim != 2:
        raise ValueError(f"sinkhorn takes scores float[B, K], not {scores.shape}")
    check_positive(epsilon=epsilon, iterations=iterations)
    log_q = jax.lax.stop_gradient(scores).astype(jnp.float32) / epsilon
    for _ in range(iterations):
        log_q -= jax.nn.logsumexp(log_q, axis=0, keepdims=True)
        log_q -= jax.nn.logsumexp(log_q, axis=1, keepdims=True)
    return jnp.exp(log_q)


def swapped_prediction(
    scores_by_view: Sequence[Array], assignments_by_view: Sequence[Array], temperature: float = 0.1
) -> Array:
    """SwAV's loss: every view predicts the assignments of every other view that has some.

    Args:
      scores_by_view: similarities with the prototypes, for every view float[B, K].
      assignments_by_view: for the first (global) views float[B, K], rows sum to 1; they receive no gradient.
      temperature: positive, of the predictions.

    Returns:
      Mean over the batch and over the pairs of different views, float[], at least 0.

    Raises:
      ValueError: if there is no pair, shapes differ, or the temperature is not positive.

    References:
      Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, eq. 2.
      https://arxiv.org/abs/2006.09882

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> scores, assignments = jnp.zeros((8, 2)), jnp.full((8, 2), 0.5)
      >>> loss = losses.swapped_prediction([scores, scores, scores], [assignments, assignments])
      >>> round(float(loss), 3)  # log 2: no prototype is likelier than the other
      0.693
    """
    for scores in (*scores_by_view, *assignments_by_view):
        check_pair("swapped_prediction", scores_by_view[0], scores)
    return swapped_cross_entropy(scores_by_view, assignments_by_view, temperature)
