"""Comparing every row with every other: what contrastive losses sum over pairs, in forms that differ in memory.

A loss takes one as `similarity`. `Dense` holds the whole matrix of similarities (under a mesh: a device's rows of it),
`Blockwise` some rows at a time; `ring.Ring` passes the columns from device to device. Values and gradients are equal.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jssl.losses.checks import check_positive
from jssl.types import Array

PRECISION = jax.lax.Precision.HIGHEST  # TPUs would multiply float32 in bfloat16


class Reduction(NamedTuple):
    """A sum over the similarities of a row, and what it takes to compute it part by part.

    Attributes:
      of: similarities float32[n, M] to float32[n].
      join: the reductions of two parts of the columns to that of both.
      weights: its derivative by the similarities, from these and from the reduction over all columns.
    """

    of: Callable[[Array], Array]
    join: Callable[[Array, Array], Array]
    weights: Callable[[Array, Array], Array]


LOG_SUM_EXP = Reduction(
    functools.partial(jax.nn.logsumexp, axis=-1), jnp.logaddexp, lambda s, lse: jnp.exp(s - lse[:, None])
)
SUM_SOFTPLUS = Reduction(
    lambda s: jnp.sum(jax.nn.softplus(s), axis=-1), jnp.add, lambda s, _: jax.nn.sigmoid(s)
)


class Similarity(Protocol):
    """A form of the similarities of rows a float32[N, D] and b float32[M, D]: what losses need of them.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> form: losses.Similarity = losses.DENSE
      >>> result = form.log_sum_exp(jnp.eye(2), jnp.eye(2))  # log(e + 1)
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [1.313, 1.313]
    """

    def log_sum_exp(self, a: Array, b: Array, exclude_self: bool = False) -> Array:
        """log sum_j exp <a_i, b_j>, float32[N]; with `exclude_self` (then N = M) without j = i."""
        ...

    def sum_softplus(self, a: Array, b: Array) -> Array:
        """sum_j log(1 + exp <a_i, b_j>), float32[N]."""
        ...

    def largest_other(self, a: Array, b: Array) -> Array:
        """max over j != i of <a_i, b_j>, float32[N], without gradient."""
        ...


@dataclasses.dataclass(frozen=True)
class Dense:
    """The whole matrix at once, O(N M) memory: fastest where it fits.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> print(losses.Dense().largest_other(jnp.eye(2), jnp.eye(2)))
      [0. 0.]
    """

    def log_sum_exp(self, a: Array, b: Array, exclude_self: bool = False) -> Array:
        return LOG_SUM_EXP.of(similarities(a, b, exclude_self))

    def sum_softplus(self, a: Array, b: Array) -> Array:
        return SUM_SOFTPLUS.of(similarities(a, b, False))

    def largest_other(self, a: Array, b: Array) -> Array:
        return jnp.max(similarities(*jax.lax.stop_gradient((a, b)), True), axis=-1)


@dataclasses.dataclass(frozen=True)
class Blockwise:
    """`size` rows of the matrix at a time, O(size M) memory; the backward pass computes them again.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> z = jnp.eye(2)
      >>> round(float(losses.nt_xent(z, z, temperature=1.0, similarity=losses.Blockwise(size=1))), 3)
      0.551
    """

    size: int

    def __post_init__(self) -> None:
        check_positive(size=self.size)

    def log_sum_exp(self, a: Array, b: Array, exclude_self: bool = False) -> Array:
        return _reduce(a, b, LOG_SUM_EXP, exclude_self, self.size)

    def sum_softplus(self, a: Array, b: Array) -> Array:
        return _reduce(a, b, SUM_SOFTPLUS, False, self.size)

    def largest_other(self, a: Array, b: Array) -> Array:
        return largest(*jax.lax.stop_gradient((a, b)), True, self.size)


DENSE = Dense()


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _reduce(a: Array, b: Array, reduction: Reduction, exclude_self: bool, size: int) -> Array:
    return reduce(a, b, reduction, exclude_self, size)


def _forward(
    a: Array, b: Array, reduction: Reduction, exclude_self: bool, size: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    found = reduce(a, b, reduction, exclude_self, size)
    return found, (a, b, found)


def _backward(
    reduction: Reduction, exclude_self: bool, size: int, residuals: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array]:
    a, b, found = residuals
    return gradients(a, b, reduction, exclude_self, found, g, size)


_reduce.defvjp(_forward, _backward)


def similarities(a: Array, b: Array, exclude_self: bool | Array, index: Array | None = None) -> Array:
    """<a_i, b_j>, float32[N, M]; with `exclude_self` minus infinity where j is i, or index[i]."""
    s = jnp.matmul(a, b.T, precision=PRECISION)
    if exclude_self is False:
        return s
    index = jnp.arange(len(a)) if index is None else index
    own = index[:, None] == jnp.arange(len(b))
    return jnp.where(own & exclude_self, -jnp.inf, s)


def reduce(
    a: Array, b: Array, reduction: Reduction, exclude_self: bool | Array, size: int | None = None
) -> Array:
    """A reduction of the similarities of every row of `a`, `size` rows at a time; no gradient of its own."""

    def rows(a: Array, index: Array) -> Array:
        return reduction.of(similarities(a, b, exclude_self, index))

    return by_rows(rows, size, a)


def largest(a: Array, b: Array, exclude_self: bool | Array, size: int | None = None) -> Array:
    """max_j <a_i, b_j>, with `exclude_self` without j = i, `size` rows at a time."""
    return by_rows(lambda a, index: jnp.max(similarities(a, b, exclude_self, index), axis=-1), size, a)


def gradients(
    a: Array,
    b: Array,
    reduction: Reduction,
    exclude_self: bool | Array,
    found: Array,
    g: Array,
    size: int | None = None,
) -> tuple[Array, Array]:
    """The gradients of a and b of sum_i g_i times a reduction of row i, whose value over all columns is `found`.

    Where b are some of the columns it is the part that these have in it.
    """

    def rows(total: Array, block: tuple[Array, ...]) -> tuple[Array, Array]:
        a, index, found, g = block
        weights = g[:, None] * reduction.weights(similarities(a, b, exclude_self, index), found)
        total = total + jnp.matmul(weights.T, a, precision=PRECISION)
        return total, jnp.matmul(weights, b, precision=PRECISION)

    n = len(a)
    size = n if size is None else min(size, n)
    # Rows of zeros with g = 0 fill the last block.
    blocks = (
        jnp.pad(x, [(0, -n % size)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, size, *x.shape[1:])
        for x in (a, jnp.arange(n), found, g)
    )
    db, da = jax.lax.scan(rows, jnp.zeros_like(b), tuple(blocks))
    return da.reshape(-1, a.shape[1])[:n], db


def by_rows(function: Callable[[Array, Array], Array], size: int | None, a: Array) -> Array:
    """`function` of the rows of `a` and of their numbers, `size` of them at a time."""
    index = jnp.arange(len(a))
    if size is None or size >= len(a):
        return function(a, index)
    return jax.lax.map(lambda row: function(row[0][None], row[1][None])[0], (a, index), batch_size=size)
