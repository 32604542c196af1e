import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.configs import mocov3
from jssl.errors import UserError
from jssl.methods import MoCoV3
from jssl.train import durations, optim
from tests.methods.reference import (
    ENCODER,
    context,
    differ,
    listed,
    moved,
    one_by_one,
    picking,
    same,
    start,
    value_and_grad_of,
    vectors,
)

RESNET = {"layers": 2, "predictor_last_batch_norm": False, "temperature": 1.0}
VIT = {"layers": 3, "predictor_last_batch_norm": True, "temperature": 0.2}


@pytest.fixture(scope="module", params=[RESNET, VIT], ids=["resnet", "vit"])
def step(request):
    method = MoCoV3(ENCODER, proj_hidden_dim=8, proj_dim=6, **request.param)
    params, state = start(method, vectors())
    state["target"]["params"] = moved(state["target"]["params"])
    (value, output), grads = value_and_grad_of(method, params, state, vectors(), context())
    return method, params, state, value, output, grads


def test_both_directions_times_twice_the_temperature(step):
    method, params, state, value, output, _ = step
    views, target = listed(vectors()), state["target"]
    online, stats = one_by_one(method, params, state["stats"], views)
    targets, target_stats = one_by_one(method, target["params"], target["stats"], views)
    (q1, q2), (k1, k2) = [o["predictor"] for o in online], [o["projector"] for o in targets]
    t = method.temperature
    expected = 2 * t * picking(q1, k2, t) + 2 * t * picking(q2, k1, t)  # official: contrastive_loss, twice
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    same(output.state, {"stats": stats, "target": {**target, "stats": target_stats}})
    assert differ(target_stats, {name: stats[name] for name in target_stats})
    bound = np.log(8) - (picking(q1, k2, t) + picking(q2, k1, t)) / 2
    np.testing.assert_allclose(output.metrics["contrastive/information"], bound, rtol=1e-3)


def test_keys_are_constants_of_the_gradient(step):
    method, params, state, _, _, grads = step
    views, target, t = listed(vectors()), state["target"], method.temperature
    k1, k2 = (o["projector"] for o in one_by_one(method, target["params"], target["stats"], views)[0])

    def loss(params):
        q1, q2 = (o["predictor"] for o in one_by_one(method, params, state["stats"], views)[0])
        total = 0.0
        for q, k in ((q1, k2), (q2, k1)):
            q, k = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
            total -= 2 * t * jnp.mean(jnp.diagonal(jax.nn.log_softmax(q @ k.T / t)))
        return total

    same(grads, jax.jit(jax.grad(loss))(params), rtol=1e-3)


def test_the_last_batch_norm_has_neither_scale_nor_offset(step):
    method, params, state, *_ = step
    last = method.layers - 1
    assert f"bn{last}" in state["stats"]["projector"]
    assert f"bn{last}" not in params["projector"]
    assert f"dense{last}" in params["projector"]
    assert f"dense{last + 1}" not in params["projector"]
    assert set(params["predictor"]) == {"dense0", "bn0", "dense1"}
    assert ("bn1" in state["stats"]["predictor"]) == method.predictor_last_batch_norm
    for head in ("projector", "predictor"):  # no dense layer has a bias
        assert all(set(p) == {"kernel"} for name, p in params[head].items() if name.startswith("dense"))
    assert "predictor" not in state["target"]["params"]


def test_the_patch_embedding_of_the_vit_recipe_stays_random():
    config = mocov3.get_config("imagenet_vit")
    assert {key: config.method[key] for key in VIT} == VIT
    params = {"encoder": {"patches": {"kernel": jnp.ones((3, 2))}, "blocks_0": {"kernel": jnp.ones((3, 2))}}}
    optimizer, _ = optim.make_optimizer(config.optim, durations.Clock(64, 16, 400), params)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    assert not np.any(updates["encoder"]["patches"]["kernel"])
    assert np.all(updates["encoder"]["blocks_0"]["kernel"] != 0)


def test_collapse_causes():
    assert not MoCoV3(ENCODER).collapse_causes()
    assert "method.temperature=9.0" in MoCoV3(ENCODER, temperature=9.0).collapse_causes()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 1}, r"layers=1 must be at least 2"),
        ({"temperature": 0.0}, r"temperature=0\.0 must be positive"),
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"momentum": -1.0}, r"momentum=-1\.0 must be in \[0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        MoCoV3(ENCODER, **options)


@pytest.mark.parametrize("views", [1, 3])
def test_it_takes_two_views(views):
    with pytest.raises(UserError, match=f"MoCoV3 takes two views of every image.* are {views}"):
        MoCoV3(ENCODER, views=("first", "second")[:views]).check(vectors(views))
