"""Transformers over tokens of text."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.errors import UserError
from jssl.models.vit import Block
from jssl.types import Array


class TextTransformer(nn.Module):
    """Causal transformer of CLIP: tokens int32[B, N] to features float32[B, features], those of the end token.

    Tokens after the end change nothing.

    Args:
      vocabulary: number of tokens.
      end: the token that ends a text; its first place is taken.
      features: size of a token.
      layers: number of blocks.
      heads: attention heads of a block; 0 for one to every 64 features.
      dtype: of the matmuls; the rest is float32.

    Raises:
      UserError: if the features do not divide into heads.

    References:
      Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, section 2.4.
      https://arxiv.org/abs/2103.00020
    """

    vocabulary: int = settings.size(49408)
    end: int = settings.count(49407)
    features: int = settings.size(512)
    layers: int = settings.size(12)
    heads: int = settings.count(0)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, train: bool) -> Array:
        heads = self.heads or max(1, self.features // 64)
        if self.features % heads:
            raise UserError(f"{self.features} features of the text do not divide by {heads} heads")
        x = nn.Embed(
            self.vocabulary, self.features, embedding_init=nn.initializers.normal(0.02), name="token"
        )(tokens)
        shape = (tokens.shape[1], self.features)
        x = x + self.param("position", nn.initializers.normal(0.01), shape, jnp.float32)
        for number in range(1, self.layers + 1):
            block = Block(heads, 0.0, self.dtype, "clip", causal=True, epsilon=1e-5, name=f"block{number}")
            x = block(x, train)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        ends = jnp.argmax(tokens == self.end, axis=1)
        return jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0]
