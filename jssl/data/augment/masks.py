"""Holes in images and corrupted pixels, all of static shapes."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from jssl.types import Array

BLOCKS = 4  # squares of 'blocks'
COARSENESS = 0.06  # side of the noise that free forms are made of, as a part of the image's
KINDS = ("center", "blocks", "free_form")


def holes(keys: Array, size: tuple[int, ...], kind: str, ratio: float) -> Array:
    """Holes in images, one mask for every image.

    Args:
      keys: a random key for every image, [B].
      size: (H, W).
      kind: 'center' is one rectangle in the middle; 'blocks' are four squares anywhere, which may overlap; 'free_form'
        are the places where smooth noise is greatest.
      ratio: part of the pixels that is hidden, in (0, 1): of 'center' up to rounding, never all; of 'blocks', which
        overlap, at most that, and at least a pixel each.

    Returns:
      bool[B, H, W], True where a pixel is hidden.

    References:
      Pathak et al., Context Encoders, 2016, section 3.3. https://arxiv.org/abs/1604.07379

    Example:
      >>> import jax
      >>> from jssl.data.augment import masks
      >>> masks.holes(jax.random.split(jax.random.key(0), 2), (4, 4), "center", 0.25)[0].astype(int).tolist()
      [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    draw = {"center": _center, "blocks": _blocks, "free_form": _free_form}[kind]
    hidden = jax.vmap(functools.partial(draw, size=size, ratio=ratio))(keys)
    return jax.lax.optimization_barrier(hidden)  # XLA took a minute to fold what follows from a constant one


def center_box(size: tuple[int, ...], ratio: float) -> tuple[slice, slice]:
    """The rows and the columns of the hole 'center'.

    Example:
      >>> from jssl.data.augment import masks
      >>> masks.center_box((8, 8), 0.25)
      (slice(2, 6, None), slice(2, 6, None))
    """
    holes = [min(max(1, round(side * math.sqrt(ratio))), side - 1) for side in size]
    rows, columns = (slice((side - hole) // 2, (side + hole) // 2) for side, hole in zip(size, holes))
    return rows, columns


def _center(key: Array, size: tuple[int, ...], ratio: float) -> Array:
    del key
    return jnp.zeros(size, bool).at[center_box(size, ratio)].set(True)


def _blocks(key: Array, size: tuple[int, ...], ratio: float) -> Array:
    hole = max(1, int(math.sqrt(math.prod(size) * ratio / BLOCKS)))
    sides = [min(hole, side) for side in size]
    highest = jnp.array([side - hole + 1 for side, hole in zip(size, sides)])
    corners = jax.random.randint(key, (BLOCKS, 2), 0, highest)
    return jnp.any(jax.vmap(lambda corner: _rectangle(corner, sides, size))(corners), axis=0)


def _free_form(key: Array, size: tuple[int, ...], ratio: float) -> Array:
    coarse = [max(3, round(side * COARSENESS)) for side in size]
    noise = jax.image.resize(jax.random.uniform(key, coarse), size, "cubic")
    order = jnp.argsort(jnp.argsort(-noise.ravel()))
    return (order < max(1, round(ratio * math.prod(size)))).reshape(size)


def _rectangle(corner: Array, sides: list[int], size: tuple[int, ...]) -> Array:
    rows, columns = (
        (jnp.arange(length) >= first) & (jnp.arange(length) < first + side)
        for first, side, length in zip(corner, sides, size)
    )
    return rows[:, None] & columns


def dilate(mask: Array, margin: int) -> Array:
    """Masks, bool[B, H, W], grown by so many pixels to every side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import masks
      >>> masks.dilate(jnp.array([[[False, False, False, True]]]), 1).astype(int).tolist()
      [[[0, 0, 1, 1]]]
    """
    window = (1, 2 * margin + 1, 2 * margin + 1)
    grown = jax.lax.reduce_window(mask.astype(jnp.float32), 0.0, jax.lax.max, window, (1, 1, 1), "SAME")
    return grown > 0


CORRUPTIONS = ("none", "masking", "salt_and_pepper", "gaussian")


def corrupt(keys: Array, images: Array, kind: str, strength: float) -> Array:
    """Corrupts images for a denoising autoencoder.

    Args:
      keys: a random key for every image, [B].
      images: float[B, H, W, C], normalised.
      kind: 'masking' sets pixels to 0, the mean colour where images are normalised by it; 'salt_and_pepper' sets them
        to the image's least or greatest value, each as often; 'gaussian' adds noise to all; 'none' does nothing.
      strength: part of the pixels, in [0, 1], or the deviation of the noise.

    References:
      Vincent et al., Stacked Denoising Autoencoders, 2010, section 3.3. https://jmlr.org/papers/v11/vincent10a.html

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jssl.data.augment import masks
      >>> keys, image = jax.random.split(jax.random.key(0), 1), jnp.ones((1, 20, 20, 1))
      >>> float(masks.corrupt(keys, image, "masking", 1.0).sum())
      0.0
    """
    if kind == "none":
        return images
    return jax.vmap(functools.partial(_corrupt, kind=kind, strength=strength))(keys, images)


def _corrupt(key: Array, image: Array, kind: str, strength: float) -> Array:
    if kind == "gaussian":
        return image + strength * jax.random.normal(key, image.shape, image.dtype)
    which, what = jax.random.split(key)
    chosen = jax.random.uniform(which, (*image.shape[:2], 1)) < strength
    if kind == "masking":
        return jnp.where(chosen, 0, image)
    salt = jax.random.bernoulli(what, shape=chosen.shape)
    return jnp.where(chosen, jnp.where(salt, jnp.max(image), jnp.min(image)), image)
