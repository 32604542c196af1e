"""What methods remember of earlier batches: a queue, or a bank with a row for every image."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jssl.losses import normalize
from jssl.types import Array


class Queue(NamedTuple):
    """A first-in, first-out queue of embeddings, split over the devices by rows.

    Attributes:
      rows: float32[K, D].
      position: where the next key goes, int32[] in [0, K).
      filled: rows that hold keys, int32[] in [0, K]; the others are what the queue began with.

    Example:
      >>> import jax
      >>> from jssl.methods import memory
      >>> queue = memory.make_queue(jax.random.key(0), size=4, dim=8)
      >>> queue.rows.shape, int(queue.position), int(queue.filled)
      ((4, 8), 0, 0)
    """

    rows: Array
    position: Array
    filled: Array


def make_queue(key: Array, size: int, dim: int) -> Queue:
    """A queue that begins with random unit rows float32[size, dim], as MoCo's does.

    Example:
      >>> import jax
      >>> from jssl.methods import memory
      >>> memory.make_queue(jax.random.key(0), size=4, dim=8).rows.shape
      (4, 8)
    """
    rows = normalize(jax.random.normal(key, (size, dim)))
    return Queue(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def enqueue(queue: Queue, keys: Array) -> Queue:
    """Puts keys in the places of the oldest rows, from the end on to the beginning again.

    With rows split over devices every device writes those that are its own; only the keys travel.

    Args:
      queue: K rows.
      keys: float[B, D], B <= K, without gradient from here on.

    Raises:
      ValueError: if there are more keys than rows, or their width differs.

    Example:
      >>> import jax
      >>> from jssl.methods import memory
      >>> queue = memory.make_queue(jax.random.key(0), size=4, dim=2)
      >>> queue = memory.enqueue(memory.enqueue(queue, jax.numpy.ones((3, 2))), jax.numpy.zeros((3, 2)))
      >>> int(queue.position), int(queue.filled), queue.rows[:, 0].tolist()  # the oldest are overwritten
      (2, 4, [0.0, 0.0, 1.0, 0.0])
    """
    size, dim = queue.rows.shape
    if keys.ndim != 2 or keys.shape[1] != dim or len(keys) > size:
        raise ValueError(f"a queue of {size} rows of width {dim} cannot take keys {keys.shape}")
    places = (queue.position + jnp.arange(len(keys))) % size
    keys = jax.lax.stop_gradient(keys).astype(queue.rows.dtype)
    return Queue(
        queue.rows.at[places].set(keys, unique_indices=True),
        (queue.position + len(keys)) % size,
        jnp.minimum(queue.filled + len(keys), size),
    )


def make_bank(key: Array, num_examples: int, dim: int, multiple: int = 256) -> Array:
    """A memory bank of random unit rows float32[M, dim], a row for every image.

    M is num_examples rounded up to a multiple, so that the rows split over any usual number of devices; the
    last M - num_examples rows belong to no image.

    Example:
      >>> import jax
      >>> from jssl.methods import memory
      >>> memory.make_bank(jax.random.key(0), num_examples=1000, dim=8).shape
      (1024, 8)
    """
    return normalize(jax.random.normal(key, (padded_rows(num_examples, multiple), dim)))


def padded_rows(num_examples: int, multiple: int = 256) -> int:
    """Rows of what has one for every image and is split over any usual number of devices.

    Example:
      >>> from jssl.methods import memory
      >>> memory.padded_rows(1000)
      1024
    """
    return -(-num_examples // multiple) * multiple


def update_bank(bank: Array, index: Array, z: Array, momentum: float) -> Array:
    """Moves the rows of some images towards their new embeddings and back to unit length.

    Args:
      bank: unit rows float32[M, D].
      index: int[N], whose rows; an image that is there twice moves twice.
      z: unit rows float[N, D].
      momentum: how much of the old row stays, in [0, 1].

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, section 3.1.
      https://arxiv.org/abs/1805.01978

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.methods import memory
      >>> bank = memory.update_bank(jnp.eye(2), jnp.array([0]), jnp.array([[0.0, 1.0]]), momentum=0.5)
      >>> [round(x, 3) for x in bank.ravel().tolist()]  # row 0 turned by half
      [0.707, 0.707, 0.0, 1.0]
    """
    change = (1 - momentum) * (jax.lax.stop_gradient(z) - bank[index])
    bank = bank.at[index].add(change)
    return bank.at[index].set(normalize(bank[index]))
