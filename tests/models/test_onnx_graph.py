"""Encoders as ONNX models, run by onnxruntime beside JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.models import onnx_graph
from jssl.models.onnx_graph import to_onnx

SIDE = 16
ENCODERS = {
    "convnet": {"convnet": {"width": 4, "strides": (2, 2)}},
    "convnet, a head's layers, sobel": {"convnet": {"width": 4, "strides": (2,)}, "head_layers": (6, 5), "sobel": True},
    "convnet, two halves": {"convnet": {"width": 4, "strides": (2,)}, "split_brain": True},
    "convnet, some channels": {"convnet": {"width": 4, "strides": (2,)}, "channels": (0, 2)},
    "resnet18": {"resnet": {"width": 0.125, "stem": "imagenet"}},
    "vit_mini": {"vit": {"patch_size": 4, "image_size": SIDE, "heads": 2, "registers": 2, "layer_scale": 0.1}},
    "flat_mlp": {"flat": {"sizes": (8, 4)}},
}  # fmt: skip


def features(model, images):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"images": images.transpose(0, 3, 1, 2)})[0]


@pytest.mark.parametrize("name", ENCODERS)
def test_features_are_those_of_jax_for_any_number_of_images(name):
    config = {"name": name.partition(",")[0], **ENCODERS[name]}
    network = models.encoder(config)
    images = np.random.default_rng(0).normal(size=(5, SIDE, SIDE, 3)).astype(np.float32)
    params, stats = network.init(jax.random.key(0), images[:2])
    noise = jax.random.normal(jax.random.key(1), (100_000,))
    params = jax.tree.map(lambda x: x + 0.1 * jnp.resize(noise, x.shape), params)  # no zeros

    def encode(x):
        return network.apply(params, stats, x, train=False)[0]

    expected = np.asarray(jax.jit(encode)(images))
    model = to_onnx(encode, images.shape[1:])
    found = np.concatenate([features(model, part) for part in (images[:1], images[1:])])
    assert np.std(expected, axis=0).max() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


OPERATIONS = {
    "padding and a slice": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0)), constant_values=2)[:, 1:3],
    "the other way round": lambda x: jnp.flip(x, axis=1),
    "where": lambda x: jnp.where(x > 0.5, jnp.tanh(x), jnp.sqrt(jnp.abs(x)) ** 3),
    "clip, sum": lambda x: jnp.clip(x, -0.5, 0.5).sum((1, 3)),
    "an index": lambda x: x[:, 1, :, -1] * jnp.arange(4.0),
    "batched products": lambda x: jnp.einsum("bijc,bkjc->bjik", x, x + 1),
    "concatenation with what is repeated": lambda x: jnp.concatenate(
        [x, jnp.broadcast_to(jnp.arange(2.0), (x.shape[0], 4, 1, 2))], axis=2
    ),
    "stacks": lambda x: jnp.stack([x[..., 1], 2 * x[..., 0]], axis=1),
    "softmax": lambda x: jax.nn.softmax(x, axis=1) + jax.nn.sigmoid(x),
    "maximum": lambda x: x.max(axis=(1, 2)) - x.min(axis=(1, 2)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    x = np.random.default_rng(1).normal(size=(3, 4, 4, 2)).astype(np.float32)
    found = features(to_onnx(OPERATIONS[name], x.shape[1:]), x)
    np.testing.assert_allclose(found, OPERATIONS[name](x), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: jnp.sort(x, axis=1), "the operation sort has no translation"),
        (lambda x: jnp.take(x, jnp.int32(x[:, 0, 0, 0]), axis=1), "this way of indexing has no translation"),
        (lambda x: jnp.broadcast_to(x.sum(), (2 * x.shape[0],)), "a shape of .* has no translation"),
    ],
)
def test_what_has_no_translation_is_named(function, message):
    with pytest.raises(UserError, match=rf"^onnx: {message}"):
        to_onnx(function, (4, 4, 2))


def test_weights_that_no_file_holds_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    large = np.arange(300, dtype=np.float32)
    with pytest.raises(UserError, match=r"1,2\d\d bytes of weights are more than a file holds, 1,000"):
        to_onnx(lambda x: x * large, (4, 4, 300))
