import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.methods import MoCo
from tests.methods.reference import (
    ENCODER,
    ROWS,
    WIDTH,
    context,
    cross_entropy,
    listed,
    loss_of,
    moved,
    named,
    one_by_one,
    picking,
    same,
    start,
    unit,
    value_and_grad_of,
    vectors,
)

RATE = 0.2


def make(encoder=ENCODER, batch=None, **options):
    """With a target that is not the online network, where there is one."""
    given = {
        "proj_hidden_dim": 8,
        "proj_dim": 6,
        "queue_size": 16,
        "num_examples": 100,
        "temperature": 0.2,
        "version": 2,
    }
    method = MoCo(encoder, **{**given, **options})
    params, state = start(method, batch or vectors())
    if "target" in state:
        state["target"]["params"] = moved(state["target"]["params"])
    return method, params, state


def projections(method, params, stats, views):
    found, stats = one_by_one(method, params, stats, views)
    return [o["projector"] for o in found], stats


def against_rows(q, k, rows, temperature=0.2):
    """The official cross entropy of [positive, queue] with the label 0."""
    q, k = unit(q), unit(k)
    logits = np.concatenate([np.sum(q * k, 1, keepdims=True), q @ np.asarray(rows, np.float64).T], axis=1)
    return cross_entropy(logits / temperature, np.zeros(len(q), int))


def test_three_steps_are_those_of_the_official_loop():
    """Its order: momentum update, keys, logits with the queue as it is, gradient, then the keys enter."""
    method, params, state = make(momentum=0.5, momentum_end=0.5)
    query, key = params, {name: params[name] for name in ("encoder", "projector")}
    state["target"]["params"] = jax.tree.map(jnp.copy, key)
    query_stats, key_stats = state["stats"], state["target"]["stats"]
    queue, position = np.array(state["queue"].rows), 0

    @jax.jit
    def gradient(query, stats, x, k, rows):
        def loss(query):
            (q,), new = projections(method, query, stats, [x])
            q = q / jnp.linalg.norm(q, axis=1, keepdims=True)
            logits = jnp.concatenate([jnp.sum(q * k, axis=1, keepdims=True), q @ rows.T], axis=1) / 0.2
            return -jnp.mean(jax.nn.log_softmax(logits)[:, 0]), new

        return jax.value_and_grad(loss, has_aux=True)(query)

    for number in range(3):
        batch = vectors(seed=number)
        x_q, x_k = listed(batch)
        key = jax.tree.map(lambda k, q: 0.5 * k + 0.5 * q, key, query)
        (k,), key_stats = projections(method, key, key_stats, [x_k])
        k = np.float32(unit(k))
        (expected, query_stats), grads = gradient(
            query, query_stats, x_q, k, jnp.array(queue)
        )  # a copy: it changes
        query = jax.tree.map(lambda p, g: p - RATE * g, query, grads)
        queue[position : position + ROWS] = k
        position = (position + ROWS) % len(queue)

        ctx = context(seed=number)
        (value, output), grads = value_and_grad_of(method, params, state, batch, ctx)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, grads)
        np.testing.assert_allclose(value, expected, rtol=1e-4)
        same(params, query)
        same(output.state["stats"], query_stats)
        same(output.state["target"], {"params": key, "stats": key_stats})  # no statistics are averaged
        np.testing.assert_allclose(output.state["queue"].rows, queue, rtol=1e-4, atol=1e-5)
        assert (output.state["queue"].position, output.state["queue"].filled) == (
            position,
            min(16, 8 * number + 8),
        )
        state = method.after_update(params, output.state, ctx)
    assert position == 8  # it began again


