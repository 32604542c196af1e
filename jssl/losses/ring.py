"""Comparing every row with every other without gathering them: the columns go round a ring of devices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jssl.errors import unknown
from jssl.losses import similarity
from jssl.losses.similarity import DENSE, LOG_SUM_EXP, SUM_SOFTPLUS, Blockwise, Reduction, Similarity
from jssl.parallel import DATA_AXIS
from jssl.types import Array, PyTree

FORMS = ("auto", "dense", "ring", "blockwise")
LARGE = 2**28  # bytes of similarities on a device above which 'auto' does not hold them at once


@dataclasses.dataclass(frozen=True)
class Ring:
    """`losses.Similarity` over a mesh: O(N M / P^2) of the matrix and O((N + M) D / P) of rows on each of P devices.

    Every device holds its rows of a; those of b visit it one after the other, and what they add to a row's sum is
    joined to it. In the backward pass they go round again, each with the gradient that it collects on its way home.

    Attributes:
      mesh: of one axis; the rows of a and b must divide by its size.
      size: rows of a device's tile held at a time; None holds the tile.

    References:
      Liu et al., Ring Attention with Blockwise Transformers for Near-Infinite Context, 2023 (the same idea for
      attention). https://arxiv.org/abs/2310.01889

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses, parallel
      >>> z, ring = jnp.eye(16), losses.Ring(parallel.make_mesh())  # over all devices
      >>> round(float(losses.nt_xent(z, z, temperature=1.0, similarity=ring)), 3)  # log(e + 30) - 1
      2.488
    """

    mesh: Mesh
    size: int | None = None

    def log_sum_exp(self, a: Array, b: Array, exclude_self: bool = False) -> Array:
        """As `losses.Similarity` says."""
        return _reduce(a, b, self, LOG_SUM_EXP, exclude_self)

    def sum_softplus(self, a: Array, b: Array) -> Array:
        """As `losses.Similarity` says."""
        return _reduce(a, b, self, SUM_SOFTPLUS, False)

    def largest_other(self, a: Array, b: Array) -> Array:
        """As `losses.Similarity` says."""

        def local(a: Array, b: Array) -> Array:
            found = similarity.largest(a, b, True, self.size)
            step = lambda b, found: (b, jnp.maximum(found, similarity.largest(a, b, False, self.size)))  # noqa: E731
            return self._round(step, b, found)[1]

        return self._on_devices(local)(*jax.lax.stop_gradient((a, b)))

    def _on_devices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        rows = PartitionSpec(DATA_AXIS)
        return jax.shard_map(function, mesh=self.mesh, in_specs=rows, out_specs=rows, check_vma=False)

    def _pass_on(self, travelling: PyTree) -> PyTree:
        """To the next device."""
        after = [(i, (i + 1) % self.mesh.size) for i in range(self.mesh.size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, DATA_AXIS, after), travelling)

    def _round(self, visit: Callable[[Any, Any], Any], travelling: PyTree, staying: PyTree) -> Any:
        """`travelling` visits all devices but the one that it comes from: (travelling, staying) afterwards."""

        def hop(_: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            return visit(self._pass_on(carry[0]), carry[1])

        return jax.lax.fori_loop(1, self.mesh.size, hop, (travelling, staying))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _reduce(a: Array, b: Array, ring: Ring, reduction: Reduction, exclude_self: bool) -> Array:
    return _forward(a, b, ring, reduction, exclude_self)[0]


def _forward(
    a: Array, b: Array, ring: Ring, reduction: Reduction, exclude_self: bool
) -> tuple[Array, tuple[Array, Array, Array]]:
    def local(a: Array, b: Array) -> Array:
        found = similarity.reduce(a, b, reduction, exclude_self, ring.size)

        def visit(b: Array, found: Array) -> tuple[Array, Array]:
            return b, reduction.join(found, similarity.reduce(a, b, reduction, False, ring.size))

        return ring._round(visit, b, found)[1]

    found = ring._on_devices(local)(a, b)
    return found, (a, b, found)


def _backward(
    ring: Ring, reduction: Reduction, exclude_self: bool, residuals: tuple[Array, Array, Array], g: Array
) -> tuple[Array, Array]:
    def local(a: Array, b: Array, found: Array, g: Array) -> tuple[Array, Array]:
        da, db = similarity.gradients(a, b, reduction, exclude_self, found, g, ring.size)

        def visit(travelling: tuple[Array, Array], da: Array) -> tuple[tuple[Array, Array], Array]:
            b, db = travelling
            more_a, more_b = similarity.gradients(a, b, reduction, False, found, g, ring.size)
            return (b, db + more_b), da + more_a

        (_, db), da = ring._round(visit, (b, db), da)
        return da, ring._pass_on(db)  # home

    return ring._on_devices(local)(*residuals, g)


_reduce.defvjp(_forward, _backward)


def choose(form: str, rows: int, columns: int, size: int, mesh: Mesh | None) -> Similarity:
    """The form in which a loss compares so many rows with so many columns.

    Args:
      form: 'dense', 'ring', 'blockwise'; 'auto' gathers what is small, and takes the ring, or on one device the
        blocks, for what is large.
      size: rows held at a time in a block or in a tile of the ring; 0 chooses.
      mesh: None is one device.

    Raises:
      UserError: for an unknown form.
    """
    if form not in FORMS:
        raise unknown("method.similarity", form, FORMS)
    devices = 1 if mesh is None else mesh.size
    if form == "auto":
        held = 4 * rows // devices * columns
        form = "dense" if held <= LARGE else "ring" if devices > 1 else "blockwise"
    if form == "dense":
        return DENSE
    if form == "blockwise" or mesh is None:
        return Blockwise(size or fitting(columns))
    return Ring(mesh, size or fitting(columns // devices))


def fitting(columns: int) -> int:
    """Rows of so many columns that fill a quarter of what is large."""
    return max(8, LARGE // 4 // (4 * columns))
