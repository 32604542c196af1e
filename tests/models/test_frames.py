"""Encoders of frames, layer normalisation and the convolutional GRU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.models.layers import LayerNorm

OPTIONS = {"name": "convnet", "convnet": {"width": 4, "strides": (2, 2), "norm": "layer"}}
CLIPS = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder():
    network = models.encoder({**OPTIONS, "per_frame": True})
    return network, *network.init(jax.random.key(0), CLIPS)


def test_a_frame_is_seen_by_itself_and_features_are_the_mean(encoder):
    network, params, stats = encoder
    assert params["base"]["conv0"]["kernel"].shape == (3, 3, 1, 4)
    frames, _ = network.apply(params, stats, CLIPS, train=False, method="frames")
    alone = models.encoder(OPTIONS)
    for number in range(3):
        one, _ = alone.apply(params["base"], stats, CLIPS[..., number : number + 1], train=False)
        np.testing.assert_allclose(frames[:, number], one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network.apply(params, stats, CLIPS, train=False)[0], frames.mean(1), rtol=1e-5)
    maps, _ = network.apply(params, stats, CLIPS, train=False, method="frame_maps")
    assert maps.shape == (2, 3, 2, 2, 8)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), frames, rtol=1e-5, atol=1e-6)


def test_clips_shorter_than_the_window_are_named():
    network = models.encoder({**OPTIONS, "window": 4})
    with pytest.raises(UserError, match=r"encoder.window=4: the clips have 3 frames"):
        jax.eval_shape(network.init, jax.random.key(0), CLIPS)


def test_its_maps_are_means_over_frames(encoder):
    network, params, stats = encoder
    layers = network.layer_maps(params, stats, CLIPS)
    assert {name: layer.shape for name, layer in layers.items()} == {
        "block1": (2, 4, 4, 4),
        "block2": (2, 2, 2, 8),
    }
    np.testing.assert_allclose(layers["block2"], network.feature_map(params, stats, CLIPS), rtol=1e-5)


def test_layer_normalisation_sees_one_sample():
    x = np.random.default_rng(1).normal(2, 3, (4, 5, 5, 6)).astype(np.float32)
    params = LayerNorm().init(jax.random.key(0), x, True)["params"]
    scale, bias = np.arange(1, 7, dtype=np.float32), np.arange(6, dtype=np.float32)
    y = LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x, True)
    assert params["scale"].shape == params["bias"].shape == (6,)
    exact = x.astype(np.float64)
    mean, var = exact.mean(axis=(1, 2, 3), keepdims=True), exact.var(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(y, (exact - mean) / np.sqrt(var + 1e-5) * scale + bias, rtol=1e-4, atol=1e-4)
    resnet = models.resnet18(norm="layer", width=0.0625, stem="cifar")
    shapes, stats = jax.eval_shape(resnet.init, jax.random.key(0), CLIPS)
    assert shapes["stem_bn"]["scale"].shape == (4,)
    assert stats == {}


@pytest.mark.parametrize("kernel", [1, 3])
def test_the_state_is_that_of_a_gru_and_has_seen_no_later_input(kernel):
    network = models.conv_gru(3, kernel)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 5, 6)), jnp.float32)
    params, _ = network.init(jax.random.key(0), x)
    states, _ = network.apply(params, {}, x, train=True)
    assert states.shape == (2, 4, 5, 3)
    later, _ = network.apply(params, {}, x.at[:, 2].add(5.0), train=True)
    np.testing.assert_array_equal(states[:, :2], later[:, :2])
    assert (states[:, 2:] != later[:, 2:]).all()
    apart, _ = network.apply(params, {}, x.at[:, 0, 0].add(5.0), train=True)
    changed = (np.asarray(apart) != np.asarray(states)).any(axis=(0, 3))
    assert changed[0].tolist() == [True] + [kernel == 3] + [False] * 3  # places that see the first one
    if kernel == 1:
        np.testing.assert_allclose(states, gru(params["cell"], np.asarray(x)), rtol=1e-4, atol=1e-5)


def gru(params, x):
    """In NumPy and double precision, place by place."""

    def dense(name, value):
        kernel, bias = (np.asarray(params[name][key], np.float64) for key in ("kernel", "bias"))
        return np.split(value @ kernel[0] + bias, 3, axis=-1)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    h, states = np.zeros((*x.shape[:1], *x.shape[2:-1], 3)), []
    for t in range(x.shape[1]):
        (xr, xz, xn), (hr, hz, hn) = dense("input", x[:, t]), dense("state", h)
        update = sigmoid(xz + hz)
        h = (1 - update) * np.tanh(xn + sigmoid(xr + hr) * hn) + update * h
        states.append(h)
    return np.stack(states, axis=1)
