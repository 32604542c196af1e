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
    """Transformer of CLIP: tokens int32[B, N] to features float32[B, features], those of the end token.

    Tokens after the end change nothing.

    Args:
      vocabulary: number of tokens.
      end: the token that ends a text; its first place is taken.
      features: size of a token.
      layers: number of blocks.
      heads: attention heads of a block; 0 for one to every 64 features.
      causal: whether a token sees those before it alone, as CLIP's; else all up to the end, as BERT's. The parameters
        are the same.
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
    causal: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def tokens(self, tokens: Array, train: bool) -> Array:
        """All tokens after the final layer norm, float32 [B, N, features]; those after the end mean nothing."""
        heads = self.heads or max(1, self.features // 64)
        if self.features % heads:
            raise UserError(f"{self.features} features of the text do not divide by {heads} heads")
        x = nn.Embed(
            self.vocabulary, self.features, embedding_init=nn.initializers.normal(0.02), name="token"
        )(tokens)
        shape = (tokens.shape[1], self.features)
        x = x + self.param("position", nn.initializers.normal(0.01), shape, jnp.float32)
        seen = None if self.causal else up_to_end(tokens, self.end)
        for number in range(1, self.layers + 1):
            block = Block(
                heads, 0.0, self.dtype, "clip", causal=self.causal, epsilon=1e-5, name=f"block{number}"
            )
            x = block(x, train, seen)
        return nn.LayerNorm(epsilon=1e-5, name="norm")(x)

    def __call__(self, tokens: Array, train: bool) -> Array:
        x = self.tokens(tokens, train)
        ends = jnp.argmax(tokens == self.end, axis=1)
        return jnp.take_along_axis(x, ends[:, None, None], axis=1)[:, 0]


class TokenPredictor(nn.Module):
    """BERT's head: features of places [B, K, D] to scores of all tokens, float32 [B, K, V].

    A dense layer, GELU and layer norm, then products with the embeddings of the tokens [V, D], and a bias for each.

    Args:
      dtype: of the matmuls.

    References:
      Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019.
      https://arxiv.org/abs/1810.04805
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, embeddings: Array, train: bool) -> Array:
        init = nn.initializers.normal(0.02)
        x = nn.Dense(x.shape[-1], kernel_init=init, dtype=self.dtype, name="dense")(x)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(nn.gelu(x, approximate=False))
        rows, columns = x.astype(self.dtype), embeddings.astype(self.dtype)
        scores = jnp.einsum("bkd,vd->bkv", rows, columns, preferred_element_type=jnp.float32)
        return scores + self.param("bias", nn.initializers.zeros, (len(embeddings),), jnp.float32)


def up_to_end(tokens: Array, end: int) -> Array:
    """Which places of texts are up to the first end token, that one included, bool[B, N].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models.text import up_to_end
      >>> up_to_end(jnp.array([[1, 7, 2, 0]]), end=2).tolist()
      [[True, True, True, False]]
    """
    ends = jnp.argmax(tokens == end, axis=1)
    return jnp.arange(tokens.shape[1]) <= ends[:, None]
