"""The papers' linear evaluation: of the run it takes the encoder and the seed, of its optimiser nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.datasets import open_data
from jssl.data.streams import augmented
from jssl.errors import UserError
from jssl.evaluation.sgd import SGD, probe_optimizer, probe_program, train_probe
from jssl.train.program import make_program
from tests.conftest import set_key, tiny_config

RECIPE = SGD(enabled=True, epochs=0.2, batch_size=64, lr=1.0, weight_decay=1e-3)
LEAKS = {
    "name": "adamw",
    "final_weight_decay": 0.5,
    "clip_norm": 1e-3,
    "clip_each_norm": 1e-3,
    "layer_decay": 0.1,
    "warmup_steps": 0,
    "warmup_examples": 48,
    "grad_accumulation": 2,
    "schedule": "constant",
    "lr_scaling": "sqrt",
    "momentum": 0.1,
}


@pytest.fixture(scope="module")
def data():
    return open_data(tiny_config())


def probed(data, mesh, **optim):
    """The encoder before and after, and the classifier that a probe trains on it."""
    config = tiny_config()
    for key, value in optim.items():
        set_key(config, f"optim__{key}", value)
    program = make_program(config, data.info, mesh)
    state = program.init()
    before = jax.device_get(program.method.eval_encoder(state.params, state.method_state))
    _, trained = train_probe(RECIPE, program, state, data.train, 10)
    return before, *jax.device_get((trained.method_state["frozen"], trained.params))


def test_nothing_of_the_runs_optimiser_reaches_the_probe(data, mesh1):
    plain, changed = probed(data, mesh1), probed(data, mesh1, **LEAKS)
    jax.tree.map(np.testing.assert_array_equal, plain, changed)


def test_the_probe_sees_images_normalised_as_the_encoder_did(data, mesh1):
    program = make_program(tiny_config(data__mean=(0.4,), data__std=(0.2,)), data.info, mesh1)
    size = data.train.image_shape[0]
    probe = probe_program(SGD(batch_size=64, view=ViewSpec(size)), program, len(data.train), 10)
    batch = {
        "image": jnp.asarray(data.train.images[:64]),
        "index": jnp.arange(64),
        "label": jnp.zeros(64, int),
    }
    views = augmented(probe.config, jax.random.key(0), {"unlabeled": batch}, probe.streams)["unlabeled"][
        "views"
    ]
    np.testing.assert_allclose(views["view"][0], (data.train.images[:64] / 255 - 0.4) / 0.2, atol=1e-5)


def test_the_probe_learns_and_the_encoder_stays(data, mesh1):
    before, after, params = probed(data, mesh1)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert list(params) == ["probe"]
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(params)) > 1e-3  # it begins at 0


def test_updates_are_those_of_the_recipe():
    """Nesterov's momentum of the gradient with decay of the kernel, times a rate that falls along a cosine."""
    recipe, steps = SGD(batch_size=128, lr=0.2, momentum=0.5, weight_decay=0.1), 4
    optimizer, schedule = probe_optimizer(recipe, steps)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    grads = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    state, velocity, kernel = optimizer.init(params), 0.0, 1.0
    for step in range(steps):
        rate = 0.1 * (1 + np.cos(np.pi * step / steps)) / 2
        assert schedule(step) == pytest.approx(rate)
        updates, state = optimizer.update(grads, state, params)
        gradient = 3.0 + 0.1 * kernel
        velocity = gradient + 0.5 * velocity
        np.testing.assert_allclose(updates["kernel"], -rate * (gradient + 0.5 * velocity), rtol=1e-5)
        params = jax.tree.map(jnp.add, params, updates)
        kernel = float(params["kernel"][0, 0])
    assert params["bias"][0] != pytest.approx(kernel), "biases do not decay"


def test_the_rate_may_fall_in_steps_and_be_adapted():
    recipe = SGD(
        lr=30.0, schedule="step", step_at=(0.5, 0.75), momentum=0.0, nesterov=False, trust_coefficient=0.01
    )
    optimizer, schedule = probe_optimizer(recipe, 8)
    rates = [float(schedule(step)) for step in range(8)]
    np.testing.assert_allclose(rates, [30.0] * 4 + [3.0] * 2 + [0.3] * 2, rtol=1e-5)
    params = {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}
    grads = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -30 * 0.01 * np.full((2, 2), 2.0), rtol=1e-5)
    np.testing.assert_allclose(updates["bias"], -30 * np.full(2, 3.0), rtol=1e-5)


def test_its_baseline_is_trained_only_if_it_is_asked_for(tmp_path):
    section = {"evals__sgd__enabled": True, "evals__sgd__epochs": 0.1, "evals__sgd__batch_size": 64}
    for baselines, found in (((), False), (("untrained",), True)):
        config = tiny_config(evals__baselines=True, evals__knn__enabled=False, **section)
        config.evals.sgd.baselines = baselines
        config.evals.sgd.view = config.data.unlabeled.views.first.to_dict()
        result = jssl.run(config, tmp_path / str(found))
        assert 0 <= result["sgd/top1"] <= result["sgd/top5"] <= 1
        assert ("untrained/sgd/top1" in result.values) == found


def test_a_run_of_labelled_images_only_can_be_probed(mesh1):
    """It has no unlabelled stream, whose shapes the probe would begin with."""
    from tests.runs.test_stages import get

    config = get("supervised")
    data = open_data(config)
    program = make_program(config, data.info, mesh1)
    source = data.labeled()[0]
    recipe = SGD(epochs=3.0, batch_size=10)
    probe, trained = train_probe(recipe, program, program.init(), source, 10)
    assert probe.logits(trained.params, trained.method_state, source.images).shape == (20, 10)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"enabled": True, "lr": 0.0}, r"^evals\.sgd\.lr=0\.0 must be positive$"),
        ({"enabled": True, "epochs": -1.0}, r"^evals\.sgd\.epochs=-1\.0 must be positive$"),
        ({"enabled": True, "batch_size": 0}, r"^evals\.sgd\.batch_size=0 must be at least 1$"),
        ({"step_at": 0.5}, r"^evals\.sgd\.step_at=0\.5 must be numbers in parentheses"),
        ({"weight_decay": -1.0}, r"^evals\.sgd\.weight_decay=-1\.0 must be at least 0$"),
    ],
)
def test_fields_that_cannot_be(section, message):
    with pytest.raises(UserError, match=message):
        SGD.from_config(section)
