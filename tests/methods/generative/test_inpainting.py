"""Context encoders: holes, weights of pixels, and what the two players learn from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, models
from jssl.data.augment import masks
from jssl.methods.generative.inpainting import Inpainting
from tests.methods.generative.test_autoencoder import noise, rows_of
from tests.methods.reference import context, loss_of, start
from tests.methods.test_contract import ENCODER

KEY = jax.random.key(0)
METHOD = Inpainting(
    ENCODER, decoder_dim=4, code_dim=6, border=1, adversarial_weight=0.25, discriminator_dim=4, mask="blocks"
)


@pytest.mark.parametrize("kind", masks.KINDS)
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5])
def test_holes_have_the_size_that_is_asked_for(kind, ratio):
    found = np.asarray(masks.holes(jax.random.split(KEY, 100), (20, 24), kind, ratio))
    part = found.mean(axis=(1, 2))
    assert found.shape == (100, 20, 24)
    if kind == "blocks":
        assert part.max() <= ratio
        assert part.mean() > ratio / 2
    else:
        np.testing.assert_allclose(part, ratio, atol=0.04)
    assert (kind == "center") == bool((found == found[0]).all())
    if kind == "center":
        rows, columns = masks.center_box((20, 24), ratio)
        assert found[0][rows, columns].all()
        assert found[0].sum() == found[0][rows, columns].size
    else:
        often = found.mean(0)
        assert (often > 0).mean() > 0.9  # every place is hidden at times


def test_free_forms_are_smooth():
    found = np.asarray(masks.holes(jax.random.split(KEY, 10), (64, 64), "free_form", 0.25))
    edges = (found[:, 1:] != found[:, :-1]).mean()
    assert 0 < edges < 0.1  # of independent pixels it is .375


def test_the_border_is_visible_beside_the_hole_and_weighs_more():
    hidden = np.zeros((1, 7, 7), bool)
    hidden[0, 3, 3] = True
    found = np.asarray(METHOD.weights(jnp.asarray(hidden)))
    expected = np.zeros((7, 7))
    expected[2:5, 2:5] = 10
    expected[3, 3] = 1
    np.testing.assert_array_equal(found[0], expected)


def test_the_loss_is_the_weighted_error_of_hole_and_border():
    method = dataclasses.replace(METHOD, adversarial_weight=0.0)
    rows = rows_of(noise())
    params, state = start(method, rows)
    assert "discriminator" not in params
    assert method.auxiliary == ()
    seen, predicted = [], []

    class Spy(Inpainting):
        def encode(self, params, stats, images, key):
            seen.append(images)
            return super().encode(params, stats, images, key)

        def decode(self, *args, **kwargs):
            found = super().decode(*args, **kwargs)
            predicted.append(found[0])
            return found

    own = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    value, output = Spy(**own).loss(params, state, rows, context())
    hidden = (np.asarray(seen[0]) == 0).all(-1)
    x = noise()
    np.testing.assert_allclose(np.asarray(seen[0])[~hidden], x[~hidden], rtol=1e-5)
    weight = np.asarray(method.weights(jnp.asarray(hidden)), np.float64)
    error = (np.asarray(predicted[0], np.float64) - x) ** 2
    np.testing.assert_allclose(value, (error.mean(-1) * weight).sum() / weight.sum(), rtol=1e-4)
    absolute = np.abs(np.asarray(predicted[0]) - x).mean(-1)
    np.testing.assert_allclose(output.metrics["hole/l1"], absolute[hidden].mean(), rtol=1e-4)
    peak = x.max() - x.min()
    np.testing.assert_allclose(
        output.metrics["hole/psnr"], 10 * np.log10(peak**2 / error.mean(-1)[hidden].mean()), rtol=1e-4
    )


@pytest.mark.parametrize("mask", ["center", "blocks"])
def test_each_player_learns_from_its_own_loss_alone(mask):
    method = dataclasses.replace(METHOD, mask=mask)
    rows = rows_of(noise())
    params, state = start(method, rows)
    assert method.auxiliary == ("discriminator",)

    def losses_of(params):
        _, output = method.loss(params, state, rows, context())
        return output

    @jax.jit
    def gradients(params):
        """Of the whole, of the discriminator's loss, and of the loss of what is filled in."""

        def whole(params):
            return method.loss(params, state, rows, context())[0]

        def part(params, index):
            images = rows["unlabeled"]["views"]["first"][0]
            hidden = method.hole(method_keys(images), images)
            _, code, stats = method.encode(
                params, state["stats"], jnp.where(hidden[..., None], 0, images), KEY
            )
            predicted, stats = method.decode(params, stats, code, images, train=True)
            filled = jnp.where(hidden[..., None], predicted, images)
            return method.players(params, stats, method.judged(images), method.judged(filled))[index]

        return jax.grad(whole)(params), jax.grad(part)(params, 0), jax.grad(part)(params, 1)

    def method_keys(images):
        return jax.random.split(KEY, len(images))

    whole, own, fooling = gradients(params)
    assert all(np.any(g != 0) for g in jax.tree.leaves(whole))
    for name in params:
        is_judge = name == "discriminator"
        assert any(np.any(g != 0) for g in jax.tree.leaves(own[name])) == is_judge
        assert any(np.any(g != 0) for g in jax.tree.leaves(fooling[name])) != is_judge
    assert losses_of(params).state["stats"]["discriminator"].keys() == state["stats"]["discriminator"].keys()


