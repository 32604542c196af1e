"""Autoencoders: the loss, sparse codes, what is corrupted, and PCA's subspace."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import losses, models
from jssl.data import sources
from jssl.data.augment import masks
from jssl.errors import UserError
from jssl.methods.generative.autoencoder import Autoencoder
from tests.methods.reference import context, loss_of, start, value_and_grad_of
from tests.methods.test_contract import ENCODER, VIT

KEY = jax.random.key(0)
POOLED = models.vit_mini(patch_size=4, image_size=8, heads=2, pool="gap")
METHOD = Autoencoder(ENCODER, decoder_dim=4, code_dim=6)


def rows_of(images):
    images = jnp.asarray(images, jnp.float32)
    return {"unlabeled": {"views": {"first": (images,)}, "index": jnp.arange(len(images), dtype=jnp.int32)}}


def noise(rows=6, side=8, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, side, side, 3))


def test_the_target_is_the_clean_image_and_all_of_it():
    rows = rows_of(noise())
    method = dataclasses.replace(METHOD, corruption="masking", corruption_strength=0.5)
    params, state = start(method, rows)
    value, output = loss_of(method, params, state, rows, context())
    blank = jax.tree.map(jnp.zeros_like, params["decoder"])
    silent, _ = loss_of(method, {**params, "decoder": blank}, state, rows, context())
    np.testing.assert_allclose(silent, np.mean(noise() ** 2), rtol=1e-5)  # a prediction of 0 everywhere
    assert value == output.metrics["reconstruction/mse"]
    assert output.features.shape == (6, 8)


def test_a_linear_autoencoder_finds_the_subspace_of_pca():
    images = sources.load("digits", "train").images[:200] / 255.0
    x = (images - images.mean(0)).reshape(200, -1)
    linear = models.flat_mlp(sizes=(5,), batch_norm=False, activation="none")
    method = Autoencoder(linear, decoder_dim=0)
    rows = rows_of(x.reshape(200, 8, 8, 1))
    params, state = start(method, rows)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, 1500))

    @jax.jit
    def train(params):
        def step(carry, _):
            params, opt_state = carry
            value, grads = jax.value_and_grad(lambda p: method.loss(p, state, rows, context())[0])(params)
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), value

        (params, _), values = jax.lax.scan(step, (params, optimizer.init(params)), length=1500)
        return params, values[-1]

    params, loss = train(params)
    _, singular, right = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    best = np.sum(singular[5:] ** 2) / x.size
    assert best <= loss * (1 + 1e-5) < best * 1.001
    learned, _ = np.linalg.qr(np.asarray(params["decoder"]["pixels"]["kernel"].T, np.float64))
    cosines = np.linalg.svd(right[:5] @ learned, compute_uv=False)  # of the angles between both subspaces
    assert cosines.min() > 0.99


def kl(mean, target):
    return target * np.log(target / mean) + (1 - target) * np.log((1 - target) / (1 - mean))


def test_divergence_from_a_rare_activation_and_its_gradient():
    units = np.random.default_rng(0).uniform(0.02, 0.9, size=(10, 4))
    expected = np.mean([kl(units[:, j].mean(), 0.05) for j in range(4)])
    np.testing.assert_allclose(losses.sparsity_kl(jnp.asarray(units), 0.05), expected, rtol=1e-5)
    grad = jax.grad(losses.sparsity_kl)(jnp.asarray(units), 0.05)
    mean = units.mean(0)
    np.testing.assert_allclose(grad, np.tile((-0.05 / mean + 0.95 / (1 - mean)) / 40, (10, 1)), rtol=1e-4)
    extreme = jax.grad(losses.sparsity_kl)(jnp.array([[0.0, 1.0]]), 0.05)
    assert np.isfinite(losses.sparsity_kl(jnp.array([[0.0, 1.0]]), 0.05))
    assert np.isfinite(extreme).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sparsity": "kl", "code_activation": "sigmoid"}, lambda code: kl(code.mean(0), 0.05).mean()),
        ({"sparsity": "l1", "code_activation": "relu"}, lambda code: np.abs(code).mean()),
        ({"sparsity": "top_k", "active_units": 2}, lambda code: 0.0),
    ],
)
def test_a_sparse_code_costs_what_it_should(changes, expected):
    rows = rows_of(noise())
    method = dataclasses.replace(METHOD, sparsity_weight=0.5, **changes)
    params, state = start(method, rows)
    (value, output), grads = value_and_grad_of(method, params, state, rows, context())
    _, code, _ = method.encode(params, state["stats"], rows["unlabeled"]["views"]["first"][0], KEY)
    code = np.asarray(code, np.float64)
    penalty = value - output.metrics["reconstruction/mse"]
    np.testing.assert_allclose(penalty, 0.5 * expected(code), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.metrics["code/activation"], code.mean(), rtol=1e-5)
    assert all(np.any(g != 0) for g in jax.tree.leaves(jax.device_get(grads)))
    if method.sparsity == "top_k":
        assert (np.count_nonzero(code, axis=1) == 2).all()


def test_the_measured_activation_comes_near_the_target():
    """Of the digits, by a penalty strong enough."""
    images = sources.load("digits", "train").images[:256] / 255.0 - 0.3
    method = Autoencoder(
        models.flat_mlp(sizes=(24,)), code_dim=16, decoder_dim=0, code_activation="sigmoid", sparsity="kl",
        sparsity_weight=3.0, target_activation=0.1,
    )  # fmt: skip
    rows = rows_of(images)
    params, state = start(method, rows)
    optimizer = optax.adam(1e-2)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, opt_state):
        (_, output), grads = jax.value_and_grad(method.loss, has_aux=True)(params, state, rows, context())
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, output.metrics

    first = None
    for _ in range(150):
        params, opt_state, metrics = step(params, opt_state)
        first = metrics if first is None else first
    assert abs(metrics["code/activation"] - 0.1) < 0.02
    assert metrics["reconstruction/mse"] < first["reconstruction/mse"] / 2


def test_corruptions():
    keys, images = jax.random.split(KEY, 200), jnp.asarray(noise(200))
    same = masks.corrupt(keys, images, "none", 0.5)
    np.testing.assert_array_equal(same, images)
    masked = np.asarray(masks.corrupt(keys, images, "masking", 0.25))
    gone = (masked == 0).all(-1)
    assert abs(gone.mean() - 0.25) < 0.02
    np.testing.assert_array_equal(masked[~gone], np.asarray(images)[~gone])
    salted = np.asarray(masks.corrupt(keys, images, "salt_and_pepper", 0.25))
    changed = (salted != np.asarray(images)).any(-1)
    low, high = (np.asarray(f(images, axis=(1, 2, 3)))[:, None, None] for f in (jnp.min, jnp.max))
    is_low, is_high = (np.isclose(salted, extreme[..., None]).all(-1) for extreme in (low, high))
    assert (changed <= (is_low | is_high)).all()
    assert abs(is_low.mean() - 0.125) < 0.02
    assert abs(is_high.mean() - 0.125) < 0.02
    added = np.asarray(masks.corrupt(keys, images, "gaussian", 0.5)) - np.asarray(images)
    assert abs(added.std() - 0.5) < 0.01
    again = masks.corrupt(keys[3:4], images[3:4], "gaussian", 0.5)
    np.testing.assert_allclose(again[0], np.asarray(images)[3] + added[3], atol=1e-6)  # of its own key alone


@pytest.mark.parametrize("encoder", [POOLED, models.flat_mlp(sizes=(12,)), ENCODER])
@pytest.mark.parametrize("code_dim", [0, 6])
def test_every_kind_of_encoder_is_decoded_to_the_size_of_the_image(encoder, code_dim):
    method = Autoencoder(encoder, decoder_dim=4, code_dim=code_dim)
    rows = rows_of(noise())
    method.check(rows)
    params, state = jax.eval_shape(method.init, KEY, rows)
    found = jax.eval_shape(method.outputs, params, state, rows["unlabeled"]["views"]["first"][0])
    assert found["reconstruction"].shape == found["masked"].shape == (6, 8, 8, 3)
    assert found["embedding"].shape[1] == code_dim or not code_dim


@pytest.mark.parametrize(("grid", "side"), [((2, 2, 8), 8), ((3, 3, 8), 9), ((4, 4, 8), 14), ((7, 7, 8), 7)])
def test_decoders_of_sides_that_are_no_power_of_two(grid, side):
    decoder = models.map_decoder(3, (side, side), grid, 2)
    maps = jnp.zeros((2, *grid))
    assert jax.eval_shape(lambda: decoder.apply(*decoder.init(KEY, maps), maps, train=True)[0]).shape == (
        2, side, side, 3,
    )  # fmt: skip


@pytest.mark.parametrize(("grid", "side"), [(4, 14), (4, 24), (3, 18), (3, 9), (5, 18)])
def test_a_place_of_the_map_is_decoded_where_it_lies(grid, side):
    """Patches of 3.5, 6 and 6 pixels, and halves that were rounded up: the last place reaches the last pixel."""
    decoder = models.map_decoder(1, (side, side), (grid, grid, 2), 2)
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, grid, grid, 2)), jnp.float32)
    params, stats = decoder.init(KEY, maps)
    run = jax.jit(lambda maps: decoder.apply(params, stats, maps, train=False)[0][0, ..., 0])
    place = grid // 2
    changed = np.abs(run(maps.at[0, place, place].add(5.0)) - run(maps))
    weight = changed.sum(axis=1) / changed.sum()
    middle = (weight * np.arange(side)).sum()
    cell = side / grid if side % grid == 0 or side == 14 else 2 ** math.ceil(math.log2(side / grid))
    assert abs(middle - (cell * (place + 0.5) - 0.5)) < 0.3 * cell
    assert np.abs(run(maps.at[0, -1, -1].add(5.0)) - run(maps))[-1, -1] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsity": "l1", "code_dim": 0}, "sparsity='l1' is of the units of a code: set method.code_dim"),
        ({"sparsity": "kl"}, "of units in \\(0, 1\\): set method.code_activation='sigmoid'"),
        ({"sparsity": "top_k", "active_units": 7}, "active_units=7: there are method.code_dim=6 units"),
        ({"corruption": "masking", "corruption_strength": 2.0}, "corruption_strength=2.0 must be at most 1"),
        ({"encoder": VIT}, "set encoder.vit.pool='gap'"),
        ({"encoder": models.convnet(head_layers=(4,))}, "decodes a feature map, and Topped has none"),
        ({"views": ("first", "first")}, "takes one view of every image"),
    ],
)
def test_what_cannot_be_is_said_before_training(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(METHOD, **changes).check(rows_of(noise()))
