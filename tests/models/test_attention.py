"""Softmax attention against NumPy, and what is handed to cuDNN, which needs a GPU to run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.models import attention


def qkv(queries=5, keys=5):
    keys_of = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(key, (2, n, 3, 8)) for key, n in zip(keys_of, (queries, keys, keys))]


def oracle(q, k, v):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    logits = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (4, 7)])
def test_attention_is_the_softmax_average(queries, keys):
    q, k, v = qkv(queries, keys)
    np.testing.assert_allclose(attention.attend(q, k, v), oracle(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (5, 5), (4, 7), (5, 6)])
def test_tokens_that_even_the_number_out_change_nothing(queries, keys, monkeypatch):
    """XLA takes the place of cuDNN, with the same arguments."""
    taken = []

    def by_xla(q, k, v, implementation, **lengths):
        assert implementation == "cudnn"
        taken.append((q.shape[1], k.shape[1]))
        return original(q, k, v, implementation="xla", **lengths)

    original = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)

    def value(implementation):
        def product(q, k, v):
            return jnp.sum(jnp.sin(attention.attend(q, k, v, implementation)))

        return jax.value_and_grad(product, argnums=(0, 1, 2))(*qkv(queries, keys))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), value("cudnn"), value("xla")
    )
    assert taken == [(queries + queries % 2, keys + keys % 2)]


def test_what_cannot_be_had_is_said_in_a_line():
    with pytest.raises(UserError, match="set attention to 'xla'"):
        attention.attend(*qkv(), implementation="cudnn")
    with pytest.raises(UserError, match="xla or cudnn, not 'flash'"):
        attention.attend(*qkv(), implementation="flash")
