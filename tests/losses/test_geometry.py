import jax
import numpy as np

from jssl import losses, metrics
from tests.losses.test_contrastive import D, N, embeddings, numeric_gradient


def unit(z):
    z = z.astype(np.float64)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def align_loss(x, y):
    return np.mean(np.linalg.norm(unit(x) - unit(y), axis=1) ** 2)


def uniform_loss(x, t):
    """log of the mean of exp(-t pdist(x)^2): every pair once."""
    x = unit(x)
    pdist = np.asarray([np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)])
    return np.log(np.mean(np.exp(-t * pdist**2)))


def test_alignment_and_uniformity_are_wang_and_isolas():
    z1, z2 = embeddings()
    value, gradients = jax.jit(jax.value_and_grad(metrics.alignment, (0, 1)))(z1, z2)
    np.testing.assert_allclose(value, align_loss(z1, z2), rtol=1e-5)
    np.testing.assert_allclose(
        gradients[0], numeric_gradient(lambda z: align_loss(z, z2), z1), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        gradients[1], numeric_gradient(lambda z: align_loss(z1, z), z2), rtol=1e-4, atol=1e-6
    )
    for t in (2.0, 0.5):
        value, gradient = jax.jit(jax.value_and_grad(metrics.uniformity), static_argnums=1)(z1, t)
        np.testing.assert_allclose(value, uniform_loss(z1, t), rtol=1e-5)
        numeric = numeric_gradient(lambda z, t=t: uniform_loss(z, t), z1)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


def test_ends_of_the_scales():
    z1, _ = embeddings()
    same, eye = np.ones((N, D), np.float32), np.eye(N, dtype=np.float32)
    poles = np.asarray([[1, 0], [-1, 0]], np.float32)
    align, uniform, nt_xent = (jax.jit(f) for f in (metrics.alignment, metrics.uniformity, losses.nt_xent))
    np.testing.assert_allclose([align(z1, 3 * z1), uniform(same)], 0, atol=2e-6)
    np.testing.assert_allclose([align(z1, -z1), uniform(poles)], [4, -8], rtol=1e-5)
    n = 2 * N - 1  # the bound is tight for views that agree and nothing else does, 0 where all agree
    bounds = [metrics.mutual_information_bound(nt_xent(z, z), n) for z in (eye, same)]
    np.testing.assert_allclose(bounds, [np.log(n) - np.log1p((n - 1) * np.exp(-10)), 0], atol=1e-5)
