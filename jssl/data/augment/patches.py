"""Images as sequences of square patches, and which of them are hidden."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.types import Array


def patchify(images: Array, size: int) -> Array:
    """Cuts images into patches, row by row: float[B, H, W, C] to [B, H / size * W / size, size * size * C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import patches
      >>> image = jnp.arange(16).reshape(1, 4, 4, 1)
      >>> patches.patchify(image, 2)[0, 1].tolist()  # the upper right one
      [2, 3, 6, 7]
    """
    batch, height, width, channels = images.shape
    x = images.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
    return x.reshape(batch, -1, size * size * channels)


def unpatchify(patches: Array, size: int, height: int, width: int) -> Array:
    """Undoes `patchify`: [B, N, size * size * C] to [B, height, width, C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment.patches import patchify, unpatchify
      >>> image = jnp.arange(24).reshape(1, 4, 6, 1)
      >>> bool((unpatchify(patchify(image, 2), 2, 4, 6) == image).all())
      True
    """
    x = patches.reshape(len(patches), height // size, width // size, size, size, -1).swapaxes(2, 3)
    return x.reshape(len(patches), height, width, -1)


def overlapping(images: Array, size: int, stride: int) -> Array:
    """Cuts images into a grid of patches that may overlap; what is left at the lower and the right border is dropped.

    Args:
      images: float[B, H, W, C].
      size: side of a patch in pixels, at most H and W.
      stride: from one patch to the next, in pixels.

    Returns:
      float[B, rows, columns, size, size, C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import patches
      >>> image = jnp.arange(9).reshape(1, 3, 3, 1)
      >>> found = patches.overlapping(image, size=2, stride=1)
      >>> found.shape, found[0, 0, 1].ravel().tolist()
      ((1, 2, 2, 2, 2, 1), [1, 2, 4, 5])
    """
    rows, columns = (
        stride * jnp.arange((side - size) // stride + 1)[:, None] + jnp.arange(size)
        for side in images.shape[1:3]
    )
    return images[:, rows][:, :, :, columns].transpose(0, 1, 3, 2, 4, 5)


class Masking(NamedTuple):
    """Which patches of every image are hidden; as many of each.

    Attributes:
      keep: positions of those that are not, in the order in which an encoder sees them, int32[B, V].
      restore: where each patch is in the sequence of visible ones and then hidden ones, int32[B, N].
      hidden: bool[B, N].
    """

    keep: Array
    restore: Array
    hidden: Array


def random_masking(keys: Array, count: int, ratio: float) -> Masking:
    """Hides random patches, drawn for each image on its own.

    Args:
      keys: a random key for every image, [B].
      count: patches of an image.
      ratio: part of them that is hidden, in (0, 1); one at least is, and one at least is not, see `kept`.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021, section 3. https://arxiv.org/abs/2111.06377

    Example:
      >>> import jax
      >>> from jssl.data.augment import patches
      >>> found = patches.random_masking(jax.random.split(jax.random.key(0), 2), count=8, ratio=0.75)
      >>> found.keep.shape, found.hidden.sum(axis=1).tolist()
      ((2, 2), [6, 6])
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
    order = jnp.argsort(noise, axis=1)
    restore = jnp.argsort(order, axis=1)
    visible = kept(count, ratio)
    return Masking(order[:, :visible], restore, restore >= visible)


def unit_masking(keys: Array, grid: tuple[int, int], unit: int, ratio: float) -> Array:
    """Hides random squares of several patches.

    Args:
      keys: a random key for every image, [B].
      grid: rows and columns of the patches, which divide by `unit`.
      unit: side of a square in patches.
      ratio: part of the squares that is hidden, rounded up; one at least is not.

    Returns:
      bool[B, rows * columns], row by row.

    References:
      Xie et al., SimMIM, 2021, section 3.2. https://arxiv.org/abs/2111.09886

    Example:
      >>> import jax
      >>> from jssl.data.augment import patches
      >>> patches.unit_masking(jax.random.split(jax.random.key(0), 2), (4, 4), 2, 0.5).sum(axis=1).tolist()
      [8, 8]
    """
    rows, columns = grid[0] // unit, grid[1] // unit
    noise = jax.vmap(lambda key: jax.random.uniform(key, (rows * columns,)))(keys)
    order = jnp.argsort(jnp.argsort(noise, axis=1), axis=1)
    count = min(math.ceil(ratio * rows * columns), rows * columns - 1)
    hidden = (order < count).reshape(-1, rows, columns)
    return hidden.repeat(unit, axis=1).repeat(unit, axis=2).reshape(len(noise), -1)


def kept(count: int, ratio: float) -> int:
    """How many of so many patches are not hidden: between 1 and all but one."""
    return min(max(1, int(count * (1 - ratio))), count - 1)
