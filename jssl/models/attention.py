"""Softmax attention, plain or by cuDNN's fused kernels."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.errors import UserError
from jssl.types import Array

IMPLEMENTATIONS = ("xla", "cudnn")


def attend(q: Array, k: Array, v: Array, implementation: str = "xla", causal: bool = False) -> Array:
    """Values, averaged with the softmax of the scaled products of queries and keys.

    Args:
      q: queries [B, N, heads, D].
      k: keys [B, M, heads, D].
      v: values [B, M, heads, D].
      implementation: 'xla' holds the weights float32[B, heads, N, M]; 'cudnn' never does, and needs bfloat16 or
        float16, D divisible by 8 and at most 128, and an NVIDIA GPU from Ampere on.
      causal: whether a query attends to the keys up to its own position alone; N is M then.

    Returns:
      [B, N, heads, D] in the dtype of v.

    Raises:
      UserError: if there is no implementation of that name, or if cuDNN cannot be had or does not take the input.

    References:
      Dao et al., FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness, 2022.
      https://arxiv.org/abs/2205.14135

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models.attention import attend
      >>> attend(jnp.zeros((1, 2, 1, 8)), jnp.zeros((1, 3, 1, 8)), jnp.ones((1, 3, 1, 8))).shape
      (1, 2, 1, 8)
    """
    if implementation not in IMPLEMENTATIONS:
        raise UserError(f"attention must be xla or cudnn, not {implementation!r}")
    if implementation == "xla":
        return averaged(weights(q, k, causal), v)
    try:
        return _by_cudnn(q, k, v, causal)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"attention by cuDNN cannot be had here: {error}; set attention to 'xla'") from error


def weights(q: Array, k: Array, causal: bool = False, seen: Array | None = None) -> Array:
    """How much each query attends to each key, float32[B, heads, N, M]; each row's sum is 1.

    To keys that are not `seen`, bool[B, M], none attends; one of each row must be.
    """
    logits = jnp.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    if causal:
        logits = jnp.where(jnp.tri(q.shape[1], dtype=bool), logits, -jnp.inf)
    if seen is not None:
        logits = jnp.where(seen[:, None, None], logits, -jnp.inf)
    return jax.nn.softmax(logits, axis=-1)


def averaged(weights: Array, v: Array) -> Array:
    """Values [B, M, heads, D] under weights [B, heads, N, M]: [B, N, heads, D]."""
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)


def _by_cudnn(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """As `attend`; odd numbers of tokens, whose gradient JAX does not take, get one more that nobody sees."""
    batch, queries, keys = len(q), q.shape[1], k.shape[1]
    if queries % 2 == keys % 2 == 0:
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    out = jax.nn.dot_product_attention(
        q,
        k,
        v,
        query_seq_lengths=jnp.full(batch, queries, jnp.int32),
        key_value_seq_lengths=jnp.full(batch, keys, jnp.int32),
        is_causal=causal,
        implementation="cudnn",
    )
    return out[:, :queries]
