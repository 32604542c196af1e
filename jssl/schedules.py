"""How hyper-parameters move during training: pure functions of the progress in [0, 1] or of the step."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.types import Array


def early(decay: Array | float, step: Array) -> Array:
    """min(1 - 1 / (t + 1), decay) after t earlier updates: an average that does not remember where it began.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import schedules
      >>> float(schedules.early(0.99, jnp.array(1)))  # the mean of two values so far
      0.5
    """
    return jnp.minimum(1 - 1 / (step.astype(jnp.float32) + 1), decay)


def cosine(progress: Array, start: float, end: float) -> Array:
    """From `start` at progress 0 to `end` at progress 1, along half a cosine.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import schedules
      >>> round(float(schedules.cosine(jnp.array(0.5), start=1.0, end=0.0)), 3)
      0.5
    """
    return end - (end - start) * (1 + jnp.cos(jnp.pi * progress)) / 2


def cosine_decay_to_one(progress: Array, start: float) -> Array:
    """BYOL's schedule of the EMA decay: 1 - (1 - start) * (1 + cos(pi * progress)) / 2.

    Args:
      progress: in [0, 1].
      start: decay at progress 0; it is 1 at progress 1.

    References:
      Grill et al., Bootstrap Your Own Latent, 2020, section 3.3. https://arxiv.org/abs/2006.07733

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import schedules
      >>> [round(float(schedules.cosine_decay_to_one(jnp.array(p), start=0.99)), 3) for p in (0.0, 0.5, 1.0)]
      [0.99, 0.995, 1.0]
    """
    return cosine(progress, start, 1.0)


def linear_warmup(progress: Array, start: float, end: float, until: float) -> Array:
    """From `start` to `end` while progress, in any unit, goes from 0 to `until` (which may be 0), then `end`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import schedules
      >>> [round(float(schedules.linear_warmup(jnp.array(p), 0.0, 1.0, until=0.5)), 3) for p in (0.0, 0.25, 0.75)]
      [0.0, 0.5, 1.0]
    """
    return jnp.where(progress < until, start + (end - start) * progress / max(until, 1e-9), end)
