"""Optimal assignment of samples to classes of given sizes, as in SeLa."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jax.sharding import Mesh, PartitionSpec

from jssl import parallel
from jssl.clustering import blocks
from jssl.types import Array

LOOK_EVERY = 10  # iterations from one look at the error to the next, as in SeLa's code


class Assignment(NamedTuple):
    """What `optimal_assignment` found.

    Args:
      labels: int32[N].
      log_potentials: of the classes, float32[K]: a label is the arg max of sharpness * log_p + log_potentials.
      iterations: that were made.
      error: sum over the samples of the relative change of their potentials, when last looked at.
      objective: mean over the samples of -log_p[label].

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> clustering.optimal_assignment(np.log([[0.9, 0.1], [0.1, 0.9]])).labels.tolist()
      [0, 1]
    """

    labels: np.ndarray
    log_potentials: np.ndarray
    iterations: int
    error: float
    objective: float


def optimal_assignment(
    log_p: np.ndarray | Array,
    *,
    sharpness: float = 25.0,
    class_weights: np.ndarray | None = None,
    tolerance: float = 0.1,
    max_iterations: int = 1000,
    mesh: Mesh | None = None,
) -> Assignment:
    """Labels that are likely and give every class its share, by Sinkhorn-Knopp on P^sharpness.

    Rows of diag(r) P^sharpness diag(c) sum to 1 / N, columns to the classes' shares; a label is the arg max of its
    row. In logarithms, so that no sharpness is too large; the sharper, the closer are the labels' counts to the
    shares.

    Args:
      log_p: log-probabilities float[N, K], on the host or on devices, where the rows lie split over the mesh; taken
        as float32. Minus infinity is a probability of 0.
      sharpness: lambda of the paper, positive.
      class_weights: shares of the classes, positive, float[K], of any sum; None for equal ones.
      tolerance: ends when the error is at most this; looked at in every 10th iteration.
      max_iterations: at least 1.
      mesh: over which the rows are split; None is one device.

    Returns:
      Labels, and how they were found; an error above the tolerance says that the iterations did not suffice.

    Raises:
      ValueError: for arguments out of their range, or log-probabilities with NaN, infinity, or a whole row or column of
        minus infinity.

    References:
      Asano et al., Self-Labelling via Simultaneous Clustering and Representation Learning, 2020, eq. 6 to 8.
      https://arxiv.org/abs/1911.05371
      Cuturi, Sinkhorn Distances, 2013. https://arxiv.org/abs/1306.0895

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> log_p = np.log([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])  # all prefer the first class
      >>> clustering.optimal_assignment(log_p).labels.tolist()
      [0, 0, 1, 1]
    """
    if log_p.ndim != 2 or not log_p.size:
        raise ValueError(f"optimal_assignment takes log-probabilities float[N, K], not {log_p.shape}")
    if not sharpness > 0 or not tolerance >= 0 or max_iterations < 1:
        raise ValueError(
            f"sharpness={sharpness} must be positive, tolerance={tolerance} at least 0, and "
            f"max_iterations={max_iterations} at least 1"
        )
    n, k = log_p.shape
    mesh = blocks.mesh_or_one_device(mesh)
    shares = parallel.put_replicated(_log_shares(class_weights, k), mesh)
    rows = _on_devices(log_p, mesh)
    labels, log_classes, iterations, error, objective = _solve(
        rows, shares, n, float(sharpness), float(tolerance),
        max_iterations=max_iterations, mesh=mesh, tile=blocks.tile_rows(len(rows) // mesh.size, k, mesh),
    )  # fmt: skip
    labels, log_classes = parallel.whole((labels, log_classes), mesh)
    if not np.isfinite(log_classes).all():  # whatever is not a number shows in the potentials
        raise ValueError("optimal_assignment takes finite log-probabilities: log_p has NaN or infinity")
    return Assignment(labels[:n], log_classes, int(iterations), float(error), float(objective))


def _log_shares(class_weights: np.ndarray | None, k: int) -> np.ndarray:
    weights = np.ones(k) if class_weights is None else np.asarray(class_weights, np.float64)
    if weights.shape != (k,) or not np.isfinite(weights).all() or not (weights > 0).all():
        raise ValueError(f"class_weights must be {k} positive numbers, one a class")
    return np.log(weights / weights.sum()).astype(np.float32)


def _on_devices(log_p: np.ndarray | Array, mesh: Mesh) -> Array:
    """float32[N, K] split over the mesh, with rows of zeros at the end if it does not split evenly."""
    padding = -len(log_p) % mesh.size
    if isinstance(log_p, np.ndarray):
        rows = np.asarray(log_p, np.float32)
        return parallel.put_rows(parallel.pad_rows(rows, mesh.size) if padding else rows, mesh)
    on_devices = log_p.astype(jnp.float32)
    padded = jnp.pad(on_devices, ((0, padding), (0, 0))) if padding else on_devices
    return jax.device_put(padded, parallel.batch_sharding(mesh))


class _Loop(NamedTuple):
    """Potentials of classes float32[K] and samples float32[N]; sums of the columns float32[K]; iteration and error.

    All but the last two are logarithms. The potential of a sample is that of its row after its largest entry was
    divided out, and the sums are of P^sharpness diag(samples).
    """

    classes: Array
    samples: Array
    columns: Array
    iteration: Array
    error: Array


@functools.partial(jax.jit, static_argnames=("max_iterations", "mesh", "tile"))
def _solve(
    log_p: Array,
    log_shares: Array,
    n: int,
    sharpness: float,
    tolerance: float,
    *,
    max_iterations: int,
    mesh: Mesh,
    tile: int,
) -> tuple[Array, Array, Array, Array, Array]:
    """Labels, potentials of the classes, iterations, error and objective."""
    split, whole = PartitionSpec(parallel.DATA_AXIS), PartitionSpec()

    def on_each(function: Callable, inputs: tuple, outputs: tuple) -> Callable:
        local = functools.partial(function, n=n, sharpness=sharpness, tile=tile)
        return jax.shard_map(local, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)

    begin = on_each(_begin, (split,), (split, whole))
    iterate = on_each(_iterate, (split, whole, split), (split, whole, whole))
    label = on_each(_label, (split, whole), (split, whole))

    def goes_on(now: _Loop) -> Array:
        return (now.iteration < max_iterations) & (now.error > tolerance)  # NaN ends it

    def step(now: _Loop) -> _Loop:
        classes = log_shares - now.columns
        samples, columns, change = iterate(log_p, classes, now.samples)
        error = jnp.where(now.iteration % LOOK_EVERY == 0, change, now.error)
        return _Loop(classes, samples, columns, now.iteration + 1, error)

    samples, columns = begin(log_p)
    start = _Loop(log_shares, samples, columns, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf))
    end = jax.lax.while_loop(goes_on, step, start)
    labels, objective = label(log_p, end.classes)
    return labels, end.classes, end.iteration, end.error, objective


# What follows is the part of one device. It goes through its rows tile by tile: log_p is the only array of N times K
# numbers. The last tile begins where it fits, and sees some rows of the one before again.


class _Tile(NamedTuple):
    """log_p float32[tile, K], position of the first row, which rows are samples (not padding), and which are new."""

    log_p: Array
    start: Array
    is_row: Array
    is_new: Array


def _over_tiles(visit: Callable[[_Tile, Any], Any], carry: Any, log_p: Array, n: int, tile: int) -> Any:
    """Calls visit(tile, carry) with one tile after the other, and returns the last carry."""
    rows, k = log_p.shape
    first = jax.lax.axis_index(parallel.DATA_AXIS) * rows

    def one(i: Array, carry: Any) -> Any:
        start = jnp.minimum(i * tile, rows - tile)
        numbers = start + jnp.arange(tile)
        part = jax.lax.dynamic_slice(log_p, (start, 0), (tile, k))
        is_row = first + numbers < n
        return visit(_Tile(part, start, is_row, is_row & (numbers >= i * tile)), carry)

    return jax.lax.fori_loop(0, -(-rows // tile), one, carry)


def _scaled(log_p: Array, sharpness: float) -> Array:
    """log P^sharpness; the largest of each row is 0, for the sake of float32."""
    return sharpness * (log_p - jnp.max(log_p, axis=1, keepdims=True))


def _with_tile(columns: Array, scaled: Array, samples: Array, is_new: Array) -> Array:
    """Logarithms of the sums of columns, with the new rows of a tile added."""
    return jnp.logaddexp(columns, logsumexp(scaled + jnp.where(is_new, samples, -jnp.inf)[:, None], axis=0))


def _of_all_devices(columns: Array) -> Array:
    return logsumexp(jax.lax.all_gather(columns, parallel.DATA_AXIS), axis=0)


def _begin(log_p: Array, *, n: int, sharpness: float, tile: int) -> tuple[Array, Array]:
    """Potentials 1 / N of all samples, as SeLa's code begins, and the sums of columns that they give."""
    samples = sharpness * jnp.max(log_p, axis=1) - jnp.log(jnp.float32(n))

    def visit(part: _Tile, columns: Array) -> Array:
        of_tile = jax.lax.dynamic_slice(samples, (part.start,), (tile,))
        return _with_tile(columns, _scaled(part.log_p, sharpness), of_tile, part.is_new)

    columns = _over_tiles(visit, jnp.full(log_p.shape[1], -jnp.inf), log_p, n, tile)
    return samples, _of_all_devices(columns)


