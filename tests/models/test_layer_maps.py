"""The maps of layers are the values that the modules compute, and nobody who does not ask for them pays."""

import functools
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.models.convnet import ConvNet
from jssl.models.heads import Topped
from jssl.models.network import Network
from jssl.models.resnet import ResNet
from jssl.models.vit import ViT
from jssl.models.wide_resnet import WideResNet

VIT = {"features": 8, "layers": 2, "heads": 2, "patch_size": 4, "image_size": 16}
MODULES = {
    "convnet": ConvNet(4, strides=(2, 1)),
    "resnet": ResNet((1, 1), False, width=0.0625, stem="imagenet"),
    "bottleneck": ResNet((1, 1), True, width=0.0625, stem="cifar", remat=True),
    "preactivated": ResNet((1, 2), False, version=2, width=0.0625, stem="cifar"),
    "wrn": WideResNet(depth=10, widen=1, remat=True),
    "vit": ViT(**VIT),
    "vit_gap": ViT(**{**VIT, "layers": 1}, pool="gap", remat=True),
}
SHAPES = {
    "convnet": {"block1": (8, 8, 4), "block2": (8, 8, 8)},
    "resnet": {"stem": (8, 8, 4), "block1": (4, 4, 4), "block2": (2, 2, 8)},
    "bottleneck": {"stem": (16, 16, 4), "block1": (16, 16, 16), "block2": (8, 8, 32)},
    "preactivated": {"stem": (16, 16, 4), "block1": (16, 16, 4), "block2": (8, 8, 8)},
    "wrn": {"stem": (16, 16, 16), "block1": (16, 16, 16), "block2": (8, 8, 32), "block3": (4, 4, 64)},
    "vit": {"block1": (4, 4, 8), "block2": (4, 4, 8)},
    "vit_gap": {"block1": (4, 4, 8)},
}
IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def maps(network, params, stats, images=IMAGES):
    return network.layer_maps(params, stats, images)


@pytest.mark.parametrize("name", MODULES)
def test_maps_come_in_order_of_depth_and_the_last_is_the_feature_map(name):
    network, order = Network(MODULES[name]), []
    params, stats = network.init(jax.random.key(0), IMAGES)

    @jax.jit
    def maps_and_last(params, stats):
        found = network.layer_maps(params, stats, IMAGES)
        order.extend(found)
        return found, network.feature_map(params, stats, IMAGES)

    found, last = maps_and_last(params, stats)
    assert order == list(SHAPES[name])
    assert {key: layer.shape[1:] for key, layer in found.items()} == SHAPES[name]
    assert {layer.dtype for layer in found.values()} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found[order[-1]], last, rtol=1e-5, atol=1e-5)
    assert all(np.asarray(layer).std() > 0 for layer in found.values())
    rectified = {key for key, layer in found.items() if np.asarray(layer).min() >= 0}
    last_alone, none = {order[-1]}, set()
    expected = {"preactivated": last_alone, "wrn": none, "vit": none, "vit_gap": none}  # WRN: a leaky ReLU
    assert rectified == expected.get(name, set(order))


def test_a_convnet_of_fewer_blocks_ends_where_a_layer_is():
    deep, shallow = ConvNet(4, strides=(2, 1, 2)), ConvNet(4, strides=(2, 1))
    params, stats = Network(deep).init(jax.random.key(0), IMAGES)
    within = maps(Network(deep), params, stats)["block2"]
    np.testing.assert_allclose(within, maps(Network(shallow), params, stats)["block2"], rtol=1e-6)


def test_tokens_lie_where_their_patches_are():
    """One patch is changed: after the first block no other token has changed as much as the one at its place."""
    network = Network(ViT(**VIT))
    params, stats = network.init(jax.random.key(0), IMAGES)
    changed = IMAGES.copy()
    changed[:, 4:8, 12:16] += 3.0  # row 1, column 3
    before, after = (maps(network, params, stats, images)["block1"] for images in (IMAGES, changed))
    change = np.abs(np.asarray(after - before)).sum(axis=(0, 3))
    assert np.unravel_index(change.argmax(), change.shape) == (1, 3)


def test_layers_of_an_encoder_with_a_head_are_those_of_the_encoder():
    base = MODULES["convnet"]
    params, stats = Network(base).init(jax.random.key(0), IMAGES)
    topped = Network(Topped(ConvNet(4, strides=(2, 1)), (5,)))
    own, own_stats = topped.init(jax.random.key(1), IMAGES)
    found = maps(topped, {**own, "base": params}, {**own_stats, "base": stats})
    expected = maps(Network(base), params, stats)
    assert found.keys() == expected.keys() == {"block1", "block2"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_a_module_that_records_nothing_has_no_layers():
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return x.mean(axis=(1, 2))

    assert Network(Mean()).layer_maps({}, {}, IMAGES) == {}


def test_bfloat16_maps_are_float32():
    network = models.convnet(width=4, strides=(2,), dtype="bfloat16")
    shapes = jax.eval_shape(lambda: network.layer_maps(*network.init(jax.random.key(0), IMAGES), IMAGES))
    assert shapes["block1"].dtype == jnp.float32


@pytest.mark.parametrize("name", ["convnet", "preactivated", "vit"])
@pytest.mark.parametrize("train", [True, False])
def test_who_does_not_ask_computes_what_was_computed_before(name, train, monkeypatch):
    network = Network(MODULES[name])
    params, stats = jax.eval_shape(lambda: network.init(jax.random.key(0), IMAGES))

    def program():
        f = jax.jit(lambda params, stats: network.apply(params, stats, IMAGES, train=train))
        return f.lower(params, stats).as_text()

    recording = program()
    for module in ("convnet", "resnet", "vit"):
        monkeypatch.setattr(sys.modules[f"jssl.models.{module}"], "record", lambda *_: None)
    assert program() == recording
