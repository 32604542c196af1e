"""How healthy a representation is: pure functions of a batch of embeddings, cheap enough for every step."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.losses import normalize
from jssl.types import Array


def relative_std(z: Array) -> Array:
    """Mean over dimensions of the standard deviation of l2-normalised rows, times sqrt(D).

    Args:
      z: embeddings, float[N, D].

    Returns:
      float[] in [0, 1]: about 1 if the rows spread over the sphere, 0 if all are the same (SimSiam, section 4.1).
    """
    return jnp.mean(jnp.std(normalize(z), axis=0)) * jnp.sqrt(z.shape[-1])


def participation_ratio(z: Array) -> Array:
    """Effective rank (sum of eigenvalues)^2 / sum of their squares, of the covariance of z.

    It needs no eigenvalues, only two traces, so that it can be logged at every step.

    Args:
      z: embeddings, float[N, D].

    Returns:
      float[] in [0, min(N - 1, D)]; 0 only for a constant z.
    """
    centred = z.astype(jnp.float32) - jnp.mean(z, axis=0)
    n, d = centred.shape
    gram = centred.T @ centred if d <= n else centred @ centred.T  # the same non-zero eigenvalues
    return jnp.square(jnp.trace(gram)) / jnp.maximum(jnp.sum(jnp.square(gram)), 1e-30)
