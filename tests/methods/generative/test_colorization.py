"""Colorization: what the encoder sees, the loss, its weights, and grey images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl import models
from jssl.data.augment import color_space
from jssl.errors import UserError
from jssl.methods import Context
from jssl.methods.generative.colorization import BINS, Colorization, has_colors
from tests.methods.reference import start

CONVNET = {"name": "convnet", "convnet": {"width": 4, "strides": (2,)}}
METHOD = Colorization(models.encoder({**CONVNET, "channels": (0,)}), stride=2, decoder_dim=4)
CONTEXT = Context(jax.random.key(0), jnp.zeros((), jnp.int32), jnp.zeros(()))
ROWS, SIDE = 6, 8


def images(seed=0, rows=ROWS):
    """Random colours, of Lab as networks see it."""
    rgb = np.random.default_rng(seed).uniform(size=(rows, SIDE, SIDE, 3))
    return color_space.scale_lab(color_space.rgb_to_lab(jnp.asarray(rgb, jnp.float32)))


def rows_of(x):
    return {"unlabeled": {"views": {"first": (x,)}, "index": jnp.arange(len(x), dtype=jnp.int32)}}


@pytest.fixture(scope="module")
def started():
    return start(METHOD, rows_of(images()))


@pytest.fixture(scope="module")
def step():
    def step(params, state, x):
        return jax.value_and_grad(METHOD.loss, has_aux=True)(params, state, rows_of(x), CONTEXT)

    return jax.jit(step)


def oracle(logits, x, histogram, mix=0.5):
    """The loss, its weights and the new histogram, float64."""
    ab = np.asarray(x, np.float64)[:, 1::2, 1::2, 1:] * 50
    square = ((ab[..., None, :] - BINS) ** 2).sum(-1)
    target = np.exp(-(square - square.min(-1, keepdims=True)) / 50)
    target /= target.sum(-1, keepdims=True)
    colored = (abs(np.asarray(x)[..., 1:] * 50) > 5).any((1, 2, 3))
    histogram = histogram + target[colored].mean((1, 2)).sum(0)
    prior = histogram / histogram.sum()
    weights = 1 / ((1 - mix) * prior + mix / len(prior))
    weights = (weights / (prior * weights).sum())[target.argmax(-1)] * colored[:, None, None]
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return (weights * -(target * log_p).sum(-1)).mean(), weights, histogram


def predicted(params, state, x):
    _, code, stats = METHOD.encode(params, state["stats"], x, jax.random.key(0))
    return METHOD.decode(params, stats, code, x, train=True)[0]


def test_the_loss_is_the_weighted_cross_entropy_of_soft_bins(started, step):
    params, state = started
    x = images().at[2, ..., 1:].set(0.02)  # one image is grey: a = b = 1
    (value, output), _ = step(params, state, x)
    logits = jax.jit(predicted)(params, state, x)
    expected, _, histogram = oracle(logits, x, np.asarray(state["histogram"]))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(output.state["histogram"], histogram, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        histogram.sum(), 1 + ROWS - 1, rtol=1e-6
    )  # in images; the grey one does not count
    assert output.features.shape == (ROWS, 4)
    for name in ("color_auc", "color_auc_balanced"):
        assert 0 < output.metrics[name] < 1


def test_weights_scale_the_gradient_of_each_pixel_and_nothing_else(started):
    params, state = started
    x = images()
    logits = jax.jit(predicted)(params, state, x)

    class Given(Colorization):
        def decode(self, params, stats, code, images, train):
            return params["logits"], stats

    def gradient(mix):
        own = {field.name: getattr(METHOD, field.name) for field in dataclasses.fields(METHOD)}
        method = Given(**{**own, "uniform_mix": mix})
        loss = lambda logits: method.loss({**params, "logits": logits}, state, rows_of(x), CONTEXT)[0]  # noqa: E731
        return jax.jit(jax.grad(loss))(logits)

    _, weights, _ = oracle(logits, x, np.asarray(state["histogram"]))
    assert weights.std() > 0.01
    np.testing.assert_allclose(gradient(0.5), gradient(1.0) * weights[..., None], rtol=1e-3, atol=1e-7)


def test_grey_images_have_no_loss_and_no_gradient(started, step):
    params, state = started
    grey = images().at[..., 1:].set(0.09)
    assert not has_colors(grey).any()
    assert has_colors(grey.at[:, 3, 4, 2].set(-0.11)).all()
    (value, output), grads = step(params, state, grey)
    assert value == 0
    assert all((np.asarray(grad) == 0).all() for grad in jax.tree.leaves(grads))
    np.testing.assert_array_equal(output.state["histogram"], state["histogram"])


def test_the_encoder_sees_no_colors_and_pictures_keep_the_lightness(started):
    params, state = started
    x = images()
    other = x.at[..., 1:].multiply(-1)
    outputs = jax.jit(METHOD.outputs)
    found, again = outputs(params, state, x), outputs(params, state, other)
    np.testing.assert_array_equal(found["features"], again["features"])
    np.testing.assert_array_equal(found["reconstruction"], again["reconstruction"])
    assert found["reconstruction"].shape == found["masked"].shape == x.shape
    for name in ("masked", "reconstruction"):
        np.testing.assert_array_equal(found[name][..., 0], x[..., 0])
    assert (np.asarray(found["masked"])[..., 1:] == 0).all()


def test_what_cannot_be_is_said_before_training():
    with pytest.raises(UserError, match=r"must not see them: set encoder.channels=\(0,\)"):
        dataclasses.replace(METHOD, encoder=models.encoder(CONVNET)).check(rows_of(images()))
    with pytest.raises(UserError, match=r"predicts channels of Lab: set data.color_space='lab'"):
        dataclasses.replace(METHOD, color_space="rgb").check(rows_of(images()))
    with pytest.raises(UserError, match=r"method.stride=16 leaves no pixel of views of 8 pixels"):
        dataclasses.replace(METHOD, stride=16).check(rows_of(images()))
    config = jssl.get_config("colorization")
    config.data.name = "digits"
    with pytest.raises(UserError, match="images of 3 channels"):
        jssl.run(config, "never_written")