def test_the_adversarial_losses():
    real, fake = np.random.default_rng(0).normal(size=(2, 9))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    discriminator, generator = losses.non_saturating_gan(*map(jnp.asarray, (real, fake, fake)))
    expected = -(np.log(sigmoid(real)).mean() + np.log(1 - sigmoid(fake)).mean()) / 2
    np.testing.assert_allclose(discriminator, expected, rtol=1e-5)
    np.testing.assert_allclose(generator, -np.log(sigmoid(fake)).mean(), rtol=1e-5)


def test_weighted_errors():
    draw = np.random.default_rng(0)
    a, b, weight = (
        draw.normal(size=(2, 4, 5, 3)),
        draw.normal(size=(2, 4, 5, 3)),
        draw.uniform(size=(2, 4, 5)),
    )
    expected = (((a - b) ** 2).mean(-1) * weight).sum() / weight.sum()
    np.testing.assert_allclose(losses.weighted_mse(*map(jnp.asarray, (a, b, weight))), expected, rtol=1e-5)
    assert losses.weighted_mse(jnp.asarray(a), jnp.asarray(b), jnp.zeros((2, 4, 5))) == 0
    with pytest.raises(ValueError, match="do not fit"):
        losses.weighted_mse(jnp.asarray(a), jnp.asarray(b), jnp.zeros((2, 4)))


def test_the_picture_is_the_image_outside_of_the_hole():
    rows = rows_of(noise())
    params, state = start(METHOD, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    found = jax.jit(METHOD.outputs)(params, state, images)
    hidden = (np.asarray(found["masked"]) == 0).all(-1)
    assert 0 < hidden.mean() <= 0.25
    np.testing.assert_array_equal(np.asarray(found["reconstruction"])[~hidden], np.asarray(images)[~hidden])
    assert not np.allclose(np.asarray(found["reconstruction"])[hidden], np.asarray(images)[hidden])


def test_the_discriminator_takes_any_image():
    for side in (2, 5, 8, 30):
        judge, images = models.discriminator(side, 4), jnp.zeros((3, side, side, 1))
        shape = jax.eval_shape(lambda: judge.apply(*judge.init(KEY, images), images, train=True)[0]).shape  # noqa: B023
        assert shape == (3,)


def test_holes_depend_on_step_and_image():
    rows = rows_of(noise())
    params, state = start(METHOD, rows)
    first, _ = loss_of(METHOD, params, state, rows, context())
    again, _ = loss_of(METHOD, params, state, rows, context())
    other, _ = loss_of(METHOD, params, state, rows, context(seed=2))
    assert first == again
    assert first != other


def test_a_hole_never_takes_all_and_a_flat_batch_has_a_signal_to_noise_ratio():
    assert (
        not np.asarray(masks.holes(jax.random.split(KEY, 2), (8, 8), "center", 0.99)).all(axis=(1, 2)).any()
    )
    flat = jnp.ones((2, 4, 4, 1))
    assert np.isfinite(losses.psnr(flat, flat + 0.1, jnp.ones((2, 4, 4), bool)))
