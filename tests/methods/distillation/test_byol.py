import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import losses
from jssl.errors import UserError
from jssl.methods import BYOL
from jssl.train.collapse import collapse_symptoms
from tests.methods.reference import (
    ENCODER,
    context,
    cosine,
    differ,
    listed,
    loss_of,
    moved,
    one_by_one,
    same,
    start,
    trained,
    value_and_grad_of,
    vectors,
)


def make(**options):
    """With a target that is not the online network."""
    method = BYOL(ENCODER, **{"proj_hidden_dim": 8, "proj_dim": 6, "momentum": 0.9, **options})
    params, state = start(method, vectors())
    target = {**state["target"], "params": moved(state["target"]["params"])}
    return method, params, {**state, "target": target}


@pytest.fixture(scope="module")
def step():
    method, params, state = make()
    (value, output), grads = value_and_grad_of(method, params, state, vectors(), context())
    return method, params, state, value, output, grads


def test_it_begins_as_a_copy_of_the_online_network():
    params, state = start(BYOL(ENCODER, proj_hidden_dim=8, proj_dim=6), vectors())
    same(state["target"]["params"], {name: params[name] for name in ("encoder", "projector")}, 0, 0)
    assert set(state["target"]["stats"]) == {"encoder", "projector"}


def test_the_heads_are_the_papers(step):
    _, params, state, *_ = step
    for name in ("projector", "predictor"):
        assert set(params[name]) == {"dense0", "bn0", "dense1"}  # batch norm in the hidden layer alone
        assert set(params[name]["dense1"]) == {"kernel"}  # no bias in the last
        assert set(state["stats"][name]) == {"bn0"}
    assert (BYOL(ENCODER).proj_hidden_dim, BYOL(ENCODER).proj_dim, BYOL(ENCODER).momentum_end) == (
        4096,
        256,
        1.0,
    )


def test_both_directions_each_view_and_the_target_with_batch_statistics_of_their_own(step):
    method, params, state, value, output, _ = step
    views, target = listed(vectors()), state["target"]
    online, stats = one_by_one(method, params, state["stats"], views)
    targets, target_stats = one_by_one(method, target["params"], target["stats"], views)
    (p1, p2), (t1, t2) = [o["predictor"] for o in online], [o["projector"] for o in targets]
    np.testing.assert_allclose(value, 2 - 2 * cosine(p1, t2) + 2 - 2 * cosine(p2, t1), rtol=1e-5)
    same(output.state["stats"], stats)
    same(output.state["target"]["stats"], target_stats)
    assert differ(target_stats, state["target"]["stats"])
    assert differ(target_stats["encoder"], stats["encoder"])
    same(output.state["target"]["params"], target["params"], 0, 0)  # the loss leaves them alone
    np.testing.assert_allclose(output.features, online[0]["encoder"], rtol=1e-4, atol=1e-5)


def test_the_target_is_a_constant_of_the_gradient(step):
    method, params, state, _, _, grads = step
    views, target = listed(vectors()), state["target"]
    t1, t2 = (o["projector"] for o in one_by_one(method, target["params"], target["stats"], views)[0])

    def loss(params):
        p1, p2 = (o["predictor"] for o in one_by_one(method, params, state["stats"], views)[0])
        return 4 - 2 * sum(
            jnp.mean(jnp.sum(losses.normalize(p) * losses.normalize(t), axis=1))
            for p, t in ((p1, t2), (p2, t1))
        )

    same(grads, jax.jit(jax.grad(loss))(params), rtol=1e-3)

    def of_target(target_params):
        changed = {**state, "target": {**target, "params": target_params}}
        return method.loss(params, changed, vectors(), context())[0]

    into_target = jax.jit(jax.grad(of_target))(target["params"])
    assert all(not np.any(g) for g in jax.tree.leaves(into_target))


@pytest.mark.parametrize(("progress", "decay"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_the_target_follows_the_updated_parameters_more_and_more_slowly(step, progress, decay):
    method, params, state, _, output, _ = step
    new = moved(params, seed=9)
    after = method.after_update(new, output.state, context(progress))
    expected = {
        name: jax.tree.map(
            lambda t, p: decay * t + (1 - decay) * p, state["target"]["params"][name], new[name]
        )
        for name in ("encoder", "projector")
    }
    same(after["target"]["params"], expected, rtol=1e-5, atol=1e-6)
    same(after["target"]["stats"], output.state["target"]["stats"], 0, 0)  # parameters alone are averaged
    same(after["stats"], output.state["stats"], 0, 0)


def test_without_a_predictor_the_projections_meet():
    method, params, state = make(predictor=False)
    assert set(params) == {"encoder", "projector"}
    views, target = listed(vectors()), state["target"]
    z1, z2 = (o["projector"] for o in one_by_one(method, params, state["stats"], views)[0])
    t1, t2 = (o["projector"] for o in one_by_one(method, target["params"], target["stats"], views)[0])
    value, _ = loss_of(method, params, state, vectors(), context())
    np.testing.assert_allclose(value, 4 - 2 * cosine(z1, t2) - 2 * cosine(z2, t1), rtol=1e-5)


def test_it_collapses_without_a_predictor_and_not_with_it():
    """The views share half of their variance: without a predictor it is easiest to say the same of all images."""

    def run(**options):
        method = BYOL(ENCODER, proj_hidden_dim=32, proj_dim=16, momentum=0.7, momentum_end=0.7, **options)
        return method, trained(method, optax.sgd(1.0), steps=150)

    method, metrics = run(predictor=True)
    assert not collapse_symptoms(metrics)
    assert metrics["embedding/std"] > 0.7
    assert metrics["embedding/effective_rank"] > 3
    assert not method.collapse_causes()
    method, metrics = run(predictor=False)
    assert metrics["embedding/std"] < 0.1
    assert any("embedding/std" in symptom for symptom in collapse_symptoms(metrics))
    assert "method.predictor=False" in method.collapse_causes()[0]


def test_a_target_that_never_moves_is_a_cause_of_collapse():
    assert "method.momentum=1.0" in make(momentum=1.0)[0].collapse_causes()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.5}, r"momentum=1\.5 must be in \[0, 1\]"),
        ({"momentum_end": -0.1}, r"momentum_end=-0\.1 must be in \[0, 1\]"),
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"proj_dim": 0}, r"proj_dim=0 must be at least 1"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        BYOL(ENCODER, **options)


@pytest.mark.parametrize("views", [1, 3])
def test_it_takes_two_views(views):
    with pytest.raises(UserError, match=f"BYOL takes two views of every image.* are {views}"):
        BYOL(ENCODER, views=("first", "second")[:views]).check(vectors(views))
