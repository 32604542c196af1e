"""Losses against a target network: its output is what the online one predicts."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_pair, check_positive
from jssl.losses.contrastive import normalize
from jssl.types import Array


def normalized_mse(prediction: Array, target: Array) -> Array:
    """Regression loss of BYOL and SimSiam: 2 - 2 cos(prediction, stop_gradient(target)).

    Args:
      prediction: predictor outputs, float[N, D]; need not be normalised.
      target: target projections, float[N, D]; receives no gradient.

    Returns:
      Mean over the batch, float[], in [0, 4].

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Grill et al., Bootstrap Your Own Latent, 2020, eq. 2. https://arxiv.org/abs/2006.07733

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> prediction, target = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 3.0]])
      >>> round(float(losses.normalized_mse(prediction, target)), 3)  # orthogonal
      2.0
    """
    check_pair("normalized_mse", prediction, target)
    cosine = jnp.sum(normalize(prediction) * jax.lax.stop_gradient(normalize(target)), axis=-1)
    return 2 - 2 * jnp.mean(cosine)


def dino_cross_entropy(
    student_logits: Sequence[Array],
    teacher_logits: Sequence[Array],
    center: Array,
    student_temperature: float | Array = 0.1,
    teacher_temperature: float | Array = 0.04,
) -> Array:
    """Cross entropy of the student's distributions with the teacher's, for every pair of different crops.

    The teacher's is softmax((logits - center) / teacher_temperature), without gradient. Crop i of the teacher
    is crop i of the student; that pair is left out.

    Args:
      student_logits: for every crop float[N, K].
      teacher_logits: for the first (global) crops float[N, K].
      center: float[K].
      student_temperature, teacher_temperature: positive.

    Returns:
      Mean over the batch and over the pairs, float[], at least 0.

    Raises:
      ValueError: if there is no pair, shapes differ, or a number as temperature is not positive.

    References:
      Caron et al., Emerging Properties in Self-Supervised Vision Transformers, 2021, eq. 3 and algorithm 1.
      https://arxiv.org/abs/2104.14294

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits = jnp.zeros((8, 4))
      >>> loss = losses.dino_cross_entropy([logits, logits, logits], [logits, logits], center=jnp.zeros(4))
      >>> round(float(loss), 3)  # log 4: student and teacher are uniform
      1.386
    """
    for logits in (*student_logits, *teacher_logits):
        check_pair("dino_cross_entropy", student_logits[0], logits)
    if center.shape != student_logits[0].shape[1:]:
        raise ValueError(
            f"dino_cross_entropy takes a center float[K] for {student_logits[0].shape}, not {center.shape}"
        )
    if isinstance(teacher_temperature, float | int):
        check_positive(teacher_temperature=teacher_temperature)
    targets = [sharpened(logits, center, teacher_temperature) for logits in teacher_logits]
    return swapped_cross_entropy(student_logits, targets, student_temperature)


def sharpened(teacher_logits: Array, center: Array, temperature: float | Array) -> Array:
    """DINO's targets softmax((logits - center) / temperature), float32[N, K] without gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits = jnp.log(jnp.array([[0.25, 0.75]]))
      >>> result = losses.sharpened(logits, jnp.zeros(2), temperature=0.5)  # 1 : 3 becomes 1 : 9
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [0.1, 0.9]
    """
    centred = (teacher_logits.astype(jnp.float32) - center) / temperature
    return jax.lax.stop_gradient(jax.nn.softmax(centred, axis=-1))


def swapped_cross_entropy(
    logits_by_view: Sequence[Array], targets_by_view: Sequence[Array], temperature: float | Array
) -> Array:
    """Mean over all pairs of different views of the cross entropy of one's softmax with the other's target.

    Args:
      logits_by_view: float[N, K] each.
      targets_by_view: distributions float[N, K] of the first views; they receive no gradient.
      temperature: positive, divides the logits.

    Returns:
      float[], at least 0.

    Raises:
      ValueError: if there is no pair of different views, there are more targets than views, or a number as
        temperature is not positive.
    """
    if len(targets_by_view) > len(logits_by_view):
        raise ValueError(
            f"{len(targets_by_view)} targets for {len(logits_by_view)} views: one for each at most"
        )
    if isinstance(temperature, float | int):
        check_positive(temperature=temperature)
    log_p = [jax.nn.log_softmax(x.astype(jnp.float32) / temperature, axis=-1) for x in logits_by_view]
    pairs = [(i, j) for i in range(len(targets_by_view)) for j in range(len(log_p)) if i != j]
    if not pairs:
        raise ValueError("a view predicts another one: two views at least are needed")
    # Summed over the views that predict first: one product for every target instead of one for every pair.
    total = sum(log_p)
    terms = [
        -jnp.mean(jnp.sum(jax.lax.stop_gradient(target) * (total - log_p[i]), axis=-1))
        for i, target in enumerate(targets_by_view)
    ]
    return sum(terms) / len(pairs)  # type: ignore[return-value]
