"""Split-brain autoencoders: what each half sees and predicts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.methods.generative.colorization import BINS
from jssl.methods.generative.split_brain import SplitBrain
from tests.methods.generative.test_colorization import CONTEXT, CONVNET, images, rows_of
from tests.methods.reference import start

METHOD = SplitBrain(models.encoder({**CONVNET, "split_brain": True}), stride=2, decoder_dim=4)


@pytest.fixture(scope="module")
def started():
    return start(METHOD, rows_of(images()))


def cross_entropy(logits, target):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return -(target * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1).mean()


def predicted(params, state, x):
    maps, _, stats = METHOD.encode(params, state["stats"], x, jax.random.key(0))
    return METHOD.predict(params, stats, maps, x, train=True)[:2]


def test_the_loss_is_that_of_both_halves(started):
    params, state = started
    x = images()
    value, output = jax.jit(METHOD.loss)(params, state, rows_of(x), CONTEXT)
    colors, lightness = jax.jit(predicted)(params, state, x)
    lab = np.asarray(x, np.float64)[:, 1::2, 1::2] * 50 + (50, 0, 0)
    square = ((lab[..., None, 1:] - BINS) ** 2).sum(-1)
    target = np.exp(-(square - square.min(-1, keepdims=True)) / 50)
    color_loss = cross_entropy(colors, target / target.sum(-1, keepdims=True))
    lightness_loss = cross_entropy(lightness, np.eye(100)[np.clip(lab[..., 0], 0, 99).astype(int)])
    np.testing.assert_allclose(output.metrics["color_loss"], color_loss, rtol=1e-4)
    np.testing.assert_allclose(output.metrics["lightness_loss"], lightness_loss, rtol=1e-4)
    np.testing.assert_allclose(value, color_loss + lightness_loss, rtol=1e-4)
    assert output.features.shape == (6, 8)


def test_neither_half_sees_what_it_predicts(started):
    params, state = started
    x = images()
    outputs, both = jax.jit(METHOD.outputs), jax.jit(predicted)
    features, (colors, lightness) = outputs(params, state, x)["features"], both(params, state, x)
    darker, other = x.at[..., 0].multiply(0.5), x.at[..., 1:].multiply(-1)
    np.testing.assert_array_equal(outputs(params, state, darker)["features"][:, 4:], features[:, 4:])
    np.testing.assert_array_equal(outputs(params, state, other)["features"][:, :4], features[:, :4])
    np.testing.assert_array_equal(both(params, state, darker)[1], lightness)
    np.testing.assert_array_equal(both(params, state, other)[0], colors)
    assert not np.allclose(both(params, state, darker)[0], colors)
    assert not np.allclose(both(params, state, other)[1], lightness)


def test_bins_of_lightness_are_read_at_their_middles():
    certain = jnp.where(jnp.arange(100) == 37, 100.0, 0.0)
    np.testing.assert_allclose(METHOD.read_lightness(certain), 37.5, rtol=1e-5)


def test_what_cannot_be_is_said_before_training():
    with pytest.raises(UserError, match=r"an encoder of two halves alone: set encoder.split_brain=True"):
        dataclasses.replace(METHOD, encoder=models.encoder(CONVNET)).check(rows_of(images()))
    with pytest.raises(UserError, match=r"set data.color_space='lab'"):
        dataclasses.replace(METHOD, color_space="rgb").check(rows_of(images()))
    with pytest.raises(UserError, match="the halves must not mix"):
        dataclasses.replace(METHOD, code_dim=8)
