"""MAE: what is hidden, what the encoder sees, and the loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, models
from jssl.data.augment import patches
from jssl.errors import UserError
from jssl.methods import Context, SemiSupervised, Term
from jssl.methods.generative.mae import MAE, SimMIM
from tests.methods.reference import start
from tests.methods.test_contract import ENCODER, VIT

KEY = jax.random.key(0)
METHOD = MAE(VIT, decoder_dim=8, decoder_layers=1, decoder_heads=2, mask_ratio=0.5)


def rows_of(images):
    images = jnp.asarray(images, jnp.float32)
    return {"unlabeled": {"views": {"first": (images,)}, "index": jnp.arange(len(images), dtype=jnp.int32)}}


def noise(rows=6, side=8, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, side, side, 3))


def context():
    return Context(KEY, jnp.zeros((), jnp.int32), jnp.zeros(()))


def test_hidden_and_visible_patches_are_all_and_unshuffling_undoes_shuffling():
    keys = jax.random.split(KEY, 50)
    found = patches.random_masking(keys, 16, 0.75)
    assert found.keep.shape == (50, 4)
    assert (np.asarray(found.hidden).sum(1) == 12).all()
    for row in range(50):
        visible = np.flatnonzero(~np.asarray(found.hidden[row]))
        assert sorted(np.asarray(found.keep[row]).tolist()) == visible.tolist()
    x = np.arange(16)
    order = np.argsort(np.asarray(found.restore), axis=1)
    np.testing.assert_array_equal(
        np.take_along_axis(x[order], np.asarray(found.restore), 1), np.tile(x, (50, 1))
    )
    times = np.asarray(found.hidden).mean(0)
    assert abs(times - 0.75).max() < 0.25  # every place is hidden about as often
    assert [patches.kept(16, ratio) for ratio in (0.99, 0.75, 0.01)] == [1, 4, 15]


def test_the_encoder_sees_nothing_of_what_is_hidden():
    rows = rows_of(noise())
    params, state = start(METHOD, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    masking = METHOD.masking(jax.random.split(KEY, 6), images)
    encode = jax.jit(lambda images: METHOD.encode(params, state["stats"], images, masking.keep, None))
    tokens = encode(images)
    hidden = np.repeat(np.asarray(masking.hidden)[..., None], 48, -1)
    other = patches.patchify(images, 4) + jnp.where(hidden, 5.0, 0.0)
    changed = patches.unpatchify(other, 4, 8, 8)
    assert not np.allclose(changed, images)
    np.testing.assert_array_equal(tokens, encode(changed))
    assert tokens.shape == (6, 1 + 2, 16)  # the class token, and half of four patches


def test_all_patches_visible_are_what_the_encoder_makes_of_the_image():
    params, stats = VIT.init(KEY, jnp.zeros((2, 8, 8, 3)))
    images = jnp.asarray(noise(2), jnp.float32)
    keep = jnp.tile(jnp.arange(4), (2, 1))
    visible = jax.jit(functools.partial(VIT.apply, train=False, method="visible"))
    all_of_them, _ = visible(params, stats, images, keep)
    np.testing.assert_allclose(all_of_them, jax.jit(VIT.tokens)(params, stats, images), rtol=1e-5, atol=1e-6)


def predicted_by(method, params, state, rows):
    """What is predicted in a step, float64[B, N, P], and which patches are hidden."""
    found = []

    class Spy(type(method)):
        def predict(self, *args):
            found.append(super().predict(*args))
            return found[-1]

    own = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}

    @jax.jit
    def predict(params, state, rows):
        Spy(**own).loss(params, state, rows, context())
        return found[0].pixels, found[0].hidden

    pixels, hidden = predict(params, state, rows)
    return np.asarray(pixels, np.float64), np.asarray(hidden)


def patches_of(images):
    """The patches of 4 pixels of images of 8, row by row."""
    x = np.asarray(images, np.float64)
    return np.stack([x[:, r : r + 4, c : c + 4].reshape(len(x), -1) for r in (0, 4) for c in (0, 4)], axis=1)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_the_loss_is_that_of_hidden_patches(norm_pix):
    method = dataclasses.replace(METHOD, norm_pix=norm_pix)
    rows = rows_of(noise())
    params, state = start(method, rows)
    value, output = jax.jit(method.loss)(params, state, rows, context())
    predicted, masking = predicted_by(method, params, state, rows)
    target = patches_of(rows["unlabeled"]["views"]["first"][0])
    if norm_pix:
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(
            target.var(-1, ddof=1, keepdims=True) + 1e-6
        )
    expected = ((predicted - target) ** 2).mean(-1)[masking].mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert 0.9 < value < 2.5
    assert output.features.shape == (6, 16)


def test_a_flat_patch_has_no_deviation_to_divide_by():
    np.testing.assert_allclose(losses.normalize_patches(jnp.full((2, 12), 0.3)), 0, atol=1e-4)


def test_the_reconstruction_is_the_image_where_it_was_visible():
    rows = rows_of(noise())
    params, state = start(METHOD, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    found = jax.jit(METHOD.outputs)(params, state, images)
    masked = np.asarray(found["masked"]) == 0
    assert masked.mean() == 0.5
    np.testing.assert_array_equal(np.asarray(found["reconstruction"])[~masked], np.asarray(images)[~masked])
    assert not np.allclose(np.asarray(found["reconstruction"])[masked], np.asarray(images)[masked])
    np.testing.assert_allclose(
        found["features"], VIT.apply(params["encoder"], {}, images, train=False)[0], atol=1e-5
    )


SIMMIM = SimMIM(VIT, mask_ratio=0.5, mask_unit=1)


def test_squares_of_several_patches_are_hidden_together():
    found = np.asarray(patches.unit_masking(jax.random.split(KEY, 60), (6, 8), 2, 0.3))
    squares = found.reshape(60, 3, 2, 4, 2)
    assert (squares == squares[:, :, :1, :, :1]).all()
    assert (squares[:, :, 0, :, 0].sum((1, 2)) == 4).all()  # of 12, rounded up
    assert abs(found.mean(0) - 4 / 12).max() < 0.25
    assert (np.asarray(patches.unit_masking(jax.random.split(KEY, 3), (2, 2), 1, 0.99)).sum(1) == 3).all()


def test_simmim_sees_a_token_in_the_place_of_what_is_hidden_and_its_loss_is_absolute():
    rows = rows_of(noise())
    params, state = start(SIMMIM, rows)
    value, output = jax.jit(SIMMIM.loss)(params, state, rows, context())
    predicted, hidden = predicted_by(SIMMIM, params, state, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    expected = np.abs(predicted - patches_of(images)).mean(-1)[hidden].mean()
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert output.features.shape == (6, 16)
    changed = patches.unpatchify(patches.patchify(images, 4) + 5.0 * hidden[..., None], 4, 8, 8)
    again, _ = predicted_by(
        SIMMIM, params, state, {"unlabeled": {**rows["unlabeled"], "views": {"first": (changed,)}}}
    )
    np.testing.assert_allclose(again, predicted, atol=1e-6)
    other, _ = predicted_by(SIMMIM, {**params, "mask_token": params["mask_token"] + 1}, state, rows)
    assert not np.allclose(other, predicted)


def test_it_is_a_term_of_a_semi_supervised_loss():
    rows = rows_of(noise())
    rows["labeled"] = {
        "views": {"weak": (jnp.asarray(noise(seed=1), jnp.float32),)},
        "label": jnp.arange(6) % 3,
    }
    method = SemiSupervised(VIT, terms={"mae": Term(METHOD, weight=0.5)}, classes=3)
    method.check(rows)
    params, state = start(method, rows)
    (value, output), grads = jax.jit(jax.value_and_grad(method.loss, has_aux=True))(
        params, state, rows, context()
    )
    parts = output.metrics["class/loss"], output.metrics["mae/loss"]
    np.testing.assert_allclose(value, parts[0] + 0.5 * parts[1], rtol=1e-5)
    assert set(grads["terms"]["mae"]) == {"decoder"}
    assert all(np.any(g != 0) for g in jax.tree.leaves(jax.device_get(grads)))


def test_what_cannot_be_is_said_before_training():
    with pytest.raises(UserError, match="MAE takes a ViT, of which it sees some patches; ConvNet has none"):
        MAE(ENCODER).check(rows_of(noise()))
    with pytest.raises(UserError, match="views of 10 pixels do not divide into patches of 4"):
        METHOD.check(rows_of(noise(side=10)))
    with pytest.raises(UserError, match="a view of 4 pixels is one patch"):
        METHOD.check(rows_of(noise(side=4)))
    with pytest.raises(UserError, match=r"mask_ratio=1\.0 must be from 0.01 to 0.99"):
        MAE(VIT, mask_ratio=1.0)
    with pytest.raises(UserError, match="mask_unit=2: that hides the whole image"):
        SimMIM(VIT).check(rows_of(noise()))
    with pytest.raises(UserError, match="mask_unit=2: 3 patches a side do not divide"):
        SimMIM(VIT).check(rows_of(noise(side=12)))
    with pytest.raises(UserError, match="6 features must divide by 4"):
        models.patch_decoder(3, 6, 1, 2, True)


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_registers_are_neither_decoded_nor_features(pool):
    """Features are those of a pass of all patches, and the loss is that of hidden ones."""
    encoder = dataclasses.replace(VIT, module=VIT.module.clone(registers=2, layer_scale=0.1, pool=pool))
    method, rows = dataclasses.replace(METHOD, encoder=encoder), rows_of(noise(rows=2))
    params, state = start(method, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    masking = method.masking(jax.random.split(KEY, 2), images)
    tokens = method.encode(params, state["stats"], images, masking.keep, None)
    assert tokens.shape[1] == masking.keep.shape[1] + (pool == "cls")
    full = encoder.apply(params["encoder"], {}, images, train=False, method="tokens")[0]
    features = encoder.apply(params["encoder"], {}, images, train=False)[0]
    expected = full[:, 0] if pool == "cls" else full[:, 2:].mean(axis=1)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert np.isfinite(method.loss(params, state, rows, context())[0])
