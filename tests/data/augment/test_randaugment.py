import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jssl.data.augment import randaugment as ra
from jssl.data.augment.randaugment import Operator
from tests.data.augment.test_augment import fast_jit, picture, unit

KEY = jax.random.key(0)
TOLERANCE = 2 / 255
GREY = (128, 128, 128)

apply = fast_jit(ra.apply)


def photo():
    """40 x 36, dull and uneven, so that a stretch of the tones shows."""
    return (40 + picture(40, 36) // 2 + np.arange(36, dtype=np.uint8)[:, None]).astype(np.uint8)


def moved(x, *data):
    """PIL's affine map: the pixel at (x, y) comes from (a x + b y + c, d x + e y + f)."""
    return x.transform(x.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=GREY)


def enhanced(kind):
    return lambda x, level: kind(x).enhance(0.95 - 0.9 * level)


# Every operator at a level in [0, 1), on an 8-bit PIL image.
TONES = {
    Operator.IDENTITY: lambda x, level: x,
    Operator.AUTOCONTRAST: lambda x, level: ImageOps.autocontrast(x),
    Operator.BRIGHTNESS: enhanced(ImageEnhance.Brightness),
    Operator.COLOR: enhanced(ImageEnhance.Color),
    Operator.CONTRAST: enhanced(ImageEnhance.Contrast),
    Operator.EQUALIZE: lambda x, level: ImageOps.equalize(x),
    Operator.POSTERIZE: lambda x, level: ImageOps.posterize(x, 8 - int(5 * level)),
    Operator.SHARPNESS: enhanced(ImageEnhance.Sharpness),
    Operator.SOLARIZE: lambda x, level: ImageOps.solarize(x, int(255 * (1 - level)) + 1),
}
MOVES = {
    Operator.ROTATE: lambda x, level: x.rotate(30 - 60 * level, Image.Resampling.BILINEAR, fillcolor=GREY),
    Operator.SHEAR_X: lambda x, level: moved(x, 1, 0.6 * level - 0.3, 0, 0, 1, 0),
    Operator.SHEAR_Y: lambda x, level: moved(x, 1, 0, 0, 0.6 * level - 0.3, 1, 0),
    Operator.TRANSLATE_X: lambda x, level: moved(x, 1, 0, -round((0.6 * level - 0.3) * x.width), 0, 1, 0),
    Operator.TRANSLATE_Y: lambda x, level: moved(x, 1, 0, 0, 0, 1, -round((0.6 * level - 0.3) * x.height)),
}


def by_pil(image, operator, level):
    result = (TONES | MOVES)[operator](Image.fromarray(image), level)
    return np.asarray(result, np.float64) / 255


def test_the_pool_is_complete():
    assert len(Operator) == 14
    assert set(TONES | MOVES) == set(Operator)


@pytest.mark.parametrize("operator", TONES, ids=lambda operator: operator.name)
def test_tones_agree_with_pil(operator):
    image = photo()
    exact = operator in (Operator.EQUALIZE, Operator.POSTERIZE, Operator.SOLARIZE)
    for level in (0.1, 0.55, 0.97):
        actual = apply(unit(image), operator, level)
        expected = by_pil(image, operator, level)
        np.testing.assert_allclose(actual, expected, atol=1e-6 if exact else TOLERANCE)
    changed = np.abs(actual - unit(image)).max() > 2 * TOLERANCE
    assert changed == (operator != Operator.IDENTITY)


@pytest.mark.parametrize("operator", MOVES, ids=lambda operator: operator.name)
def test_moves_agree_with_pil(operator):
    """Away from the border, where PIL repeats the last pixel; far outside there is grey."""
    image = photo()
    white, black = np.full_like(image, 255), np.zeros_like(image)
    framed = np.pad(white[2:-2, 2:-2], ((2, 2), (2, 2), (0, 0)))
    for level in (0.05, 0.4, 0.95):
        actual = np.asarray(apply(unit(image), operator, level))
        inside = by_pil(framed, operator, level) == 1
        assert inside.mean() > 0.4
        np.testing.assert_allclose(actual[inside], by_pil(image, operator, level)[inside], atol=TOLERANCE)
        lit, dark = (np.asarray(apply(unit(x), operator, level)) for x in (white, black))
        np.testing.assert_allclose(lit + dark, 1.0, atol=1e-5)
        outside = lit - dark < 1e-6
        assert outside.any() or level == 0.4
        np.testing.assert_allclose(actual[outside], 0.5, atol=1e-5)


def test_tones_that_pil_leaves_alone():
    flat = np.full((40, 36, 3), (10, 90, 200), np.uint8)
    small = picture(8, 8)  # too few pixels for 255 steps
    for image in (flat, small):
        for operator in (Operator.AUTOCONTRAST, Operator.EQUALIZE):
            expected = by_pil(image, operator, 0.0)
            np.testing.assert_allclose(apply(unit(image), operator, 0.0), expected, atol=TOLERANCE)
    np.testing.assert_array_equal(apply(unit(small), Operator.EQUALIZE, 0.0), unit(small))
    for height, width in ((1, 5), (2, 2), (5, 3)):
        image = picture(height, width)
        expected = np.asarray(Image.fromarray(image).filter(ImageFilter.SMOOTH)) / 255
        smooth = jnp.moveaxis(ra.smooth(jnp.moveaxis(unit(image), -1, 0)), 0, -1)
        np.testing.assert_allclose(smooth, expected, atol=TOLERANCE)


def test_no_strength_changes_nothing_but_what_has_none():
    image = unit(photo()).at[0].set(1.0).at[1].set(0.0)
    for operator in set(Operator) - {Operator.AUTOCONTRAST, Operator.EQUALIZE}:
        np.testing.assert_array_equal(apply(image, operator, 0.9, 0.0), image, err_msg=operator.name)
    half = apply(image, Operator.BRIGHTNESS, 0.9, 0.5)
    np.testing.assert_allclose(half, image * (1 - 0.5 * 0.86), atol=1e-6)


def test_grey_images():
    image = photo()[..., 0]
    x = unit(image)[..., None]
    for operator, level in ((o, 0.3) for o in Operator):
        actual = apply(x, operator, level)
        assert actual.shape == x.shape
        expected = by_pil(np.repeat(image[..., None], 3, 2), operator, level)[..., :1]
        if operator in TONES:
            np.testing.assert_allclose(actual, expected, atol=TOLERANCE, err_msg=operator.name)
    np.testing.assert_allclose(apply(x, Operator.COLOR, 0.9), x, atol=1e-6)
    with pytest.raises(ValueError, match="not \\[4, 4\\]"):
        ra.randaugment(KEY, jnp.zeros((4, 4)), 1)


def test_images_of_other_channels_have_no_colour_but_all_else():
    """Every channel moves and changes as it does alone; contrast is that of the mean of the channels."""
    x = jnp.concatenate([unit(photo()), unit(photo()[::-1])], axis=-1)[..., :5]
    np.testing.assert_array_equal(apply(x, Operator.COLOR, 0.9), x)
    for operator in set(Operator) - {Operator.COLOR, Operator.CONTRAST}:
        alone = [apply(x[..., c : c + 1], operator, 0.3) for c in range(5)]
        np.testing.assert_allclose(apply(x, operator, 0.3), jnp.concatenate(alone, -1), atol=1e-6)
    factor = 0.05 + 0.9 * (1 - 0.3)
    expected = jnp.clip(factor * x + (1 - factor) * x.mean(), 0, 1)
    np.testing.assert_allclose(apply(x, Operator.CONTRAST, 0.3), expected, atol=1e-5)


def test_draws_are_uniform_and_independent(monkeypatch):
    """What two slots get, noted down in the image instead of changing it."""

    def note(image, operator, level, strength):
        return jnp.concatenate([image[1:], jnp.array([operator, level, strength]).reshape(1, 3, 1)])

    monkeypatch.setattr(ra, "apply", note)
    images = 14 * 14 * 40
    draw = fast_jit(jax.vmap(lambda key: ra.randaugment(key, jnp.zeros((2, 3, 1)), 2, 0.7)))
    operators, levels, strengths = np.moveaxis(np.asarray(draw(jax.random.split(KEY, images)))[..., 0], -1, 0)
    pairs = np.bincount((operators[:, 0] * 14 + operators[:, 1]).astype(int), minlength=196)
    assert len(pairs) == 196
    assert ((pairs - 40.0) ** 2 / 40).sum() < 261  # chi-square, 195 degrees, p = 0.001
    for level in levels.T:
        assert np.abs(np.sort(level) - np.arange(images) / images).max() < 0.025  # p < 1e-3
    assert abs(np.corrcoef(levels.T)[0, 1]) < 0.04
    assert abs(np.corrcoef(levels[:, 0], operators[:, 0])[0, 1]) < 0.04
    np.testing.assert_allclose(strengths, 0.7, atol=1e-6)


def test_randaugment_under_vmap():
    """In [0, 1]; each image on its own; the slots one after the other; the same for the same key."""
    images = jnp.stack([unit(picture(16, 16, seed=seed)) for seed in range(32)])
    keys = jax.random.split(KEY, 32)
    run = fast_jit(jax.vmap(lambda k, x: ra.randaugment(k, x, 2)))
    result = np.asarray(run(keys, images))
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert (np.abs(result - images).max(axis=(1, 2, 3)) > 0.01).mean() > 0.9
    np.testing.assert_array_equal(result, run(keys, images))
    np.testing.assert_array_equal(result[::-1], run(keys[::-1], images[::-1]))
    assert np.abs(result - np.asarray(run(jax.random.split(jax.random.key(1), 32), images))).max() > 0.3

    operator_key, level_key = jax.random.split(keys[0])
    expected = images[0]
    draws = zip(jax.random.randint(operator_key, (2,), 0, 14), jax.random.uniform(level_key, (2,)))
    for operator, level in draws:
        expected = apply(expected, operator, level)
    np.testing.assert_allclose(result[0], expected, atol=1e-4)
    assert ra.randaugment(KEY, images, 0) is images
