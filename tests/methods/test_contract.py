"""What every method of the table must do, on tiny shapes."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.methods import METHODS, Context, OnlineProbe, make_method

ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}})
ROWS = 8


def config_of(name):
    """The method section of the method's own config, with narrow heads."""
    config = importlib.import_module(f"configs.{name}").get_config().method
    for key in ("hidden", "out"):
        if key in config:
            config[key] = 8
    return config


@pytest.fixture(scope="module", params=sorted(METHODS))
def method(request):
    return make_method(config_of(request.param), ENCODER, "float32")


def batch(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    views = tuple(jnp.asarray(rng.uniform(size=(rows, 8, 8, 3)), jnp.float32) for _ in range(2))
    index = jnp.arange(rows, dtype=jnp.int32)
    return {"unlabeled": {"views": views, "index": index, "label": index % 3}}


CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


@pytest.fixture(scope="module")
def started(method):
    method.check(batch())
    params, state = method.init(jax.random.key(0), batch())
    return method, params, state, jax.jit(jax.value_and_grad(method.loss, has_aux=True))


def test_shapes_are_known_before_anything_is_computed(started):
    method, params, state, _ = started
    abstract = jax.eval_shape(method.init, jax.random.key(0), batch())
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (params, state))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == shapes
    assert "encoder" in params


def test_the_loss_is_finite_and_reaches_every_parameter(started):
    _, params, state, step = started
    (value, output), grads = step(params, state, batch(), CONTEXT)
    assert value.shape == ()
    assert np.isfinite(value)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.any(grad != 0), f"no gradient reaches {jax.tree_util.keystr(path)}"
    for name, metric in output.metrics.items():
        assert metric.shape == (), name
        assert np.isfinite(metric), name
    assert jax.tree.structure(output.state) == jax.tree.structure(state)
    assert output.features.shape[0] == output.labels.shape[0]


def test_it_is_a_pure_function_compiled_once(started):
    method, params, state, _ = started
    step = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    first = step(params, state, batch(), CONTEXT)
    again = step(params, state, batch(), CONTEXT)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    later = Context(jax.random.key(2), jnp.ones((), jnp.int32), jnp.ones(()))
    step(params, first[0][1].state, batch(1), later)
    assert step._cache_size() == 1


def test_the_order_of_the_batch_does_not_matter(started):
    _, params, state, step = started
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = jax.tree.map(lambda x: x[order], batch())
    (value, _), grads = step(params, state, batch(), CONTEXT)
    (other, _), other_grads = step(params, state, shuffled, CONTEXT)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads, other_grads)


def test_features_are_those_of_the_image_alone(started):
    method, params, state, _ = started
    images = batch()["unlabeled"]["views"][0]
    features = method.features(params, state, images)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(
        features[2:5], method.features(params, state, images[2:5]), rtol=1e-4, atol=1e-6
    )
    assert np.std(features, axis=0).max() > 0


def test_after_update_keeps_the_states_shape(started):
    method, params, state, _ = started
    new = method.after_update(params, state, CONTEXT)
    assert jax.tree.structure(new) == jax.tree.structure(state)


def test_a_probe_beside_it_changes_nothing(started):
    method, params, state, step = started
    probed = OnlineProbe(method.encoder, method, 3)
    with_probe, same_state = probed.init(jax.random.key(0), batch())
    jax.tree.map(np.testing.assert_array_equal, {k: with_probe[k] for k in params}, params)
    jax.tree.map(np.testing.assert_array_equal, same_state, state)
    probe_step = jax.jit(jax.value_and_grad(probed.loss, has_aux=True))
    (value, output), grads = probe_step(with_probe, state, batch(), CONTEXT)
    (alone, _), expected = step(params, state, batch(), CONTEXT)
    np.testing.assert_allclose(value - alone, np.log(3), rtol=1e-4)  # zero-initialised: uniform over classes
    assert 0 <= output.metrics["online/top1"] <= 1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        {k: grads[k] for k in params},
        expected,
    )
    assert all(np.any(g != 0) for g in jax.tree.leaves(grads["probe"]))
    hidden = jax.tree.map(lambda x: x, batch())
    hidden["unlabeled"]["label"] = jnp.full(ROWS, -1)
    (silent, _), _ = probe_step(with_probe, state, hidden, CONTEXT)
    np.testing.assert_allclose(silent, alone, rtol=1e-5)  # without labels it has nothing to say


def test_every_method_has_a_row_in_the_docs():
    import pathlib

    text = (pathlib.Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    for name in METHODS:
        assert f"configs/{name}.py" in text
