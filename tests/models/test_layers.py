"""Batch normalisation against NumPy; drop-path against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models.layers import BatchNorm, DropPath
from jssl.models.network import Network


def batch(n=8, offset=3.0):
    return np.random.default_rng(0).normal(offset, 2.0, (n, 3, 2, 5)).astype(np.float32)


def normalised(x, mean, var):
    return (x - mean) / np.sqrt(var + 1e-5)


def test_train_normalises_with_the_batch_and_moves_the_running_statistics():
    x = batch()
    network = Network(BatchNorm(momentum=0.8))
    params, stats = network.init(jax.random.key(0), x)
    params = {"scale": params["scale"] * 1.5, "bias": params["bias"] + 0.25}
    y, stats = network.apply(params, stats, x, train=True)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, 1.5 * normalised(x, mean, var) + 0.25, atol=1e-5)
    np.testing.assert_allclose(stats["mean"], 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.8 + 0.2 * var, rtol=1e-5)


def test_eval_uses_the_running_statistics_and_returns_them():
    x = batch()
    network = Network(BatchNorm())
    params, _ = network.init(jax.random.key(0), x)
    stats = {"mean": jnp.arange(5.0), "var": jnp.arange(1.0, 6.0)}
    y, after = network.apply(params, stats, x, train=False)
    np.testing.assert_allclose(y, normalised(x, np.arange(5.0), np.arange(1.0, 6.0)), rtol=1e-4, atol=1e-5)
    assert after is stats


def test_groups_are_normalised_apart_and_the_running_statistics_are_their_mean():
    x = batch()
    x[4:] *= 3.0
    network = Network(BatchNorm(groups=2))
    params, stats = network.init(jax.random.key(0), x)
    y, after = network.apply(params, stats, x, train=True)
    halves = [x[:4], x[4:]]
    want = [normalised(h, h.mean((0, 1, 2)), h.var((0, 1, 2))) for h in halves]
    np.testing.assert_allclose(y, np.concatenate(want), atol=1e-5)
    np.testing.assert_allclose(
        after["mean"], 0.1 * np.mean([h.mean((0, 1, 2)) for h in halves], 0), rtol=1e-5
    )
    np.testing.assert_allclose(
        after["var"], 0.9 + 0.1 * np.mean([h.var((0, 1, 2)) for h in halves], 0), rtol=1e-5
    )

    # What is in the second group does not reach the first, and what is in the first does.
    def first(x):
        return jnp.sum(jnp.sin(network.apply(params, stats, x, train=True)[0][0]))

    reach = np.abs(jax.grad(first)(x)).sum((1, 2, 3))
    assert np.all(reach[:4] > 0)
    assert np.all(reach[4:] == 0)


@pytest.mark.parametrize(("offset", "running"), [(3e4, 3e4 - 10), (30.0, 0.0)])
def test_variance_survives_a_large_mean(offset, running):
    """Any mean that the running one knows; before it knows any, one of some deviations."""
    x = batch(offset=offset)
    network = Network(BatchNorm())
    params, stats = network.init(jax.random.key(0), x)
    y, _ = network.apply(params, {**stats, "mean": stats["mean"] + running}, x, train=True)
    exact = x.astype(np.float64)
    want = normalised(exact, exact.mean((0, 1, 2)), exact.var((0, 1, 2)))
    np.testing.assert_allclose(y, want, atol=5e-3)


def test_bfloat16_output_with_float32_statistics():
    x = batch().astype(jnp.bfloat16)
    network = Network(BatchNorm(dtype=jnp.bfloat16))
    params, stats = network.init(jax.random.key(0), x)
    y, stats = network.apply(params, stats, x, train=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((params, stats))} == {jnp.dtype("float32")}
    exact = np.asarray(x, np.float64).mean((0, 1, 2))
    np.testing.assert_allclose(stats["mean"], 0.1 * exact, rtol=1e-5)


@pytest.mark.parametrize("names", [("scale",), ("bias",), ()])
def test_scale_and_bias_are_optional(names):
    network = Network(BatchNorm(use_scale="scale" in names, use_bias="bias" in names))
    params, stats = network.init(jax.random.key(0), batch())
    assert set(params) == set(names)
    assert set(stats) == {"mean", "var"}


def test_batch_must_divide_by_groups():
    network = Network(BatchNorm(groups=3))
    params, stats = network.init(jax.random.key(0), batch())
    with pytest.raises(ValueError, match="a batch of 8 does not divide by 3 groups"):
        network.apply(params, stats, batch(), train=True)


def drop(rate, x, train, key):
    rngs = None if key is None else {"drop_path": key}
    return DropPath(rate).apply({}, x, train, rngs=rngs)


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    x = jnp.ones((4000, 2, 3))
    y = np.asarray(drop(0.25, x, True, jax.random.key(0)))
    samples = y.reshape(4000, -1)
    assert np.all((samples == 0).all(1) | np.isclose(samples, 1 / 0.75).all(1))
    # The share of drops has standard deviation sqrt(.25 * .75 / 4000) = .0068.
    assert (samples == 0).all(1).mean() == pytest.approx(0.25, abs=0.03)
    assert y.mean() == pytest.approx(1.0, abs=0.04)


def test_drop_path_is_the_identity_where_it_should_be():
    x = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(drop(0.9, x, False, None), x)
    np.testing.assert_array_equal(drop(0.0, x, True, None), x)


def test_drop_path_needs_a_key():
    with pytest.raises(ValueError, match="drop-path needs a random key in training"):
        drop(0.5, jnp.ones((2, 3)), True, None)
