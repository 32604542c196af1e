import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.methods import NNCLR
from tests.methods.reference import (
    ENCODER,
    context,
    differ,
    listed,
    one_by_one,
    picking,
    same,
    start,
    unit,
    value_and_grad_of,
    vectors,
)


def forward(method, params, state):
    both, stats = one_by_one(method, params, state["stats"], listed(vectors()))
    return [o["projector"] for o in both], [o["predictor"] for o in both], stats


def nearest(z, rows):
    rows = np.asarray(rows, np.float64)
    return np.stack([rows[np.argmax([row @ one for row in rows])] for one in unit(z)])


@pytest.fixture(scope="module")
def step():
    method = NNCLR(ENCODER, proj_hidden_dim=8, proj_dim=6, pred_hidden_dim=8, queue_size=24, temperature=0.2)
    params, state = start(method, vectors())
    state["queue"] = state["queue"]._replace(position=jnp.int32(16), filled=jnp.int32(16))
    (value, output), grads = value_and_grad_of(method, params, state, vectors(), context())
    return method, params, state, value, output, grads


def test_positives_are_the_nearest_rows_of_the_queue_as_it_was(step):
    method, params, state, value, output, _ = step
    (z1, z2), (p1, p2), stats = forward(method, params, state)
    rows = state["queue"].rows
    n1, n2 = nearest(z1, rows), nearest(z2, rows)
    expected = (picking(n1, p2, 0.2) + picking(n2, p1, 0.2)) / 2  # eq. 4: among the other view's predictions
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    same(output.state["stats"], stats)
    similarity = np.mean(np.sum(unit(z1) * n1, axis=1))
    np.testing.assert_allclose(output.metrics["contrastive/neighbour_similarity"], similarity, rtol=1e-4)


def test_the_queue_takes_the_first_views_embeddings_after_the_loss(step):
    method, params, state, _, output, _ = step
    (z1, _), _, _ = forward(method, params, state)
    expected = np.array(state["queue"].rows)
    expected[16:] = unit(z1)
    queue = output.state["queue"]
    np.testing.assert_allclose(queue.rows, expected, rtol=1e-4, atol=1e-5)
    assert (queue.position, queue.filled) == (0, 24)


def test_neighbours_are_constants_of_the_gradient(step):
    method, params, state, _, _, grads = step
    n1, n2 = (nearest(z, state["queue"].rows) for z in forward(method, params, state)[0])

    def loss(params):
        _, (p1, p2), _ = forward(method, params, state)
        total = 0.0
        for n, p in ((n1, p2), (n2, p1)):
            p = p / jnp.linalg.norm(p, axis=1, keepdims=True)
            total -= jnp.mean(jnp.diagonal(jax.nn.log_softmax(jnp.asarray(n, jnp.float32) @ p.T / 0.2))) / 2
        return total

    same(grads, jax.jit(jax.grad(loss))(params), rtol=1e-3)
    assert all(differ(g, jnp.zeros_like(g), by=0) for g in jax.tree.leaves(grads))  # the projector learns too


def test_the_heads_are_the_papers(step):
    _, params, state, *_ = step
    assert set(params["projector"]) == {"dense0", "bn0", "dense1", "bn1", "dense2", "bn2"}
    assert set(params["projector"]["bn2"]) == {"scale", "bias"}
    assert set(params["predictor"]) == {"dense0", "bn0", "dense1"}
    assert "bn1" not in state["stats"]["predictor"]
    assert (NNCLR(ENCODER).temperature, NNCLR(ENCODER).queue_size) == (0.1, 98304)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"pred_hidden_dim": 0}, r"pred_hidden_dim=0 must be at least 1"),
        ({"queue_size": 0}, r"queue_size=0 must be at least 1"),
        ({"temperature": 0.0}, r"temperature=0\.0 must be positive"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        NNCLR(ENCODER, **options)


def test_bad_batches():
    with pytest.raises(UserError, match=r"queue_size=20 must be a multiple of the batch of 8: try 16"):
        NNCLR(ENCODER, queue_size=20).check(vectors())
    with pytest.raises(UserError, match=r"NNCLR takes two views of every image.* are 3"):
        NNCLR(ENCODER).check(vectors(3))
