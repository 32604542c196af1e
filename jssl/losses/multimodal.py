"""Losses of pairs of two modalities: images and their captions, frames and their sound."""

from __future__ import annotations

import jax.numpy as jnp

from jssl.losses.checks import check_pair
from jssl.losses.contrastive import normalize
from jssl.losses.similarity import DENSE, Similarity
from jssl.types import Array


def clip(first: Array, second: Array, scale: Array | float, similarity: Similarity = DENSE) -> Array:
    """Symmetric cross entropy of picking the partner of every row among those of the batch.

    Gradients flow through both sides of every similarity, and into the scale. Computed in float32 whatever the input.

    Args:
      first, second: embeddings of pairs, float[N, D]; need not be normalised.
      scale: that cosines are multiplied by, positive: exp of what is learnt, an inverse temperature.
      similarity: how the N x N similarities are computed; the value and the gradient are the same.

    Returns:
      Mean of both directions and the batch, float[], at least 0; log N where nothing is known.

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, figure 3.
      https://arxiv.org/abs/2103.00020

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> round(float(losses.clip(jnp.eye(2), jnp.eye(2), scale=1.0)), 3)  # log(e + 1) - 1
      0.313
    """
    check_pair("clip", first, second)
    a, b = scale * normalize(first), normalize(second)
    rows, columns = similarity.log_sum_exp(a, b), similarity.log_sum_exp(b, a)
    return jnp.mean((rows + columns) / 2 - jnp.sum(a * b, axis=-1))


def siglip(
    first: Array, second: Array, scale: Array | float, bias: Array | float, similarity: Similarity = DENSE
) -> Array:
    """Sigmoid loss: every pair of rows by itself is one or is none.

    Args:
      first, second: embeddings of pairs, float[N, D]; need not be normalised.
      scale: that cosines are multiplied by, positive; exp of what is learnt, 10 at first in the paper.
      bias: that is added then, -10 at first in the paper: nearly all pairs are none.
      similarity: how the N x N similarities are computed; the value and the gradient are the same.

    Returns:
      Sum over the N x N pairs of log(1 + exp(-y (scale cos + bias))), where y is 1 for partners and -1 for others,
      divided by N: float[], at least 0.

    Raises:
      ValueError: if the shapes differ or are not rank 2.

    References:
      Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, eq. 1. https://arxiv.org/abs/2303.15343

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> round(float(losses.siglip(jnp.eye(2), jnp.eye(2), scale=10.0, bias=-10.0)), 3)  # log 2 each, and e^-10
      0.693
    """
    check_pair("siglip", first, second)
    a, b = scale * normalize(first), normalize(second)
    own = jnp.sum(a * b, axis=-1) + bias
    ones = jnp.ones((len(a), 1), jnp.float32)  # so that the product has the bias in it
    every = similarity.sum_softplus(
        jnp.concatenate([a, bias * ones], axis=1), jnp.concatenate([b, ones], axis=1)
    )
    return jnp.mean(every - own)  # softplus(-x) = softplus(x) - x
