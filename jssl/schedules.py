"""How hyper-parameters move during training: pure functions of the progress in [0, 1] or of the step."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.types import Array


def early(decay: float, step: Array) -> Array:
    """min(1 - 1 / (t + 1), decay) after t earlier updates: an average that does not remember where it began."""
    return jnp.minimum(1 - 1 / (step.astype(jnp.float32) + 1), decay)


def cosine(progress: Array, start: float, end: float) -> Array:
    """From `start` at progress 0 to `end` at progress 1, along half a cosine."""
    return end - (end - start) * (1 + jnp.cos(jnp.pi * progress)) / 2


def cosine_decay_to_one(progress: Array, start: float) -> Array:
    """BYOL's schedule of the EMA decay: 1 - (1 - start) * (1 + cos(pi * progress)) / 2.

    Args:
      progress: in [0, 1].
      start: decay at progress 0; it is 1 at progress 1.

    References:
      Grill et al., Bootstrap Your Own Latent, 2020, section 3.3. https://arxiv.org/abs/2006.07733
    """
    return cosine(progress, start, 1.0)


def linear_warmup(progress: Array, start: float, end: float, until: float) -> Array:
    """From `start` to `end` while progress goes from 0 to `until` (which may be 0), then `end`."""
    return jnp.where(progress < until, start + (end - start) * progress / max(until, 1e-9), end)
