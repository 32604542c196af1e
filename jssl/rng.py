"""Random keys derived from names, so that no key is ever stored, split in passing or mutated."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp

from jssl.types import Array

IMPLEMENTATION = "threefry2x32"


def root(seed: int) -> Array:
    """The run's only seed, as a typed key of the partitionable Threefry generator.

    Partitionable means that the numbers do not depend on how the array they fill is sharded, which is
    half of why 1 device equals 8.
    """
    return jax.random.key(seed, impl=IMPLEMENTATION)


def root_of(data: Array) -> Array:
    """The key whose data, `jax.random.key_data(root(seed))`, a compiled program is given."""
    return jax.random.wrap_key_data(jnp.asarray(data), impl=IMPLEMENTATION)


def derive(key: Array, name: str, step: int | Array = 0) -> Array:
    """The key of `name` at `step`: `fold_in(fold_in(key, crc32(name)), step)`.

    A pure function of its arguments, so a resumed run draws the numbers that it would have drawn.
    """
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), step)
