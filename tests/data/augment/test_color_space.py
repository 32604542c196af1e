"""CIE Lab, both ways, and the bins of its colours."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jssl.config import get_config, validate
from jssl.data import augment
from jssl.data.augment import color_space
from jssl.data.streams import DataInfo, make_streams
from jssl.errors import UserError


def lab(rgb):
    """The formulas once more: sRGB to XYZ under D65 to Lab, float64."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    r, g, b = np.moveaxis(linear, -1, 0)
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


COLORS = np.concatenate(
    [np.random.default_rng(0).uniform(size=(2000, 3)), list(itertools.product((0.0, 0.02, 1.0), repeat=3))]
)


def test_lab_is_that_of_the_formulas_and_comes_back():
    found = color_space.rgb_to_lab(jnp.asarray(COLORS, jnp.float32))
    np.testing.assert_allclose(found, lab(COLORS), atol=1e-3)
    np.testing.assert_allclose(color_space.lab_to_rgb(found), COLORS, atol=1e-4)
    outside = color_space.lab_to_rgb(jnp.array([50.0, 200.0, -200.0]))
    assert np.isfinite(outside).all()
    assert 0 <= outside.min() <= outside.max() <= 1


def test_lab_is_that_of_scikit_image():
    color = pytest.importorskip("skimage.color")
    image = COLORS[:, None]
    found = color_space.rgb_to_lab(jnp.asarray(image, jnp.float32))
    np.testing.assert_allclose(found, color.rgb2lab(image), atol=0.1)
    np.testing.assert_allclose(color_space.lab_to_rgb(found), color.lab2rgb(color.rgb2lab(image)), atol=1e-3)


def test_bins_are_the_nearest_of_some_color_each():
    levels = np.linspace(0, 1, 256)
    faces = [
        np.insert(np.stack(np.meshgrid(levels, levels), -1).reshape(-1, 2), axis, end, axis=1)
        for axis, end in itertools.product(range(3), (0.0, 1.0))
    ]
    expected = 10 * np.unique(np.round(lab(np.concatenate(faces))[:, 1:] / 10).astype(int), axis=0)
    np.testing.assert_array_equal(color_space.ab_bins(), expected)
    inside = np.round(lab(COLORS)[:, 1:] / 10) * 10
    assert set(map(tuple, inside)) <= set(map(tuple, expected.astype(float)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_networks_see_lab_and_pictures_do_not(dtype):
    images = (COLORS.reshape(1, -1, 1, 3) * np.iinfo(dtype).max).round().astype(dtype)
    rgb = images / np.iinfo(dtype).max
    seen = augment.to_float(jnp.asarray(images), color_space="lab")
    np.testing.assert_allclose(seen, (lab(rgb) - (50, 0, 0)) / 50, atol=1e-4)
    np.testing.assert_allclose(augment.to_pixels(seen, color_space="lab"), rgb, atol=1e-4)
    usual = augment.to_float(jnp.asarray(images), (0.4,), (0.2,))
    np.testing.assert_allclose(augment.to_pixels(usual, (0.4,), (0.2,)), rgb, atol=1e-6)


def test_what_cannot_be_is_said_before_training():
    config = get_config("colorization")
    with pytest.raises(UserError, match="takes images of 3 channels, red, green and blue, not of 1"):
        make_streams(config, DataInfo(1000, (8, 8, 1), 1))
    assert make_streams(config, DataInfo(1000, (8, 8, 3), 3))["unlabeled"].color_space == "lab"
    config.data.mean = (0.5,)
    with pytest.raises(UserError, match=r"set data.mean=\(0.0,\) and data.std=\(1.0,\)"):
        validate(config)
