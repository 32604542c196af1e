"""Square tiles cut out of images, for pretext tasks about where a part of an image belongs."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jssl import rng
from jssl.types import Array

COLOURS = ("", "drop", "project")
GREEN_MAGENTA = (-1.0, 2.0, -1.0)  # the axis along which lenses shift colours, in RGB
SMALLEST = 10  # pixels a side to which tiles are shrunk at most
DROPPED_NOISE = 0.01  # standard deviation of what replaces a channel, over that of the one that stays


class Tiles(NamedTuple):
    """The tiles of a grid, each in the middle of its cell, from which it is shifted at random.

    Attributes:
      grid: cells on a side of the image.
      size: side of a tile in pixels, at most that of a cell.
      jitter: largest shift from the middle of the cell, in pixels along each axis, within the cell.
      colour: against the shifts of colours by which lenses tell where a tile was: 'drop' keeps one channel and replaces
        the others by noise, 'project' takes the green-magenta axis out; '' for neither, as for images not of three
        channels.
      standardize: whether every tile has mean 0 and deviation 1.
      shrink_prob: part of the tiles that are shrunk, to between 10 pixels and their size, and enlarged again.
    """

    grid: int
    size: int
    jitter: int = 0
    colour: str = ""
    standardize: bool = True
    shrink_prob: float = 0.0

    @property
    def per_image(self) -> int:
        """Tiles of an image."""
        return self.grid**2


def cut(keys: Array, images: Array, tiles: Tiles) -> Array:
    """Cuts images into tiles.

    Args:
      keys: a random key for every image, [B].
      images: float[B, H, W, C].
      tiles: which.

    Returns:
      float[B * grid * grid, size, size, C], those of an image one after the other, row by row.

    References:
      Doersch et al., Unsupervised Visual Representation Learning by Context Prediction, 2015.
      https://arxiv.org/abs/1505.05192
      Noroozi and Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, 2016.
      https://arxiv.org/abs/1603.09246

    Example:
      >>> import jax
      >>> from jssl.data.augment import tiles
      >>> image = jax.numpy.arange(16.0).reshape(1, 4, 4, 1)
      >>> keys = jax.random.split(jax.random.key(0), 1)
      >>> found = tiles.cut(keys, image, tiles.Tiles(grid=2, size=2, standardize=False))
      >>> found[1].ravel().tolist()  # the upper right one
      [2.0, 3.0, 6.0, 7.0]
    """
    found = jax.vmap(lambda key, image: _cut(key, image, tiles))(keys, images)
    return found.reshape(-1, *found.shape[2:])


def _cut(key: Array, image: Array, tiles: Tiles) -> Array:
    """The tiles of one image, float[grid * grid, size, size, C]."""
    sides = jnp.asarray(image.shape[:2]) // tiles.grid
    slack = sides - tiles.size
    low, high = (
        jnp.maximum(0, slack // 2 - tiles.jitter),
        jnp.minimum(slack, slack // 2 + tiles.jitter),
    )
    shifts = jax.random.randint(rng.derive(key, "shift"), (tiles.per_image, 2), low, high + 1)
    cells = jnp.stack(jnp.divmod(jnp.arange(tiles.per_image), tiles.grid), axis=-1)
    shape = (tiles.size, tiles.size, image.shape[-1])
    corners = cells * sides + shifts
    found = jax.vmap(lambda corner: jax.lax.dynamic_slice(image, (*corner, 0), shape))(corners)
    if tiles.shrink_prob:
        keys = jax.random.split(rng.derive(key, "shrink"), tiles.per_image)
        found = jax.vmap(functools.partial(coarser, probability=tiles.shrink_prob))(keys, found)
    if tiles.colour and image.shape[-1] == 3:
        keys = jax.random.split(rng.derive(key, "colour"), tiles.per_image)
        found = jax.vmap(drop_channels)(keys, found) if tiles.colour == "drop" else project_colours(found)
    return jax.vmap(standardize)(found) if tiles.standardize else found


def coarser(key: Array, image: Array, probability: float) -> Array:
    """An image, float[S, S, C], with a probability shrunk to a random side of 10 pixels to S and enlarged again."""
    side = image.shape[0]
    chance, size = jax.random.uniform(key, (2,))
    small = min(SMALLEST, side)
    scale = jnp.where(chance < probability, (small + (side - small) * size) / side, 1.0)
    shrunk = jax.image.scale_and_translate(
        image, image.shape, (0, 1), jnp.stack([scale, scale]), jnp.zeros(2), "linear", antialias=True
    )
    last = jnp.maximum(jnp.floor(scale * side) - 1, 0)
    places = jnp.clip((jnp.arange(side) + 0.5) * scale - 0.5, 0, last)
    rows, columns = jnp.meshgrid(places, places, indexing="ij")

    def enlarge(channel: Array) -> Array:
        return map_coordinates(channel, [rows, columns], order=1)

    return jax.vmap(enlarge, in_axes=-1, out_axes=-1)(shrunk)


def drop_channels(key: Array, image: Array) -> Array:
    """Keeps one random channel without its mean and replaces the others by noise of a hundredth of its deviation."""
    which = jax.random.randint(rng.derive(key, "channel"), (), 0, image.shape[-1])
    kept = image - jnp.mean(image, axis=(0, 1))
    deviation = jnp.std(jnp.take(kept, which, axis=-1))
    noise = DROPPED_NOISE * deviation * jax.random.normal(rng.derive(key, "noise"), image.shape, image.dtype)
    return jnp.where(jnp.arange(image.shape[-1]) == which, kept, noise)


def project_colours(image: Array) -> Array:
    """Takes the green-magenta axis out of colours, float[..., 3]."""
    axis = jnp.asarray(GREEN_MAGENTA, image.dtype)
    return image - (image @ axis)[..., None] * axis / jnp.sum(axis**2)


def standardize(image: Array) -> Array:
    """An image of mean 0 and deviation 1 over all of its numbers; a flat one becomes 0."""
    return (image - jnp.mean(image)) / jnp.sqrt(jnp.maximum(jnp.var(image), 1 / image.size))
