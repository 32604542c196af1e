"""Decoders: from features back to pixels."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.vit import Block, sincos2d
from jssl.types import Array


class PatchDecoder(nn.Module):
    """A light transformer that predicts the pixels of all patches from the tokens of the visible ones.

    Tokens [B, V, D], the class token first, and `restore` int[B, N] (see `augment.patches.Masking`) to float32
    [B, N, outputs]. Hidden patches are a learned token; positions are fixed sin-cos ones on a square.

    Args:
      outputs: numbers of a patch.
      features: size of its tokens.
      layers: number of blocks.
      heads: attention heads.
      class_token: whether the first token is that of the class.
      dtype: of the matmuls.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. https://arxiv.org/abs/2111.06377
    """

    outputs: int
    features: int = settings.size(512)
    layers: int = settings.size(8)
    heads: int = settings.size(16)
    class_token: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, restore: Array, train: bool) -> Array:
        dense = nn.initializers.xavier_uniform()
        x = nn.Dense(self.features, kernel_init=dense, dtype=self.dtype, name="embed")(tokens)
        x = x.astype(jnp.float32)
        batch, count = restore.shape
        prefix, visible = jnp.split(x, [int(self.class_token)], axis=1)
        token = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.features), jnp.float32)
        hidden = jnp.broadcast_to(token, (batch, count - visible.shape[1], self.features))
        sequence = jnp.concatenate([visible, hidden], axis=1)
        patches = jnp.take_along_axis(sequence, restore[..., None], axis=1)
        side = math.isqrt(count)
        patches += jnp.asarray(sincos2d(side, side, self.features))[None]
        x = jnp.concatenate([prefix, patches], axis=1)
        for number in range(self.layers):
            x = Block(self.heads, 0.0, self.dtype, name=f"block{number}")(x, train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = nn.Dense(self.outputs, kernel_init=dense, dtype=self.dtype, name="pixels")(x)
        return x[:, -count:].astype(jnp.float32)
