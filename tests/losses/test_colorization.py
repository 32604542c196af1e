"""Colours as distributions over bins, their weights, and the area under the curve of errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, metrics
from jssl.data.augment import color_space

BINS = color_space.ab_bins()
RGB = np.random.default_rng(0).uniform(size=(500, 3)).astype(np.float32)
AB = np.asarray(color_space.rgb_to_lab(jnp.asarray(RGB)))[:, 1:]


def encoded(ab, bins, sigma, nearest=None):
    """The definition, float64; of the nearest bins alone if they are numbered."""
    square = ((ab[:, None].astype(np.float64) - bins) ** 2).sum(-1)
    p = np.exp(-(square - square.min(-1, keepdims=True)) / (2 * sigma**2))
    p = p if nearest is None else np.where(square <= np.sort(square)[:, nearest - 1 : nearest], p, 0)
    return p / p.sum(-1, keepdims=True)


def test_an_encoding_is_a_distribution_around_the_color():
    found = np.asarray(losses.soft_encode(jnp.asarray(AB), jnp.asarray(BINS)))
    np.testing.assert_allclose(found, encoded(AB, BINS, 5), atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    away = np.linalg.norm(found @ BINS - AB, axis=-1)
    assert away.max() < 5
    assert away.mean() < 1
    assert abs(found - encoded(AB, BINS, 5, nearest=10)).sum(-1).mean() / 2 < 0.003


def test_the_annealed_mean_is_between_mean_and_mode():
    logits = np.random.default_rng(1).normal(size=(4, len(BINS))) * 3
    p = np.exp(logits / 0.38)
    expected = (p / p.sum(-1, keepdims=True)) @ BINS
    found = losses.annealed_mean(jnp.asarray(logits), jnp.asarray(BINS))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    mode = losses.annealed_mean(jnp.asarray(logits), jnp.asarray(BINS), 1e-3)
    np.testing.assert_allclose(mode, BINS[logits.argmax(-1)], atol=1e-3)


@pytest.mark.parametrize("mix", [0.0, 0.5, 1.0])
def test_weights_have_mean_1_under_the_prior(mix):
    prior = np.random.default_rng(2).dirichlet(np.full(50, 0.3)) + 1e-6
    prior /= prior.sum()
    found = np.asarray(losses.rebalancing_weights(jnp.asarray(prior), mix), np.float64)
    expected = 1 / ((1 - mix) * prior + mix / 50)
    np.testing.assert_allclose(found, expected / (prior * expected).sum(), rtol=1e-4)
    np.testing.assert_allclose((prior * found).sum(), 1, rtol=1e-5)
    if mix < 1:
        assert found[prior.argmin()] > found[prior.argmax()]
    else:
        np.testing.assert_allclose(found, 1, rtol=1e-5)


def test_no_gradient_flows_into_the_prior():
    grad = jax.grad(lambda prior: losses.rebalancing_weights(prior)[0])(jnp.array([0.2, 0.8]))
    np.testing.assert_array_equal(grad, 0)


def test_the_area_under_the_curve_of_errors():
    def curve(error, weight):
        return np.mean([weight[error <= t].sum() / weight.sum() for t in range(151)])

    error = np.array([0.0, 0.5, 1.0, 74.9, 149.5, 150.0, 150.1, 400.0])
    weight = np.arange(1.0, 9.0)
    ones = np.ones(8)
    np.testing.assert_allclose(metrics.color_auc(jnp.asarray(error)), curve(error, ones), rtol=1e-5)
    found = metrics.color_auc(jnp.asarray(error), jnp.asarray(weight))
    np.testing.assert_allclose(found, curve(error, weight), rtol=1e-5)
    assert metrics.color_auc(jnp.zeros(3)) == 1
    assert metrics.color_auc(jnp.full(3, 151.0)) == 0


def test_shapes_that_do_not_fit_are_said():
    with pytest.raises(ValueError, match="soft_encode takes bins"):
        losses.soft_encode(jnp.zeros((4, 3)), jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match="annealed_mean takes bins"):
        losses.annealed_mean(jnp.zeros((4, 3)), jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match="a part in"):
        losses.rebalancing_weights(jnp.ones(3) / 3, 1.5)
    with pytest.raises(ValueError, match="differ"):
        metrics.color_auc(jnp.zeros(3), jnp.ones(2))
