"""Texts as tokens, some of which are hidden."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.types import Array


class HiddenTokens(NamedTuple):
    """Texts some of whose tokens are hidden.

    Attributes:
      tokens: what is seen, int32[B, N].
      places: where tokens were chosen, int32[B, K]; as many for all texts, so that some may not count.
      targets: what stands there, int32[B, K]; -1 where a place does not count.
    """

    tokens: Array
    places: Array
    targets: Array


def hide_tokens(
    keys: Array,
    tokens: Array,
    *,
    end: int,
    mask: int,
    vocabulary: int,
    ratio: float = 0.15,
    masked: float = 0.8,
    replaced: float = 0.1,
) -> HiddenTokens:
    """Chooses tokens of every text, and hides most of them: BERT's masking.

    Never chosen are the first token, which is the start, the first end token, and what follows it.

    Args:
      keys: a random key for every text, [B].
      tokens: start, words, end, and whatever up to a common length, int[B, N].
      end: the token that ends a text.
      mask: the token that stands for hidden ones.
      vocabulary: number of tokens.
      ratio: part of a text's words that is chosen, in (0, 1], rounded; one at least, where there is one.
      masked: part of those in whose place the mask is seen.
      replaced: part of those in whose place a random token is seen: any but 0, the end and the mask. The rest is seen
        as it is, and predicted too.

    References:
      Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding, 2019, section
      3.1. https://arxiv.org/abs/1810.04805

    Example:
      >>> import jax
      >>> from jssl.data.augment.tokens import hide_tokens
      >>> tokens = jax.numpy.array([[1, 7, 8, 9, 2, 0]])
      >>> keys = jax.random.split(jax.random.key(0), 1)
      >>> found = hide_tokens(keys, tokens, end=2, mask=3, vocabulary=10, ratio=1.0, masked=1.0)
      >>> found.tokens.tolist(), sorted(found.targets[0].tolist())
      ([[1, 3, 3, 3, 2, 0]], [-1, 7, 8, 9])
    """
    length = tokens.shape[1]
    most = max(1, round(ratio * (length - 2)))
    special = sorted({0, end, mask})

    def of_one(key: Array, tokens: Array) -> HiddenTokens:
        chance, kind, other = jax.random.split(key, 3)
        place = jnp.arange(length)
        is_word = (place > 0) & (place < jnp.argmax(tokens == end))
        words = jnp.sum(is_word)
        count = jnp.where(words > 0, jnp.maximum(1, jnp.round(ratio * words)), 0)
        order = jnp.argsort(jnp.where(is_word, jax.random.uniform(chance, (length,)), 2.0))
        places, counts = order[:most], jnp.arange(most) < count
        targets = tokens[places]
        drawn = jax.random.randint(other, (most,), 0, max(1, vocabulary - len(special)), tokens.dtype)
        for token in special:  # in order: what is drawn passes them by
            drawn = drawn + (drawn >= token)
        draw = jax.random.uniform(kind, (most,))
        seen = jnp.where(draw < masked, mask, jnp.where(draw < masked + replaced, drawn, targets))
        seen = tokens.at[places].set(jnp.where(counts, seen, targets))
        return HiddenTokens(seen, places, jnp.where(counts, targets, -1))

    return jax.vmap(of_one)(keys, tokens)
