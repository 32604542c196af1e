"""Supervised losses: cross entropy with labels or distributions, and triplets."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.types import Array


def cross_entropy(
    logits: Array, labels: Array, weight: Array | None = None, label_smoothing: float = 0.0
) -> Array:
    """Cross entropy with integer labels or with distributions.

    Args:
      logits: float[N, C].
      labels: int[N], where -1 is no label and counts for nothing; or distributions float[N, C]. The loss is nan if a
        label is no class.
      weight: float[N], a factor of every row; the mean is over the rows that have a label, whatever their weight.
      label_smoothing: the part of a target that is spread evenly over all classes, in [0, 1).

    Returns:
      Mean over the rows with a label (0 if there are none), float[], at least 0.

    Raises:
      ValueError: if shapes do not fit, or label_smoothing is out of its range.

    References:
      Szegedy et al., Rethinking the Inception Architecture, 2015, section 7 (label smoothing).
      https://arxiv.org/abs/1512.00567

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits, labels = jnp.zeros((2, 4)), jnp.array([3, -1])  # the second row has no label
      >>> round(float(losses.cross_entropy(logits, labels)), 3)  # log 4
      1.386
    """
    check_logits("cross_entropy", logits)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} must be at least 0 and less than 1")
    check_rows("cross_entropy", logits, labels, weight)
    classes = logits.shape[1]
    known = jnp.ones(len(logits), jnp.float32)
    target = labels.astype(jnp.float32)
    if labels.ndim == 1:
        known = (labels >= 0).astype(jnp.float32)
        target = jnp.where(labels[:, None] < classes, jax.nn.one_hot(labels, classes), jnp.nan)
    target = (1 - label_smoothing) * target + label_smoothing / classes
    each = -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)), axis=-1) * known
    each = each if weight is None else each * weight
    return jnp.sum(each) / jnp.maximum(1, jnp.sum(known))


def batch_hard_triplet(embeddings: Array, labels: Array, margin: float | str = "soft") -> Array:
    """Triplet loss with the farthest positive and the nearest negative of every anchor in the batch.

    Distances are Euclidean; with 'soft' a triplet costs log(1 + exp(d_positive - d_negative)), with a number
    max(0, d_positive - d_negative + margin).

    Args:
      embeddings: float[N, D].
      labels: int[N], equal for positives; every row needs one other row of its label, and one of another label.
      margin: 'soft', or a number of at least 0.

    Returns:
      Mean over the anchors, float[], at least 0.

    Raises:
      ValueError: if shapes do not fit, or the margin is neither.

    References:
      Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017, eq. 5 and section 2.2.
      https://arxiv.org/abs/1703.07737

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> embeddings, labels = jnp.array([[0.0], [1.0], [3.0], [4.0]]), jnp.array([0, 0, 1, 1])
      >>> round(float(losses.batch_hard_triplet(embeddings, labels, margin=2.0)), 3)  # (0 + 1 + 1 + 0) / 4
      0.5
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"batch_hard_triplet takes [N, D] and [N], not {embeddings.shape} and {labels.shape}"
        )
    if not (margin == "soft" if isinstance(margin, str) else margin >= 0):
        raise ValueError(f"margin={margin!r} must be 'soft' or a number of at least 0")
    x = embeddings.astype(jnp.float32)
    x = x - jax.lax.stop_gradient(jnp.mean(x, axis=0))  # distances of rows far from 0 drown in rounding
    square = jnp.sum(x * x, axis=-1)
    products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
    # The root of 0 has no gradient: between equal rows, and of a row with itself.
    distances = jnp.sqrt(jnp.maximum(square[:, None] + square - 2 * products, 1e-12))
    same = labels[:, None] == labels
    positive = jnp.max(jnp.where(same & ~jnp.eye(len(x), dtype=bool), distances, -jnp.inf), axis=1)
    negative = jnp.min(jnp.where(same, jnp.inf, distances), axis=1)
    if isinstance(margin, str):
        return jnp.mean(jax.nn.softplus(positive - negative))
    return jnp.mean(jax.nn.relu(positive - negative + margin))


def check_logits(name: str, *arrays: Array) -> None:
    """Raises ValueError unless all are [N, C] of one shape."""
    if any(array.ndim != 2 or array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"{name} takes float[N, C], not {', '.join(str(array.shape) for array in arrays)}")


def check_rows(name: str, logits: Array, labels: Array, weight: Array | None = None) -> None:
    """Raises ValueError unless labels are [N] or [N, C], and the weight [N] if there is one, for logits [N, C]."""
    if labels.shape not in (logits.shape[:1], logits.shape):
        raise ValueError(f"{name} takes labels [N] or [N, C] for logits {logits.shape}, not {labels.shape}")
    if weight is not None and weight.shape != logits.shape[:1]:
        raise ValueError(f"{name} takes a weight [N] for logits {logits.shape}, not {weight.shape}")
