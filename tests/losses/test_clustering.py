import jax
import numpy as np

from jssl import losses
from tests.losses.test_contrastive import numeric_gradient

SINKHORN = jax.jit(losses.sinkhorn, static_argnums=(1, 2))
B, K = 8, 6
VIEWS = np.random.default_rng(0).uniform(-1, 1, (4, B, K)).astype(np.float32)


def distributed_sinkhorn(scores, epsilon, iterations):
    """What main_swav.py does, on one process, in float64."""
    q = np.exp(scores.astype(np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True)
        q /= K
        q /= q.sum(axis=0, keepdims=True)
        q /= B
    return (q * B).T


def swav(scores, assignments, temperature):
    """The loop over crops of main_swav.py."""
    loss = 0.0
    for crop, q in enumerate(assignments):
        part = 0.0
        for v in np.delete(np.arange(len(scores)), crop):
            x = np.exp(scores[v].astype(np.float64) / temperature)
            part -= np.mean(np.sum(q * np.log(x / x.sum(axis=1, keepdims=True)), axis=1))
        loss += part / (len(scores) - 1)
    return loss / len(assignments)


def test_sinkhorn_is_the_official_one():
    for epsilon, iterations in ((0.05, 3), (0.05, 1), (0.5, 2)):
        q = SINKHORN(VIEWS[0], epsilon, iterations)
        np.testing.assert_allclose(q, distributed_sinkhorn(VIEWS[0], epsilon, iterations), rtol=1e-5)
    q = losses.sinkhorn(VIEWS[0], 0.5, 20)
    np.testing.assert_allclose(q.sum(axis=0), np.full(K, B / K), rtol=1e-4)
    assert not np.any(jax.jit(jax.grad(lambda x: losses.sinkhorn(x, 0.5)[0, 0]))(VIEWS[0]))


def test_sinkhorn_of_any_scores():
    wild = 1e4 * np.sign(VIEWS[0])
    for scores in (wild, 1e4 * VIEWS[0], np.full_like(wild, 1e4), np.full_like(wild, -1e4)):
        q = SINKHORN(scores)
        assert np.all(q >= 0)
        np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(q, 1 / K, rtol=1e-5)  # of identical rows


def test_swapped_prediction_is_the_official_loss_and_assignments_get_no_gradient():
    q = [distributed_sinkhorn(x, 0.05, 3) for x in VIEWS[:2]]

    def loss(views):
        return losses.swapped_prediction(list(views), [losses.sinkhorn(x) for x in views[:2]], 0.1)

    value, gradient = jax.jit(jax.value_and_grad(loss))(VIEWS)
    np.testing.assert_allclose(value, swav(VIEWS, q, 0.1), rtol=1e-5)
    numeric = numeric_gradient(lambda views: swav(views, q, 0.1), VIEWS)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)
    targets = np.asarray(q, np.float32)
    assert not np.any(jax.jit(jax.grad(lambda t: losses.swapped_prediction(list(VIEWS), list(t))))(targets))