def test_symmetric_is_the_mean_of_both_and_both_keys_enter():
    method, params, state = make(symmetric=True)
    value, output = loss_of(method, params, state, vectors(), context())
    views, target = listed(vectors()), state["target"]
    (q1, q2), _ = projections(method, params, state["stats"], views)
    (k2, k1), target_stats = projections(method, target["params"], target["stats"], views[::-1])
    rows = state["queue"].rows
    one, two = against_rows(q1, k2, rows), against_rows(q2, k1, rows)
    np.testing.assert_allclose(value, (one + two) / 2, rtol=1e-5)
    same(output.state["target"]["stats"], target_stats)
    entered = output.state["queue"]
    np.testing.assert_allclose(entered.rows, unit(np.concatenate([k2, k1])), rtol=1e-4, atol=1e-5)
    assert (entered.position, entered.filled) == (0, 16)


def test_shuffling_changes_which_images_share_statistics_and_nothing_else():
    """Batch norm in groups of two: a key is a function of its image and of one companion.

    Without groups it changes nothing: the official loop above does not shuffle, and the method does.
    """

    def keys(shuffle, seed):
        encoder = models.mlp((12,), last_batch_norm=True, batch_norm_groups=2)
        one = vectors(rows=4)["unlabeled"]
        batch = {"unlabeled": {**one, "views": named([*one["views"]["first"]] * 2)}}
        method, params, state = make(encoder, batch, queue_size=4, shuffle=shuffle)
        state["target"]["params"] = {name: params[name] for name in ("encoder", "projector")}
        found = loss_of(method, params, state, batch, context(seed=seed))[1].state["queue"].rows

        def pair(i, j):
            two = listed(batch)[0][jnp.array([i, j])]
            (z,), _ = projections(dataclasses.replace(method, encoder=ENCODER), params, state["stats"], [two])
            return unit(z)[0]

        return found, pair

    plain, pair = keys(False, seed=0)
    by_companion = {(i, j): pair(i, j) for i in range(4) for j in range(4) if i != j}

    def companions(rows):
        """For every key the one companion with which it can have been normalised."""
        near = {ij: np.abs(expected - rows[ij[0]]).max() < 1e-4 for ij, expected in by_companion.items()}
        found = [[j for j in range(4) if near.get((i, j))] for i in range(4)]
        assert all(len(one) == 1 for one in found), found
        return [j for (j,) in found]

    assert companions(plain) == [1, 0, 3, 2]  # as the queries
    seen = {tuple(companions(keys(True, seed)[0])) for seed in range(6)}
    assert seen <= {(1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}  # pairs
    assert len(seen) > 1


@pytest.mark.parametrize("symmetric", [False, True])
def test_memory_bank_against_drawn_rows_which_move_after_the_loss(symmetric):
    options = {
        "mechanism": "memory_bank",
        "symmetric": symmetric,
        "bank_momentum": 0.25,
        "num_examples": 10_000,
    }
    method, params, state = make(**options)
    assert set(state) == {"stats", "bank"}
    index = vectors()["unlabeled"]["index"]
    draw = np.random.default_rng(0).normal
    other, own = unit(draw(size=6)), unit(draw(size=(ROWS, 6)))
    bank = jnp.tile(jnp.asarray(other, jnp.float32), (len(state["bank"]), 1)).at[index].set(own)
    # Every row but those of the batch is the same, so that it does not matter which are drawn.
    value, output = loss_of(method, params, {**state, "bank": bank}, vectors(), context())
    queries, _ = projections(method, params, state["stats"], listed(vectors()))
    expected = [against_rows(q, own, np.tile(other, (16, 1))) for q in queries[: 2 if symmetric else 1]]
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-5)
    rows = np.array(bank)
    rows[index] = unit(0.25 * own + 0.75 * unit(queries[0]))
    np.testing.assert_allclose(output.state["bank"], rows, rtol=1e-4, atol=1e-5)


def test_memory_bank_draws_images_only_and_others_every_step():
    method, params, state = make(mechanism="memory_bank")
    assert state["bank"].shape == (256, 6)
    bank = jnp.asarray(unit(np.random.default_rng(5).normal(size=(256, 6))), jnp.float32)
    state = {**state, "bank": bank}
    value = loss_of(method, params, state, vectors(), context())[0]
    assert value != loss_of(method, params, state, vectors(), context(seed=2))[0]
    hostile = {**state, "bank": bank.at[100:].set(jnp.nan)}
    assert loss_of(method, params, hostile, vectors(), context())[0] == value


