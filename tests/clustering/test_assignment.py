import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax

from jssl import clustering
from jssl.clustering import blocks

N, K = 203, 5
LOG_P = log_softmax(np.random.default_rng(0).normal(size=(N, K)) * 2 + np.arange(K), axis=1).astype(
    np.float32
)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Of 30 rows at most: 203 are 7 tiles of 29."""
    monkeypatch.setattr(blocks, "CPU_TILE_BYTES", 4 * K * 30)


def sela(log_p, sharpness, tolerance=0.1):
    """optimize_L_sk of the official code: float64, and no logarithms."""
    ps = np.exp(log_p.astype(np.float64)).T ** sharpness
    c, error, counter = np.ones((N, 1)) / N, 1e6, 0
    while error > tolerance:
        r = (1 / K) / (ps @ c)
        c_new = (1 / N) / (r.T @ ps).T
        if counter % 10 == 0:
            error = np.nansum(np.abs(c / c_new - 1))
        c = c_new
        counter += 1
    return (ps * np.squeeze(c)).T * np.squeeze(r), counter, error


def matrix(log_p, log_potentials, sharpness):
    """diag(r) P^sharpness diag(c), with rows that sum to 1 / N."""
    return np.exp(log_softmax(sharpness * log_p.astype(np.float64) + log_potentials, axis=1)) / N


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_iterations_are_those_of_the_official_code(sharpness):
    expected, counter, error = sela(LOG_P, sharpness)
    found = clustering.optimal_assignment(LOG_P, sharpness=sharpness)
    assert found.iterations == counter
    np.testing.assert_allclose(found.error, error, rtol=1e-2, atol=1e-3)
    np.testing.assert_array_equal(found.labels, expected.argmax(axis=1))
    np.testing.assert_allclose(matrix(LOG_P, found.log_potentials, sharpness), expected, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(found.objective, -LOG_P[np.arange(N), found.labels].mean(), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, [1, 2, 3, 2, 1]])
def test_marginals(weights):
    found = clustering.optimal_assignment(LOG_P, sharpness=5, class_weights=weights, tolerance=1e-3)
    shares = np.ones(K) / K if weights is None else np.array(weights) / 9
    assert found.error <= 1e-3
    np.testing.assert_allclose(matrix(LOG_P, found.log_potentials, 5).sum(axis=0), shares, rtol=1e-3)


def test_a_sharp_assignment_is_the_optimal_one_of_equal_sizes():
    log_p = LOG_P[:200]
    found = clustering.optimal_assignment(log_p, sharpness=200, max_iterations=5000)
    assert np.all(np.abs(np.bincount(found.labels, minlength=K) - 40) <= 2)
    cost = np.repeat(-log_p, 40, axis=1)
    best = cost[linear_sum_assignment(cost)].mean()
    np.testing.assert_allclose(found.objective, best, rtol=0.02)
    assert np.bincount(log_p.argmax(axis=1), minlength=K).max() > 80  # which is not what log_p says by itself


def test_very_sharp_is_finite():
    found = clustering.optimal_assignment(LOG_P, sharpness=1e4, max_iterations=50)
    assert np.isfinite(found.log_potentials).all()
    assert found.iterations == 50


def test_tiles_do_not_matter(monkeypatch):
    parts = clustering.optimal_assignment(
        LOG_P[:202], sharpness=4
    )  # 202 are 7 tiles of 29, the last with one twice
    monkeypatch.setattr(blocks, "CPU_TILE_BYTES", 2**20)
    at_once = clustering.optimal_assignment(LOG_P[:202], sharpness=4)
    np.testing.assert_array_equal(parts.labels, at_once.labels)
    np.testing.assert_allclose(parts.log_potentials, at_once.log_potentials, atol=1e-4)
    np.testing.assert_allclose(parts.objective, at_once.objective, rtol=1e-5)
    assert parts.iterations == at_once.iterations


def test_probabilities_of_zero():
    log_p = LOG_P.copy()
    log_p[::3, 0] = -np.inf
    found = clustering.optimal_assignment(log_p, sharpness=5)
    assert np.all(found.labels[::3] != 0)
    assert np.isfinite(found.objective)


def test_eight_devices_are_one_and_device_arrays_are_taken(mesh1, mesh8):
    one = clustering.optimal_assignment(LOG_P, mesh=mesh1)
    for log_p in (LOG_P, jnp.asarray(LOG_P)):
        eight = clustering.optimal_assignment(log_p, mesh=mesh8)
        assert eight.iterations == one.iterations
        np.testing.assert_array_equal(eight.labels, one.labels)
        np.testing.assert_allclose(eight.log_potentials, one.log_potentials, atol=1e-3)
    even = clustering.optimal_assignment(jnp.asarray(LOG_P[:200]), mesh=mesh8)
    assert even.labels.shape == (200,)


def bad_rows(value):
    log_p = LOG_P.copy()
    log_p[7, 2] = value
    return log_p


@pytest.mark.parametrize(
    ("log_p", "settings", "words"),
    [
        (LOG_P[0], {}, r"float\[N, K\], not \(5,\)"),
        (LOG_P[:0], {}, "not"),
        (bad_rows(np.nan), {}, "NaN or infinity"),
        (bad_rows(np.inf), {}, "NaN or infinity"),
        (np.where(np.arange(K) == 1, -np.inf, LOG_P), {}, "NaN or infinity"),
        (LOG_P, {"sharpness": 0.0}, "sharpness=0.0 must be positive"),
        (LOG_P, {"tolerance": -1.0}, "tolerance=-1.0"),
        (LOG_P, {"max_iterations": 0}, "max_iterations=0"),
        (LOG_P, {"class_weights": [1.0, 2.0]}, "5 positive numbers"),
        (LOG_P, {"class_weights": [1.0, 2.0, 0.0, 1.0, 1.0]}, "5 positive numbers"),
    ],
)
def test_errors(log_p, settings, words):
    with pytest.raises(ValueError, match=words) as error:
        clustering.optimal_assignment(log_p, **settings)
    assert "\n" not in str(error.value)
