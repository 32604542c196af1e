import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.methods import SwAV
from tests.methods.reference import (
    ENCODER,
    context,
    cross_entropy,
    forward,
    listed,
    loss_of,
    moved,
    same,
    start,
    unit,
    value_and_grad_of,
    vectors,
)

CROPS = vectors(4)  # two global ones and two local ones


def sinkhorn(scores, epsilon=0.05, iterations=3):
    """The official loop: prototypes in rows; every prototype, then every sample, gets its share."""
    q = np.exp(np.asarray(scores, np.float64) / epsilon).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * len(q)
        q /= q.sum(axis=0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


def by_hand(started, params=None, queues=None):
    """(value, assignments), with the queues' embeddings under the current prototypes if there are queues."""
    method, first, state = started
    params = params or first
    found, _ = forward(method, params, state["stats"], jnp.concatenate(listed(CROPS)))
    scores = np.split(np.asarray(found["prototypes"], np.float64), 4)
    prototypes = unit(np.asarray(params["prototypes"]["kernel"]).T)
    targets = []
    for i in range(2):
        earlier = [] if queues is None else [np.asarray(queues[i].rows, np.float64) @ prototypes.T]
        targets.append(sinkhorn(np.concatenate([*earlier, scores[i]]))[-8:])
    terms = [cross_entropy(scores[j] / 0.1, targets[i]) for i in range(2) for j in range(4) if i != j]
    return np.mean(terms), targets


@pytest.fixture(scope="module")
def started():
    sizes = {"proj_hidden_dim": 8, "proj_dim": 6, "prototypes": 5, "queue_size": 16}
    method = SwAV(ENCODER, **sizes, queue_start_epochs=3.0)
    return method, *start(method, CROPS)


@pytest.fixture(scope="module")
def step(started):
    (value, output), grads = value_and_grad_of(*started, CROPS, context())
    return value, output, grads


def full(state):
    return tuple(queue._replace(filled=jnp.int32(16)) for queue in state["queues"])


def test_every_crop_predicts_the_assignments_of_each_other_global_crop(started, step):
    value, output, _ = step
    expected, targets = by_hand(started)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    entropy = -np.mean(np.sum(targets[0] * np.log(targets[0]), axis=1))
    np.testing.assert_allclose(output.metrics["teacher/entropy"], entropy, rtol=1e-3)
    method, params, state = started
    found = method.outputs(params, state, listed(CROPS)[0])["assignments"]
    scores = forward(method, params, state["stats"], listed(CROPS)[0], False)[0]["prototypes"]
    np.testing.assert_allclose(found, sinkhorn(scores), rtol=1e-3, atol=1e-6)


def test_assignments_are_constants_of_the_gradient(started, step):
    method, params, state = started
    targets = [jnp.asarray(t, jnp.float32) for t in by_hand(started)[1]]

    def loss(params):
        found, _ = forward(method, params, state["stats"], jnp.concatenate(listed(CROPS)))
        log_p = [jax.nn.log_softmax(s / 0.1) for s in jnp.split(found["prototypes"], 4)]
        terms = [
            -jnp.mean(jnp.sum(targets[i] * log_p[j], axis=1)) for i in range(2) for j in range(4) if i != j
        ]
        return sum(terms) / 6

    same(step[2], jax.jit(jax.grad(loss))(params), rtol=1e-3)


def test_each_queue_takes_the_embeddings_of_its_global_crop(started, step):
    method, params, state = started
    found, stats = forward(method, params, state["stats"], jnp.concatenate(listed(CROPS)))
    z = np.split(unit(found["projector"]), 4)
    same(step[1].state["stats"], stats)
    queues = step[1].state["queues"]
    assert len(queues) == 2
    for before, after, entered in zip(state["queues"], queues, z):
        np.testing.assert_allclose(after.rows[:8], entered, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(after.rows[8:], before.rows[8:])
        assert (after.position, after.filled) == (8, 8)
    again = value_and_grad_of(method, params, step[1].state, CROPS, context())[0][1].state["queues"]
    for before, after, entered in zip(queues, again, z):  # the last batches stay
        np.testing.assert_array_equal(after.rows[:8], before.rows[:8])
        np.testing.assert_allclose(after.rows[8:], entered, rtol=1e-4, atol=1e-5)
        assert (after.position, after.filled) == (0, 16)


@pytest.mark.parametrize(
    ("filled", "step", "used"), [(16, 30, True), (16, 100, True), (16, 29, False), (8, 100, False)]
)
def test_the_queue_is_used_once_it_is_full_and_its_time_has_come(started, filled, step, used):
    method, params, state = started
    queues = tuple(queue._replace(filled=jnp.int32(filled)) for queue in state["queues"])
    (value, _), _ = value_and_grad_of(method, params, {**state, "queues": queues}, CROPS, context(step=step))
    with_queue, without = by_hand(started, queues=queues)[0], by_hand(started)[0]
    assert abs(with_queue - without) > 1e-3 * without
    np.testing.assert_allclose(value, with_queue if used else without, rtol=1e-4)


def test_stored_embeddings_are_scored_with_the_prototypes_of_today(started):
    method, params, state = started
    state = {**state, "queues": full(state)}
    other = {**params, "prototypes": moved(params["prototypes"], by=1.0)}
    (value, _), grads = value_and_grad_of(method, other, state, CROPS, context(step=100))
    np.testing.assert_allclose(value, by_hand(started, other, state["queues"])[0], rtol=1e-4)
    # Their length does not count: they are unit vectors in the forward pass.
    longer = {**params, "prototypes": {"kernel": 5 * other["prototypes"]["kernel"]}}
    (same_value, _), _ = value_and_grad_of(method, longer, state, CROPS, context(step=100))
    np.testing.assert_allclose(same_value, value, rtol=1e-5)
    targets = [jnp.asarray(t, jnp.float32) for t in by_hand(started, other, state["queues"])[1]]

    def loss(params):
        found, _ = forward(method, params, state["stats"], jnp.concatenate(listed(CROPS)))
        log_p = [jax.nn.log_softmax(s / 0.1) for s in jnp.split(found["prototypes"], 4)]
        return (
            sum(-jnp.mean(jnp.sum(targets[i] * log_p[j], 1)) for i in range(2) for j in range(4) if i != j)
            / 6
        )

    same(grads, jax.jit(jax.grad(loss))(other), rtol=1e-3)


def test_no_queue_and_the_head(started):
    method = dataclasses.replace(started[0], queue_size=0)
    params, state = jax.eval_shape(method.init, jax.random.key(0), CROPS)
    assert state["queues"] == ()
    two = dataclasses.replace(method, views=("first", "second"), local_views=())
    two.check(vectors(2, rows=7))
    assert set(params["projector"]) == {"dense0", "bn0", "dense1"}
    assert set(params["prototypes"]) == {"kernel"}
    value, _ = loss_of(method, started[1], {**started[2], "queues": ()}, CROPS, context(step=100))
    np.testing.assert_allclose(value, by_hand(started)[0], rtol=1e-4)


def test_collapse_causes():
    assert not SwAV(ENCODER).collapse_causes()
    assert "method.epsilon=0.5 is above temperature=0.1" in SwAV(ENCODER, epsilon=0.5).collapse_causes()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"iterations": 0}, r"iterations=0 must be at least 1"),
        ({"temperature": 0.0}, r"temperature=0\.0 must be positive"),
        ({"epsilon": 0.0}, r"epsilon=0\.0 must be positive"),
        ({"prototypes": 1}, r"prototypes=1 must be at least 2"),
        ({"queue_size": -8}, r"queue_size=-8"),
        ({"queue_start_epochs": -1.5}, r"queue_start_epochs=-1\.5 must be at least 0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        SwAV(ENCODER, **options)


def test_bad_batches():
    with pytest.raises(UserError, match=r"queue_size=20 must be a multiple of the batch of 8: try 16 \(0"):
        SwAV(ENCODER, queue_size=20).check(CROPS)
    with pytest.raises(
        UserError, match=r"SwAV takes two global crops and any number of local ones: .* are 1"
    ):
        SwAV(ENCODER, views=("first",), local_views=()).check(vectors(1))
