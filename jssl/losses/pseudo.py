"""Pseudo-labels: which of them count, how much, and the losses against them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_positive
from jssl.losses.supervised import check_logits, check_rows
from jssl.types import Array


class PseudoLabels(NamedTuple):
    """A classifier's predictions for images without a label; nothing of them has a gradient.

    Attributes:
      probabilities: float32[N, C].
      confidence: the largest of them, float32[N] in [1 / C, 1].
      label: the class that it belongs to, int32[N].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> p = losses.PseudoLabels(jnp.array([[0.25, 0.75]]), jnp.array([0.75]), jnp.array([1]))
      >>> print(p.confidence >= 0.7)
      [ True]
    """

    probabilities: Array
    confidence: Array
    label: Array


def pseudo_labels(logits: Array, temperature: float = 1.0) -> PseudoLabels:
    """Pseudo-labels of logits float[N, C]; a temperature, which must be positive, sharpens them if below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> found = losses.pseudo_labels(jnp.log(jnp.array([[0.25, 0.75]])), temperature=0.5)
      >>> int(found.label[0]), round(float(found.confidence[0]), 3)  # 1 : 3 becomes 1 : 9
      (1, 0.9)
    """
    check_positive(temperature=temperature)
    return pseudo_labels_of(jax.nn.softmax(logits.astype(jnp.float32) / temperature))


def pseudo_labels_of(probabilities: Array) -> PseudoLabels:
    """Pseudo-labels of distributions float[N, C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> found = losses.pseudo_labels_of(jnp.array([[0.25, 0.75]]))
      >>> int(found.label[0]), float(found.confidence[0])
      (1, 0.75)
    """
    p = jax.lax.stop_gradient(probabilities).astype(jnp.float32)
    return PseudoLabels(p, jnp.max(p, axis=-1), jnp.argmax(p, axis=-1).astype(jnp.int32))


def weighted_cross_entropy(logits: Array, target: Array, weight: Array) -> Array:
    """Cross entropy with pseudo-labels as targets, each times its weight: FixMatch and its kin.

    Args:
      logits: of the strong views, float[N, C].
      target: pseudo-labels int[N], or distributions float[N, C]; receive no gradient.
      weight: float[N], 0 for pseudo-labels that do not count; receives no gradient.

    Returns:
      Mean over N, float[], at least 0: over all of the batch and not over the pseudo-labels that count, so that a
      classifier which is sure of little learns little from it.

    Raises:
      ValueError: if shapes do not fit.

    References:
      Sohn et al., FixMatch, 2020, eq. 4. https://arxiv.org/abs/2001.07685

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits, target, weight = jnp.zeros((2, 2)), jnp.array([0, 1]), jnp.array([1.0, 0.0])
      >>> round(float(losses.weighted_cross_entropy(logits, target, weight)), 3)  # log(2) / 2
      0.347
    """
    check_logits("weighted_cross_entropy", logits)
    check_rows("weighted_cross_entropy", logits, target, weight)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if target.ndim == 1:
        target = jax.nn.one_hot(target, logits.shape[1])
    each = -jnp.sum(jax.lax.stop_gradient(target) * log_p, axis=-1)
    return jnp.mean(jax.lax.stop_gradient(weight) * each)


def sharpen(probabilities: Array, temperature: float) -> Array:
    """p^(1/T) / sum p^(1/T) of float[N, C], in float32: nearer to one-hot for T in (0, 1) (MixMatch, eq. 7).

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> result = losses.sharpen(jnp.array([[0.25, 0.75]]), temperature=0.5)  # 1 : 3 becomes 1 : 9
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [0.1, 0.9]
    """
    check_positive(temperature=temperature)
    p = probabilities.astype(jnp.float32)
    return jax.nn.softmax(jnp.where(p > 0, jnp.log(jnp.maximum(p, 1e-30)) / temperature, -jnp.inf))


def flexible_thresholds(learned: Array, unused: Array, threshold: float, warm_up: bool = True) -> Array:
    """FlexMatch's thresholds: lower for classes that are predicted less often.

    beta = counts / max(counts) and threshold * beta / (2 - beta) for every class. With `warm_up` the images that were
    never predicted with confidence count in the denominator, too.

    Args:
      learned: how many images' last confident pseudo-label was each class, float[C].
      unused: how many images had no confident pseudo-label yet, float[].
      threshold: in (0, 1], of the class predicted most often.

    Returns:
      float[C] in [0, threshold].

    References:
      Zhang et al., FlexMatch, 2021, eqs. 6, 7, 10, 11. https://arxiv.org/abs/2110.08263

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> learned, unused = jnp.array([8.0, 4.0]), jnp.array(0.0)
      >>> result = losses.flexible_thresholds(learned, unused, threshold=0.9)  # 0.9 * [1, 0.5 / 1.5]
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [0.9, 0.3]
    """
    most = jnp.max(learned)
    most = jnp.maximum(most, unused) if warm_up else most
    beta = learned / jnp.maximum(most, 1)
    return threshold * beta / (2 - beta)


def free_thresholds(mean_confidence: Array, mean_probabilities: Array) -> Array:
    """FreeMatch's thresholds: the mean confidence, times each class' mean probability over the largest of them.

    Args:
      mean_confidence: a running mean, float[].
      mean_probabilities: running means, float[C].

    Returns:
      float[C] in [0, mean_confidence].

    References:
      Wang et al., FreeMatch, 2022, eqs. 5 to 8. https://arxiv.org/abs/2205.07246

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> result = losses.free_thresholds(jnp.array(0.8), jnp.array([0.5, 0.25, 0.25]))
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [0.8, 0.4, 0.4]
    """
    return mean_confidence * mean_probabilities / jnp.max(mean_probabilities)


def self_adaptive_fairness(
    logits: Array, weight: Array, mean_probabilities: Array, mean_histogram: Array, epsilon: float = 1e-6
) -> Array:
    """FreeMatch's self-adaptive fairness: cross entropy between two ratios of probability to frequency.

    The batch's mean prediction on strong views that count, divided by the histogram of its pseudo-labels, is driven
    away from the running mean prediction, divided by its own histogram: minus their cross entropy, both normalised.

    Args:
      logits: of the strong views, float[N, C].
      weight: 1 for rows that count, float[N]; receives no gradient.
      mean_probabilities, mean_histogram: running means, float[C]; receive no gradient.
      epsilon: is added in the logarithm, for classes that no row was predicted to be.

    Returns:
      float[], at most log(1 + epsilon); 0 if no row counts.

    Raises:
      ValueError: if shapes do not fit.

    References:
      Wang et al., FreeMatch, 2022, eqs. 9 to 11. https://arxiv.org/abs/2205.07246

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits, even = jnp.array([[1.0, -1.0], [-1.0, 1.0]]), jnp.array([0.5, 0.5])
      >>> round(float(losses.self_adaptive_fairness(logits, jnp.ones(2), even, even)), 3)  # -log 2: fair
      -0.693
    """
    check_logits("fairness", logits)
    if weight.shape != logits.shape[:1] or not (
        mean_probabilities.shape == mean_histogram.shape == logits.shape[1:]
    ):
        raise ValueError(
            f"fairness takes a weight [N] and means [C] for logits {logits.shape}, "
            f"not {weight.shape}, {mean_probabilities.shape} and {mean_histogram.shape}"
        )
    weight = jax.lax.stop_gradient(weight).astype(jnp.float32)
    p = jax.nn.softmax(logits.astype(jnp.float32))
    count = jnp.sum(weight)
    histogram = jnp.sum(jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[1]) * weight[:, None], axis=0)
    histogram = histogram / jnp.maximum(count, 1)
    mean = jnp.sum(p * weight[:, None], axis=0) / jnp.maximum(count, 1)

    def ratio(p: Array, histogram: Array) -> Array:
        r = p / jnp.where(histogram > 0, histogram, jnp.inf)  # classes that were not predicted say nothing
        return r / jnp.maximum(jnp.sum(r), epsilon)

    target = jax.lax.stop_gradient(ratio(mean_probabilities, mean_histogram))
    found = ratio(mean, jax.lax.stop_gradient(histogram))
    return jnp.where(count > 0, jnp.sum(target * jnp.log(found + epsilon)), 0.0)


def softmatch_weights(confidence: Array, mean: Array, variance: Array, width: float = 2.0) -> Array:
    """SoftMatch's weights: 1 above the mean confidence, and below it a Gaussian of the distance to it.

    Args:
      confidence: float[N].
      mean, variance: running moments of the confidence, float[].
      width: n_sigma of the paper's code: the Gaussian's variance is `variance / width^2`.

    Returns:
      float32[N] in [0, 1].

    References:
      Chen et al., SoftMatch, 2023, eq. 7. https://arxiv.org/abs/2301.10921

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> confidence = jnp.array([0.9, 0.7])
      >>> result = losses.softmatch_weights(confidence, mean=0.8, variance=0.01)  # [1, exp(-2)]
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [1.0, 0.135]
    """
    below = jnp.minimum(jnp.asarray(confidence, jnp.float32) - mean, 0)
    variance = jnp.maximum(jnp.asarray(variance, jnp.float32), 1e-12)
    return jnp.exp(-jnp.square(below) * width**2 / (2 * variance))


def distribution_alignment(probabilities: Array, mean: Array, target: Array | None = None) -> Array:
    """Distribution alignment: p * target / mean, normalised; the target is uniform if not given.

    Args:
      probabilities: float[N, C].
      mean: a running mean of them, float[C].
      target: float[C].

    Returns:
      float32[N, C]; rows sum to 1, but for a row without a class that the target has, which is 0.

    References:
      Berthelot et al., ReMixMatch, 2019, section 3.1. https://arxiv.org/abs/1911.09785

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> p, mean = jnp.array([[0.5, 0.5]]), jnp.array([0.8, 0.2])  # class 0 is predicted too often
      >>> [round(x, 3) for x in losses.distribution_alignment(p, mean).ravel().tolist()]
      [0.2, 0.8]
    """
    goal = 1 / probabilities.shape[1] if target is None else target
    aligned = probabilities.astype(jnp.float32) * goal / jnp.maximum(mean.astype(jnp.float32), 1e-6)
    return aligned / jnp.maximum(jnp.sum(aligned, axis=-1, keepdims=True), 1e-30)
