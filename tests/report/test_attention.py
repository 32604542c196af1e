"""Attention maps, from the network to the picture."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jssl import models, parallel
from jssl.data.datasets import open_data
from jssl.evaluation.suite import Suite
from jssl.models import Network
from jssl.models.vit import ViT
from jssl.report import pictures
from jssl.runs.pictures import draw_attention
from jssl.train.program import make_program
from jssl.train.state import TrainState
from tests.conftest import tiny_config

SMALL = {"features": 8, "heads": 2, "patch_size": 2, "image_size": 8}
IMAGES = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype(np.float32)


def test_the_attention_is_that_of_the_last_of_eleven_blocks():
    network = Network(ViT(layers=11, **SMALL))
    params, stats = Network(ViT(layers=11, scan=True, **SMALL)).init(
        jax.random.key(0), IMAGES
    )  # compiles sooner
    attention = jax.jit(network.attention)
    weights = attention(params, stats, IMAGES)
    assert (weights.shape, weights.dtype) == ((3, 2, 17, 17), jnp.float32)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)

    def without_qkv(number):
        """A block that attends to everything alike."""
        block = params[f"blocks_{number}"]
        qkv = jax.tree.map(jnp.zeros_like, block["attention"]["qkv"])
        return {**params, f"blocks_{number}": {**block, "attention": {**block["attention"], "qkv": qkv}}}

    np.testing.assert_allclose(attention(without_qkv(10), stats, IMAGES), 1 / 17, rtol=1e-5)
    assert np.ptp(attention(without_qkv(9), stats, IMAGES)) > 1e-3


def test_the_attention_of_a_network_that_computes_its_blocks_again():
    network, remat = (Network(ViT(layers=2, remat=remat, **SMALL)) for remat in (False, True))
    params, stats = network.init(jax.random.key(0), IMAGES)
    weights = jax.jit(network.attention)(params, stats, IMAGES)
    np.testing.assert_allclose(jax.jit(remat.attention)(params, stats, IMAGES), weights, atol=1e-6)


def test_attention_of_other_sizes_and_of_networks_without():
    network = Network(ViT(layers=1, **SMALL))
    params, stats = network.init(jax.random.key(0), IMAGES)
    larger = jax.eval_shape(network.attention, params, stats, jnp.zeros((2, 12, 12, 1)))
    assert larger.shape == (2, 2, 37, 37)
    mlp = models.mlp((4,))
    assert mlp.attention(*mlp.init(jax.random.key(0), IMAGES[:, 0, :, 0]), IMAGES[:, 0, :, 0]) is None


@pytest.fixture(scope="module")
def digits():
    return open_data(tiny_config(data__labels="none"))


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_the_picture_is_of_the_class_token_of_the_evaluated_encoder(digits, tmp_path, monkeypatch, pool):
    program = make_program(tiny_config(log__pictures=True), digits.info)
    encoder = Network(ViT(layers=2, pool=pool, **SMALL))
    program = dataclasses.replace(program, method=dataclasses.replace(program.method, encoder=encoder))
    state = TrainState(0, *parallel.put_replicated(jax.jit(program.init_method)(), program.mesh), None)
    drawn = []
    monkeypatch.setattr(pictures, "attention", lambda path, *arrays: drawn.append((path.name, *arrays)))
    draw_attention(Suite(program, digits), state, epath.Path(tmp_path))
    if pool == "gap":
        assert not drawn
        return
    ((name, images, maps),) = drawn
    assert name == "attention.png"
    rows = np.arange(8) * len(digits.test) // 8
    np.testing.assert_array_equal(images, digits.test.images[rows])
    params, stats = jax.device_get(program.method.eval_encoder(state.params, state.method_state))
    mean = np.float32(program.config.data.mean[0])
    want = jax.jit(encoder.attention)(params, stats, images / np.float32(255) - mean)
    np.testing.assert_allclose(maps, want[:, :, 0, 1:].reshape(8, 2, 4, 4), rtol=1e-4)


def test_the_picture_has_a_row_an_image_and_a_map_a_head(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    images, maps = rng.integers(0, 256, (10, 8, 12, 3), dtype=np.uint8), rng.uniform(size=(10, 3, 4, 6))
    figures, save = [], pictures.save
    monkeypatch.setattr(pictures, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    pictures.attention(epath.Path(tmp_path) / "attention.png", images, maps)
    grid = np.reshape(figures[0].axes[0].images, (8, 4))
    image, attended = grid[7, 0], grid[7, 2]
    np.testing.assert_allclose(image.get_array(), images[7] / 255)
    np.testing.assert_array_equal(attended.get_array(), maps[7, 1])
    places = np.array([image.get_extent(), attended.get_extent()])
    np.testing.assert_allclose(places[1] - places[0], [2, 2, 0, 0], atol=1e-6)  # two cells to the right
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
