"""Guessed labels: which guesses count, and how much."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.losses.supervised import check_logits
from jssl.types import Array


class Guess(NamedTuple):
    """What a classifier says of images without a label; nothing of it has a gradient.

    Attributes:
      probabilities: float32[N, C].
      confidence: the largest of them, float32[N] in [1 / C, 1].
      label: whose that is, int32[N].
    """

    probabilities: Array
    confidence: Array
    label: Array


def guess(logits: Array, temperature: float = 1.0) -> Guess:
    """The guess that logits float[N, C] make; a temperature below 1 sharpens it."""
    return guess_of(jax.nn.softmax(logits.astype(jnp.float32) / temperature))


def guess_of(probabilities: Array) -> Guess:
    """The guess of distributions float[N, C]."""
    p = jax.lax.stop_gradient(probabilities)
    return Guess(p, jnp.max(p, axis=-1), jnp.argmax(p, axis=-1).astype(jnp.int32))


def weighted_cross_entropy(logits: Array, target: Array, weight: Array) -> Array:
    """Cross entropy with guessed targets, each times its weight: FixMatch and its kin.

    Args:
      logits: of the strong views, float[N, C].
      target: guessed labels int[N], or distributions float[N, C]; receive no gradient.
      weight: float[N], 0 for guesses that do not count; receives no gradient.

    Returns:
      Mean over N, float[], at least 0: over all of the batch and not over the guesses that count, so that a
      classifier which is sure of little learns little from it.

    References:
      Sohn et al., FixMatch, 2020, eq. 4. https://arxiv.org/abs/2001.07685
    """
    check_logits("weighted_cross_entropy", logits)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    if target.ndim == 1:
        target = jax.nn.one_hot(target, logits.shape[1])
    each = -jnp.sum(jax.lax.stop_gradient(target) * log_p, axis=-1)
    return jnp.mean(jax.lax.stop_gradient(weight) * each)


def sharpen(probabilities: Array, temperature: float) -> Array:
    """p^(1/T) / sum p^(1/T) of float[N, C]: nearer to one-hot for T < 1 (MixMatch, eq. 7)."""
    return jax.nn.softmax(jnp.log(jnp.maximum(probabilities, 1e-30)) / temperature)


def flexible_thresholds(learned: Array, unused: Array, threshold: float, warm_up: bool = True) -> Array:
    """FlexMatch: a class that is guessed less often is believed earlier.

    beta = counts / max(counts) and threshold * beta / (2 - beta) for every class. With `warm_up` the images that were
    never guessed with confidence count in the denominator, too.

    Args:
      learned: how many images' last confident guess was each class, float[C].
      unused: how many images had no confident guess yet, float[].
      threshold: in (0, 1], of the class guessed most often.

    Returns:
      float[C] in [0, threshold].

    References:
      Zhang et al., FlexMatch, 2021, eqs. 6, 7, 10, 11. https://arxiv.org/abs/2110.08263
    """
    most = jnp.max(learned)
    most = jnp.maximum(most, unused) if warm_up else most
    beta = learned / jnp.maximum(most, 1)
    return threshold * beta / (2 - beta)


def free_thresholds(mean_confidence: Array, mean_probabilities: Array) -> Array:
    """FreeMatch: the mean confidence, times each class' mean probability over the largest of them.

    Args:
      mean_confidence: a running mean, float[].
      mean_probabilities: running means, float[C].

    Returns:
      float[C] in [0, mean_confidence].

    References:
      Wang et al., FreeMatch, 2022, eqs. 5 to 8. https://arxiv.org/abs/2205.07246
    """
    return mean_confidence * mean_probabilities / jnp.max(mean_probabilities)


def fairness(
    logits: Array, weight: Array, mean_probabilities: Array, mean_histogram: Array, epsilon: float = 1e-6
) -> Array:
    """FreeMatch's self-adaptive fairness: cross entropy between two ratios of probability to frequency.

    The batch's mean prediction on strong views that count, divided by the histogram of its guesses, is driven away from
    what the model says on the whole, divided by its own histogram: minus their cross entropy, both normalised.

    Args:
      logits: of the strong views, float[N, C].
      weight: 1 for rows that count, float[N].
      mean_probabilities, mean_histogram: running means, float[C]; receive no gradient.

    Returns:
      float[], at most 0; 0 if no row counts.

    References:
      Wang et al., FreeMatch, 2022, eqs. 9 to 11. https://arxiv.org/abs/2205.07246
    """
    check_logits("fairness", logits)
    p = jax.nn.softmax(logits.astype(jnp.float32))
    count = jnp.sum(weight)
    histogram = jnp.sum(jax.nn.one_hot(jnp.argmax(p, axis=-1), p.shape[1]) * weight[:, None], axis=0)
    histogram = histogram / jnp.maximum(count, 1)
    mean = jnp.sum(p * weight[:, None], axis=0) / jnp.maximum(count, 1)

    def ratio(p: Array, histogram: Array) -> Array:
        r = p / jnp.where(histogram > 0, histogram, jnp.inf)  # classes that were not guessed say nothing
        return r / jnp.maximum(jnp.sum(r), epsilon)

    target = jax.lax.stop_gradient(ratio(mean_probabilities, mean_histogram))
    found = ratio(mean, jax.lax.stop_gradient(histogram))
    return jnp.where(count > 0, jnp.sum(target * jnp.log(found + epsilon)), 0.0)


def soft_weights(confidence: Array, mean: Array, variance: Array, width: float = 2.0) -> Array:
    """SoftMatch: 1 above the mean confidence, and below it a Gaussian of the distance to it.

    Args:
      confidence: float[N].
      mean, variance: running moments of the confidence, float[].
      width: the paper's n_sigma: the Gaussian's variance is `variance / width^2`.

    Returns:
      float[N] in (0, 1].

    References:
      Chen et al., SoftMatch, 2023, eq. 7. https://arxiv.org/abs/2301.10921
    """
    below = jnp.minimum(confidence - mean, 0)
    return jnp.exp(-jnp.square(below) * width**2 / (2 * jnp.maximum(variance, 1e-12)))


def align(probabilities: Array, mean: Array, target: Array | None = None) -> Array:
    """Distribution alignment: p * target / mean, normalised; the target is uniform if not given.

    Args:
      probabilities: float[N, C].
      mean: a running mean of them, float[C].
      target: float[C].

    References:
      Berthelot et al., ReMixMatch, 2019, section 3.1. https://arxiv.org/abs/1911.09785
    """
    wanted = 1 / probabilities.shape[1] if target is None else target
    aligned = probabilities * wanted / jnp.maximum(mean, 1e-6)
    return aligned / jnp.sum(aligned, axis=-1, keepdims=True)
