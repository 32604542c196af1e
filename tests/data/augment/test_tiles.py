"""Tiles: where they lie, and what is done to their colours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data.augment import tiles
from jssl.data.augment.tiles import Tiles

KEYS = jax.random.split(jax.random.key(0), 64)


def pictures(side=12, channels=3, count=64):
    return jnp.asarray(np.random.default_rng(0).normal(size=(count, side, side, channels)), jnp.float32)


def of_cell(found, cell):
    """The tiles of one cell, [B, size, size, C]."""
    return found.reshape(64, -1, *found.shape[1:])[:, cell]


def test_without_jitter_a_tile_is_the_middle_of_its_cell():
    images = pictures()
    found = of_cell(tiles.cut(KEYS, images, Tiles(grid=3, size=2, standardize=False)), 5)
    np.testing.assert_array_equal(found, images[:, 5:7, 9:11])


def test_shifts_fill_what_the_jitter_allows_and_stay_in_the_cell():
    rows = jnp.broadcast_to(jnp.arange(12.0)[:, None, None], (64, 12, 12, 1))
    found = of_cell(tiles.cut(KEYS, rows, Tiles(grid=2, size=2, jitter=1, standardize=False)), 2)
    assert set(np.asarray(found[:, 0, 0, 0]).tolist()) == {7.0, 8.0, 9.0}
    found = of_cell(tiles.cut(KEYS, rows, Tiles(grid=2, size=2, jitter=99, standardize=False)), 2)
    assert set(np.asarray(found[:, 0, 0, 0]).tolist()) == {6.0, 7.0, 8.0, 9.0, 10.0}


def test_a_tile_is_standardised_on_its_own_and_a_flat_one_is_0():
    found = np.asarray(tiles.cut(KEYS, 3 + 5 * pictures(), Tiles(grid=2, size=6)))
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2, 3)), 1, rtol=1e-4)
    assert not np.any(tiles.cut(KEYS[:1], jnp.ones((1, 4, 4, 3)), Tiles(grid=2, size=2)))


def test_dropping_keeps_one_channel_and_projecting_leaves_no_green_magenta():
    images = pictures()
    kept = np.asarray(jax.vmap(tiles.drop_channels)(KEYS, images))
    centred = np.asarray(images - images.mean((1, 2), keepdims=True))
    same = np.isclose(kept, centred, atol=1e-6).all((1, 2))
    assert (same.sum(1) == 1).all()
    assert set(same.argmax(1)) == {0, 1, 2}
    deviation = kept.std((1, 2))
    np.testing.assert_allclose(deviation[~same].mean() / deviation[same].mean(), 0.01, rtol=0.05)
    flat = np.asarray(jax.vmap(tiles.project_colours)(images))
    np.testing.assert_allclose(flat @ np.array([-1.0, 2.0, -1.0]), 0, atol=1e-5)
    np.testing.assert_allclose(flat @ np.ones(3), np.asarray(images) @ np.ones(3), atol=1e-4)


@pytest.mark.parametrize("colour", ["drop", "project"])
def test_grey_images_go_without_remedies_for_colours(colour):
    images = pictures(channels=1)
    plain, asked = (tiles.cut(KEYS, images, Tiles(2, 4, colour=which)) for which in ("", colour))
    np.testing.assert_array_equal(plain, asked)