@pytest.mark.parametrize("symmetric", [False, True])
def test_end_to_end_takes_the_other_keys_of_the_batch_with_gradient(symmetric):
    method, params, state = make(mechanism="end_to_end", symmetric=symmetric)
    assert set(state) == {"stats"}
    (value, _), grads = value_and_grad_of(method, params, state, vectors(), context())
    views = listed(vectors())
    (q1, q2), _ = projections(method, params, state["stats"], views)
    expected = [picking(q1, q2, 0.2), picking(q2, q1, 0.2)][: 2 if symmetric else 1]
    np.testing.assert_allclose(value, np.mean(expected), rtol=1e-5)

    def loss(params):
        (q1, q2), _ = projections(method, params, state["stats"], views)
        q1, q2 = (q / jnp.linalg.norm(q, axis=1, keepdims=True) for q in (q1, q2))
        similarity = q1 @ q2.T / 0.2
        one, two = (-jnp.mean(jnp.diagonal(jax.nn.log_softmax(s))) for s in (similarity, similarity.T))
        return (one + two) / 2 if symmetric else one

    same(grads, jax.jit(jax.grad(loss))(params), rtol=1e-3)


def test_versions_have_a_linear_head_and_an_mlp_without_batch_norm():
    linear = jax.eval_shape(MoCo(ENCODER, version=1).init, jax.random.key(0), vectors())[0]
    assert set(linear["projector"]) == {"dense0"}
    params, state = jax.eval_shape(MoCo(ENCODER, version=2).init, jax.random.key(0), vectors())
    assert set(params["projector"]) == {"dense0", "dense1"}
    assert set(params["projector"]["dense1"]) == {"kernel", "bias"}
    assert not state["stats"]["projector"]
    paper = MoCo(ENCODER)
    assert (paper.version, paper.temperature, paper.queue_size, paper.momentum, paper.momentum_end, paper.proj_dim) == (
        1, 0.07, 65536, 0.999, 0.999, 128,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3}, r"version '3': valid are 1, 2; version 3 is configs/mocov3.py"),
        ({"mechanism": "bank"}, r"mechanism.*'bank'.*memory_bank"),
        ({"queue_size": 0}, r"queue_size=0 must be at least 1"),
        ({"temperature": -1.0}, r"temperature=-1\.0 must be positive"),
        ({"bank_momentum": 2.0}, r"bank_momentum=2\.0 must be in \[0, 1\]"),
        ({"momentum": 1.1}, r"momentum=1\.1 must be in \[0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        MoCo(ENCODER, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue_size": 20}, r"queue_size=20 must be a multiple of the 8 keys of a step: try 16"),
        ({"queue_size": 24, "symmetric": True}, r"of the 16 keys of a step: try 32"),
        ({"queue_size": 2}, "try 8"),
    ],
)
def test_a_queue_takes_whole_batches(options, message):
    with pytest.raises(UserError, match=message):
        MoCo(ENCODER, **options).check(vectors())
    MoCo(ENCODER, **{**options, "mechanism": "end_to_end"}).check(vectors())  # there it is no queue


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (vectors(1), "MoCo takes two views of every image, .* are 1"),
        (vectors(rows=1), "must be > 1"),
        (
            {"unlabeled": {"views": named((jnp.zeros((8, WIDTH)), jnp.zeros((8, 6))))}},
            f"not {WIDTH} and 6 pixels",
        ),
    ],
)
def test_bad_views(views, message):
    with pytest.raises(UserError, match=message):
        MoCo(ENCODER, views=tuple(views["unlabeled"]["views"])).check(views)


def test_collapse_causes():
    assert not MoCo(ENCODER).collapse_causes()
    assert "method.temperature=5.0" in MoCo(ENCODER, temperature=5.0).collapse_causes()[0]
    assert "method.momentum=1.0" in MoCo(ENCODER, momentum=1.0).collapse_causes()[0]
    assert not MoCo(ENCODER, momentum=1.0, mechanism="end_to_end").collapse_causes()
