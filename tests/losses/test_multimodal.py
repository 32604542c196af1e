"""Losses of pairs of modalities, against NumPy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, parallel

N, D = 16, 5


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, N, D))


def cosines(x, y):
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    return x @ y.T


def log_softmax(logits, axis):
    return logits - np.log(np.exp(logits).sum(axis=axis, keepdims=True))


def clip(x, y, scale):
    logits = scale * cosines(x, y)
    return -(np.diag(log_softmax(logits, 1)) + np.diag(log_softmax(logits, 0))).mean() / 2


def siglip(x, y, scale, bias):
    logits = scale * cosines(x, y) + bias
    signs = 2 * np.eye(N) - 1
    return np.log1p(np.exp(-signs * logits)).sum() / N


def slope(function, at, step=1e-5):
    return (function(at + step) - function(at - step)) / (2 * step)


def test_clip_and_the_gradient_of_its_scale():
    x, y = pairs()
    value, grads = jax.value_and_grad(losses.clip, argnums=(0, 1, 2))(*map(jnp.asarray, (x, y)), 3.0)
    np.testing.assert_allclose(value, clip(x, y, 3.0), rtol=1e-5)
    np.testing.assert_allclose(grads[2], slope(lambda s: clip(x, y, s), 3.0), rtol=1e-3)
    move = np.zeros_like(y)
    move[3, 2] = 1
    np.testing.assert_allclose(
        grads[1][3, 2], slope(lambda t: clip(x, y + t * move, 3.0), 0.0), rtol=1e-2, atol=1e-6
    )
    assert all(np.abs(grad).max() > 1e-3 for grad in grads)


def test_siglip_and_the_gradients_of_scale_and_bias():
    x, y = pairs()
    value, grads = jax.value_and_grad(losses.siglip, argnums=(0, 1, 2, 3))(
        *map(jnp.asarray, (x, y)), 5.0, -2.0
    )
    np.testing.assert_allclose(value, siglip(x, y, 5.0, -2.0), rtol=1e-5)
    np.testing.assert_allclose(grads[2], slope(lambda s: siglip(x, y, s, -2.0), 5.0), rtol=1e-3)
    np.testing.assert_allclose(grads[3], slope(lambda b: siglip(x, y, 5.0, b), -2.0), rtol=1e-3)


def test_they_begin_where_their_papers_say():
    x = np.random.default_rng(1).normal(size=(N, 400))  # nearly orthogonal
    y = np.random.default_rng(2).normal(size=(N, 400))
    np.testing.assert_allclose(losses.clip(jnp.asarray(x), jnp.asarray(y), 1.0), np.log(N), rtol=0.02)
    found = losses.siglip(jnp.asarray(x), jnp.asarray(y), 10.0, -10.0)
    np.testing.assert_allclose(found, 10, rtol=0.1)  # a positive costs about 10, a negative next to nothing


@pytest.mark.parametrize(
    "loss", [lambda *z, **p: losses.clip(*z, 3.0, **p), lambda *z, **p: losses.siglip(*z, 3.0, -1.0, **p)]
)
def test_order_and_sides_do_not_matter(loss):
    x, y = map(jnp.asarray, pairs())
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(loss(x[order], y[order]), loss(x, y), rtol=1e-5)
    np.testing.assert_allclose(loss(y, x), loss(x, y), rtol=1e-5)
    assert abs(loss(x, y[order]) - loss(x, y)) > 1e-3


def test_a_learnt_scale_and_bias_get_the_same_gradient_round_a_ring(mesh8):
    x, y = (jax.device_put(z.astype(np.float32), parallel.batch_sharding(mesh8)) for z in pairs())
    for loss, at in ((losses.clip, (3.0,)), (losses.siglip, (3.0, -1.0))):
        numbers = tuple(range(2, 2 + len(at)))
        dense, ring = (
            jax.jit(jax.grad(lambda *z, form=form: loss(*z, similarity=form), argnums=numbers))(x, y, *at)  # noqa: B023
            for form in (losses.DENSE, losses.Ring(mesh8))
        )
        np.testing.assert_allclose(dense, ring, rtol=1e-4)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="clip"):
        losses.clip(jnp.zeros((2, 3)), jnp.zeros((3, 3)), 1.0)