def _iterate(
    log_p: Array, classes: Array, samples: Array, *, n: int, sharpness: float, tile: int
) -> tuple[Array, Array, Array]:
    """Potentials of the samples that give rows their sums, the sums of columns then, and the change of potentials."""

    def visit(part: _Tile, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        samples, columns, change = carry
        scaled = _scaled(part.log_p, sharpness)
        before = jax.lax.dynamic_slice(samples, (part.start,), (tile,))
        now = -jnp.log(jnp.float32(n)) - logsumexp(scaled + classes, axis=1)
        change += jnp.sum(jnp.abs(jnp.expm1(before - now)), where=part.is_new)
        samples = jax.lax.dynamic_update_slice(samples, now, (part.start,))
        return samples, _with_tile(columns, scaled, now, part.is_new), change

    start = samples, jnp.full(len(classes), -jnp.inf), jnp.zeros(())
    samples, columns, change = _over_tiles(visit, start, log_p, n, tile)
    return samples, _of_all_devices(columns), jax.lax.psum(change, parallel.DATA_AXIS)


def _label(log_p: Array, classes: Array, *, n: int, sharpness: float, tile: int) -> tuple[Array, Array]:
    """Labels int32[rows], and the mean of -log_p[label] over the samples of all devices."""

    def visit(part: _Tile, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, total = carry
        of_tile = jnp.argmax(_scaled(part.log_p, sharpness) + classes, axis=1).astype(jnp.int32)
        chosen = jnp.take_along_axis(part.log_p, of_tile[:, None], axis=1)[:, 0]
        labels = jax.lax.dynamic_update_slice(labels, of_tile, (part.start,))
        return labels, total - jnp.sum(chosen, where=part.is_new)

    start = jnp.zeros(len(log_p), jnp.int32), jnp.zeros(())
    labels, total = _over_tiles(visit, start, log_p, n, tile)
    return labels, jax.lax.psum(total, parallel.DATA_AXIS) / n
