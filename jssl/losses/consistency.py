"""Consistency and confidence losses on images without a label."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_positive
from jssl.losses.supervised import check_logits
from jssl.types import Array


def entropy(logits: Array) -> Array:
    """Entropy of the softmax, mean over the batch, float[] in [0, log C]: entropy minimisation.

    Args:
      logits: float[N, C].

    Raises:
      ValueError: if they are not rank 2.

    References:
      Grandvalet and Bengio, Semi-supervised Learning by Entropy Minimization, 2004, eq. 8.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> round(float(losses.entropy(jnp.zeros((8, 4)))), 3)  # log 4
      1.386
    """
    check_logits("entropy", logits)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.mean(jnp.sum(jnp.exp(log_p) * log_p, axis=-1))


def softmax_mse(logits: Array, target: Array) -> Array:
    """Squared difference of softmax(logits) and a distribution: Pi model, Mean Teacher, MixMatch (Brier score).

    Args:
      logits: float[N, C].
      target: distributions float[N, C]; receive no gradient.

    Returns:
      Mean over the batch and over the classes, float[], in [0, 2 / C].

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Tarvainen and Valpola, Mean teachers are better role models, 2017, eq. 1. https://arxiv.org/abs/1703.01780

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> logits, target = jnp.array([[0.0, 0.0]]), jnp.array([[1.0, 0.0]])
      >>> round(float(losses.softmax_mse(logits, target)), 3)  # 0.5^2
      0.25
    """
    check_logits("softmax_mse", logits, target)
    p = jax.nn.softmax(logits.astype(jnp.float32))
    return jnp.mean(jnp.square(p - jax.lax.stop_gradient(target)))


def kl_divergence(logits: Array, target_logits: Array, reverse: bool = False) -> Array:
    """Kullback-Leibler divergence KL(softmax(target_logits) || softmax(logits)), the target without gradient.

    Args:
      logits, target_logits: float[N, C].
      reverse: KL(softmax(logits) || softmax(target_logits)) instead.

    Returns:
      Mean over the batch, float[], at least 0.

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> target_logits = jnp.log(jnp.array([[0.75, 0.25]]))
      >>> round(float(losses.kl_divergence(jnp.zeros((1, 2)), target_logits)), 3)  # log 2 - 0.562
      0.131
    """
    check_logits("kl_divergence", logits, target_logits)
    target = jax.nn.log_softmax(jax.lax.stop_gradient(target_logits).astype(jnp.float32))
    log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
    one, other = (log_q, target) if reverse else (target, log_q)
    return jnp.mean(jnp.sum(jnp.exp(one) * (one - other), axis=-1))


def adversarial_direction(
    function: Callable[[Array], Array], images: Array, key: Array, size: float, steps: int = 1
) -> Array:
    """The small change of every image that changes a classifier's prediction most (VAT).

    At no change the divergence from the clean prediction p has its minimum, so its second derivative decides:
    H = J' (diag(p) - p p') J, where J is the derivative of the logits. Power iterations d <- H d / |H d| from a
    random d find the direction. H d is computed by this formula: in single precision the paper's difference of two
    gradients drowns in rounding, and so does the gradient's derivative where the prediction is near one-hot.

    Args:
      function: images float[N, H, W, C] to logits float[N, K].
      images: float[N, H, W, C], around which the direction is sought.
      key: of the first direction.
      size: Euclidean norm of an image's change, in units of `images`.
      steps: power iterations.

    Returns:
      Like `images`, every image of norm `size`, or zeros where H d is 0 (a prediction that is one-hot in single
      precision); without gradient.

    Raises:
      ValueError: if size or steps is not positive.

    References:
      Miyato et al., Virtual Adversarial Training, 2017, eqs. 5 to 12. https://arxiv.org/abs/1704.03976

    Example:
      >>> import jax
      >>> from jssl import losses
      >>> classifier = lambda x: x[:, 0, 0] @ jax.numpy.array([[1.0, -1.0], [0.0, 0.0]])  # sees channel 0 alone
      >>> images = jax.numpy.zeros((1, 1, 1, 2))
      >>> change = losses.adversarial_direction(classifier, images, jax.random.key(0), size=0.5)
      >>> [round(x, 3) for x in abs(change).ravel().tolist()]
      [0.5, 0.0]
    """
    check_positive(size=size, steps=steps)
    logits, push = jax.linearize(function, images)
    pull = jax.linear_transpose(push, images)
    p = jax.nn.softmax(logits.astype(jnp.float32))
    likeliest = jnp.argmax(p, axis=-1, keepdims=True)
    direction = unit_images(jax.random.normal(key, images.shape, images.dtype))
    for _ in range(steps):
        change = push(direction).astype(jnp.float32)
        # What all logits share has no effect, but on the rounding where p is near one-hot.
        change = change - jnp.take_along_axis(change, likeliest, axis=-1)
        change = p * (change - jnp.sum(p * change, axis=-1, keepdims=True))
        direction = unit_images(pull(change.astype(logits.dtype))[0])
    return jax.lax.stop_gradient(size * direction)


def unit_images(x: Array) -> Array:
    """Every image float[N, ...] divided by its Euclidean norm, in float32; an image of zeros stays one."""
    axes, dtype = tuple(range(1, x.ndim)), x.dtype
    x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
    x = x / jnp.where(largest > 0, largest, 1.0)  # gradients may be too small to be squared
    norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=axes, keepdims=True))
    return (x / jnp.maximum(norm, 1e-12)).astype(dtype)
