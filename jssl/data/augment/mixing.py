"""Mixup and CutMix: images that are part one, part another, and labels that say so."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl import rng
from jssl.types import Array


def mixing_weights(key: Array, height: int, width: int, mixup: float = 0.0, cutmix: float = 0.0) -> Array:
    """How much of every pixel is the image's own, the rest being another one's; one draw for a batch.

    Mixup takes the same part of all pixels, CutMix all of those outside of a rectangle. The part is drawn from
    Beta(alpha, alpha); the rectangle has the sides of the image times the root of what is left, and is cut at the
    border. With both, either has a probability of a half.

    Args:
      key: of the draw.
      height, width: of the images.
      mixup, cutmix: alpha of each, at least 0; 0 is off.

    Returns:
      float32[height, width, 1] in [0, 1]; its mean is the weight of the image's own label.

    References:
      Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018. https://arxiv.org/abs/1710.09412
      Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019, section 3.1.
      https://arxiv.org/abs/1905.04899

    Example:
      >>> import jax
      >>> from jssl.data import augment
      >>> weights = augment.mixing_weights(jax.random.key(0), 8, 8, cutmix=1.0)
      >>> weights.shape, sorted(set(weights.ravel().tolist()))
      ((8, 8, 1), [0.0, 1.0])
    """
    whole = jnp.ones((height, width, 1))
    blended = whole * _drawn(rng.derive(key, "mixup"), mixup)
    outside = _outside(rng.derive(key, "cutmix"), height, width, cutmix)
    if not cutmix or not mixup:
        return outside if cutmix else blended if mixup else whole
    return jnp.where(jax.random.bernoulli(rng.derive(key, "which")), blended, outside)


def mix(weights: Array, rows: Array) -> Array:
    """Every row mixed with that of the mirrored place in the batch.

    Args:
      weights: of the own one, broadcast to a row.
      rows: float[B, ...].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data import augment
      >>> augment.mix(jnp.float32(0.75), jnp.array([0.0, 4.0])).tolist()
      [1.0, 3.0]
    """
    return weights * rows + (1 - weights) * jnp.flip(rows, axis=0)


def _drawn(key: Array, alpha: float) -> Array:
    return jax.random.beta(key, alpha, alpha) if alpha else jnp.ones(())


def _outside(key: Array, height: int, width: int, alpha: float) -> Array:
    """1 outside of a rectangle, 0 within, float32[height, width, 1]."""
    side = jnp.sqrt(1 - _drawn(rng.derive(key, "part"), alpha))

    def within(name: str, length: int) -> Array:
        center = jax.random.randint(rng.derive(key, name), (), 0, length)
        half = jnp.floor(side * length).astype(jnp.int32) // 2
        places = jnp.arange(length)
        return (places >= center - half) & (places < center + half)

    inside = within("row", height)[:, None] & within("column", width)[None, :]
    return 1.0 - inside[..., None].astype(jnp.float32)
