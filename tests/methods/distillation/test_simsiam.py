import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.configs import simsiam
from jssl.errors import UserError
from jssl.methods import SimSiam
from jssl.train import durations, optim
from tests.methods.reference import (
    ENCODER,
    context,
    cosine,
    listed,
    one_by_one,
    same,
    start,
    value_and_grad_of,
    vectors,
)


def forward(method, params, state):
    both, stats = one_by_one(method, params, state["stats"], listed(vectors()))
    return [o["projector"] for o in both], [o["predictor"] for o in both], stats


@pytest.fixture(scope="module")
def step():
    method = SimSiam(ENCODER, proj_hidden_dim=8, proj_dim=6, pred_hidden_dim=8)
    params, state = start(method, vectors())
    (value, output), grads = value_and_grad_of(method, params, state, vectors(), context())
    return method, params, state, value, output, grads


def test_the_value_is_the_official_one_plus_one(step):
    method, params, state, value, output, _ = step
    (z1, z2), (p1, p2), stats = forward(method, params, state)
    official = -(cosine(p1, z2) + cosine(p2, z1)) * 0.5
    np.testing.assert_allclose(value, official + 1, rtol=1e-5)
    same(output.state, {"stats": stats})


def test_no_gradient_through_the_projection_that_is_predicted(step):
    method, params, state, _, _, grads = step
    constant = forward(method, params, state)[0]

    def loss(params, stop):
        (z1, z2), (p1, p2), _ = forward(method, params, state)
        z1, z2 = constant if stop else (z1, z2)
        unit = lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
        return -(jnp.mean(jnp.sum(unit(p1) * unit(z2) + unit(p2) * unit(z1), axis=1))) * 0.5

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    same(grads, gradient(params, True), rtol=1e-3)
    without = gradient(params, False)["projector"]["dense0"]["kernel"]
    assert np.abs(grads["projector"]["dense0"]["kernel"] - without).max() > 1e-3  # it would make a difference


def test_the_heads_are_the_papers(step):
    _, params, state, *_ = step
    assert set(params["projector"]) == {"dense0", "bn0", "dense1", "bn1", "dense2"}
    assert set(state["stats"]["projector"]) == {"bn0", "bn1", "bn2"}  # the last one without scale and offset
    assert set(params["predictor"]) == {"dense0", "bn0", "dense1"}
    assert set(params["predictor"]["dense1"]) == {"kernel", "bias"}
    assert params["predictor"]["dense0"]["kernel"].shape == (6, 8)
    assert set(state["stats"]["predictor"]) == {"bn0"}


@pytest.mark.parametrize("preset", ["digits", "imagenet"])
def test_the_recipe_keeps_the_predictors_learning_rate(preset):
    config = simsiam.get_config(preset)
    params = {name: {"kernel": jnp.zeros((2, 2))} for name in ("encoder", "projector", "predictor")}
    clock = durations.Clock(1024, 256, 400)
    optimizer, schedule = optim.make_optimizer(config.optim, clock, params)
    # A constant gradient, so that what is left of the rate is all that changes once the momentum has settled.
    grads = jax.tree.map(jnp.ones_like, params)

    def update(opt_state, _):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return opt_state, jax.tree.map(lambda u: u[0, 0], updates)

    _, updates = jax.jit(lambda: jax.lax.scan(update, optimizer.init(params), length=400))()
    moved = {name: np.array(part["kernel"]) for name, part in updates.items()}
    np.testing.assert_allclose(moved["predictor"][-1], moved["predictor"][200], rtol=1e-3)
    np.testing.assert_allclose(moved["encoder"][-1] / moved["predictor"][-1], 0, atol=1e-3)
    np.testing.assert_allclose(moved["encoder"], moved["projector"])
    peak = max(float(schedule(step)) for step in range(30))
    ratio = moved["encoder"][200] / moved["predictor"][200]
    np.testing.assert_allclose(ratio, schedule(200) / peak, rtol=1e-3)


@pytest.mark.parametrize("field", ["proj_hidden_dim", "proj_dim", "pred_hidden_dim"])
def test_bad_settings(field):
    with pytest.raises(UserError, match=rf"{field}=0 must be at least 1"):
        SimSiam(ENCODER, **{field: 0})


@pytest.mark.parametrize("views", [1, 3])
def test_it_takes_two_views(views):
    with pytest.raises(UserError, match=f"SimSiam takes two views of every image.* are {views}"):
        SimSiam(ENCODER, views=("first", "second")[:views]).check(vectors(views))
