"""Losses of predictions of the future in feature space: contrastive predictive coding."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jssl.losses.checks import check_positive
from jssl.losses.similarity import PRECISION
from jssl.types import Array


def predictive_info_nce(
    predicted: Array,
    features: Array,
    target: Sequence[int],
    context: Sequence[int] | None = None,
    temperature: float = 1.0,
) -> Array:
    """InfoNCE of predicted features: each picks its own time and place among all times and places of the batch.

    The score of prediction p and feature z is <p, z> / temperature, and the loss -log(exp(s_own) / sum exp(s)), over
    the candidates. Gradients flow to both sides. Computed in float32 whatever the input.

    Args:
      predicted: P predictions for each of B sequences at each of S places, float[B, P, S, D].
      features: what there was at each of T times, float[B, T, S, D]; they are the candidates.
      target: the time in [0, T) that each prediction is of, P integers.
      context: the time up to which each has seen its own sequence, P integers: what it has seen is no candidate. None,
        or negative, if it has seen none of them.
      temperature: positive.

    Returns:
      Mean over all predictions, float[], at least 0.

    Raises:
      ValueError: if shapes do not fit, or temperature is not positive.

    References:
      van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, eq. 4.
      https://arxiv.org/abs/1807.03748
      Han et al., Video Representation Learning by Dense Predictive Coding, 2019, eq. 5.
      https://arxiv.org/abs/1909.04656

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> features = jnp.eye(2).reshape(1, 2, 1, 2)  # a sequence of two times, one place
      >>> loss = losses.predictive_info_nce(features[:, 1:], features, target=(1,))
      >>> round(float(loss), 3)  # log(e + 1) - 1
      0.313
    """
    check_positive(temperature=temperature)
    scores = _scores(predicted / temperature, features, target, context)
    own = jnp.take_along_axis(scores, _positives(predicted, features, target)[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(scores, axis=1) - own)


def predictive_top1(
    predicted: Array, features: Array, target: Sequence[int], context: Sequence[int] | None = None
) -> Array:
    """How often a prediction's own time and place has the highest score, see `predictive_info_nce`.

    Returns:
      The part of the B S predictions of each kind, float[P] in [0, 1], without gradient.

    Raises:
      ValueError: if shapes do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> features = jnp.eye(2).reshape(1, 2, 1, 2)
      >>> losses.predictive_top1(features, features, target=(0, 0)).tolist()  # the second is the other time
      [1.0, 0.0]
    """
    predicted, features = jax.lax.stop_gradient((predicted, features))
    best = jnp.argmax(_scores(predicted, features, target, context), axis=1)
    right = best == _positives(predicted, features, target)
    return jnp.mean(right.reshape(predicted.shape[:3]), axis=(0, 2))


def _scores(predicted: Array, features: Array, target: Sequence[int], context: Sequence[int] | None) -> Array:
    """Scores of predictions with candidates, float32[B P S, B T S]; minus infinity where they have been seen."""
    fits = predicted.ndim == features.ndim == 4
    fits = fits and all(predicted.shape[axis] == features.shape[axis] for axis in (0, 2, 3))
    if not fits or not len(target) == predicted.shape[1] == len(target if context is None else context):
        raise ValueError(
            f"predictive losses take float[B, P, S, D], float[B, T, S, D] and P integers, not {predicted.shape}, "
            f"{features.shape} and {len(target)}"
        )
    batch, times, places, size = features.shape
    if not all(0 <= time < times for time in target):
        raise ValueError(f"target={tuple(target)} must be within the {times} times of the features")
    rows, columns = (x.astype(jnp.float32).reshape(-1, size) for x in (predicted, features))
    scores = jnp.matmul(rows, columns.T, precision=PRECISION)
    if context is None or max(context) < 0:
        return scores
    before = jnp.arange(times) <= jnp.asarray(context)[:, None]  # [P, T]
    same = jnp.arange(batch)[:, None] == jnp.arange(batch)
    seen = same[:, None, None, :, None, None] & before[:, None, None, :, None]
    seen = jnp.broadcast_to(seen, (batch, len(target), places, batch, times, places))
    return jnp.where(seen.reshape(scores.shape), -jnp.inf, scores)


def _positives(predicted: Array, features: Array, target: Sequence[int]) -> Array:
    """The candidate that each prediction is of, int32[B P S]: its own sequence, time and place."""
    batch, times, places, _ = features.shape
    sequence, place = np.arange(batch)[:, None, None], np.arange(places)
    own = (sequence * times + np.asarray(target)[:, None]) * places + place
    return jnp.asarray(own.reshape(-1), jnp.int32)
