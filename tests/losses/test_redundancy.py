import functools

import jax
import numpy as np
import pytest

from jssl import losses
from tests.losses.test_contrastive import embeddings, numeric_gradient

BARLOW = jax.jit(jax.value_and_grad(losses.barlow_twins, (0, 1)))
Z1, Z2 = embeddings()
Z1, Z2 = 0.7 * Z1 + 0.3, 0.7 * Z1 + 0.4 * Z2  # some standard deviations below 1, some correlation


def barlow(z1, z2, weight):
    """BatchNorm1d(affine=False) of each view, then the loss of main.py."""
    a, b = (
        (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (z1.astype(np.float64), z2.astype(np.float64))
    )
    c = a.T @ b / len(a)
    off = c[~np.eye(len(c), dtype=bool)]
    return np.sum((np.diag(c) - 1) ** 2) + weight * np.sum(off**2)


def official_vicreg(x, y):
    """The terms of main_vicreg.py before their coefficients."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    n, d = x.shape
    repr_loss = np.mean((x - y) ** 2)
    std_loss = cov_loss = 0.0
    for z in (x, y):
        z = z - z.mean(axis=0)
        std_loss += np.mean(np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4))) / 2
        cov = z.T @ z / (n - 1)
        cov_loss += np.sum(cov[~np.eye(d, dtype=bool)] ** 2) / d
    return {"invariance": repr_loss, "variance": std_loss, "covariance": cov_loss}


@pytest.mark.parametrize("weight", [0.0, 0.0051, 10.0])
def test_barlow_twins_is_the_official_loss(weight):
    value, gradients = BARLOW(Z1, Z2, weight)
    np.testing.assert_allclose(value, barlow(Z1, Z2, weight), rtol=1e-5)
    first = numeric_gradient(lambda z: barlow(z, Z2, weight), Z1)
    second = numeric_gradient(lambda z: barlow(Z1, z, weight), Z2)
    np.testing.assert_allclose(gradients[0], first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[1], second, rtol=1e-4, atol=1e-5)


def test_vicreg_is_the_official_loss_term_by_term():
    expected = official_vicreg(Z1, Z2)
    weights = {"invariance": 2.0, "variance": 3.0, "covariance": 5.0}
    weighted = functools.partial(losses.vicreg, **weights)
    values, jacobian = jax.jit(lambda a, b: (weighted(a, b), jax.jacrev(weighted, (0, 1))(a, b)))(Z1, Z2)
    assert set(values) == set(weights)
    for name, weight in weights.items():
        np.testing.assert_allclose(values[name], weight * expected[name], rtol=1e-5, err_msg=name)
        first = numeric_gradient(lambda z, name=name: official_vicreg(z, Z2)[name], Z1)
        second = numeric_gradient(lambda z, name=name: official_vicreg(Z1, z)[name], Z2)
        for ours, numeric in zip(jacobian[name], (first, second)):
            assert np.abs(numeric).max() > 1e-3
            np.testing.assert_allclose(ours, weight * numeric, rtol=1e-4, atol=1e-5, err_msg=name)
    defaults = jax.jit(losses.vicreg)(Z1, Z2)
    paper = jax.jit(lambda a, b: losses.vicreg(a, b, as_in_paper=True))(Z1, Z2)
    for name, weight, factor in (("invariance", 25, 5), ("variance", 25, 2), ("covariance", 1, 1)):
        np.testing.assert_allclose(defaults[name], weight * expected[name], rtol=1e-5)
        np.testing.assert_allclose(paper[name], factor * weight * expected[name], rtol=1e-5)


def test_small_correlations_are_not_lost_beside_large_variances():
    signs = np.asarray([[1, 1, 1], [1, -1, 1], [-1, 1, 1], [-1, -1, 1]], np.float32)
    signs[:, 2] = signs[:, 0] * signs[:, 1]
    z = np.tile(100 * signs, (3, 1)) + Z1[:, :3] / 10
    np.testing.assert_allclose(
        jax.jit(losses.vicreg)(z, z)["covariance"], official_vicreg(z, z)["covariance"], rtol=1e-3
    )
    np.testing.assert_allclose(BARLOW(z, z, 1.0)[0], barlow(z, z, 1.0), rtol=1e-3)
