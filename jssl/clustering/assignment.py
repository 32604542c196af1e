"""Optimal assignment of samples to classes of given sizes, as in SeLa."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import logsumexp
from jax.sharding import Mesh

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
        rows, shares, n, float(sharpness), float(tolerance), max_iterations
    )
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


class _Potentials(NamedTuple):
    """Logarithms of what multiplies classes float32[K] and samples float32[N]; the iteration, the error."""

    classes: Array
    samples: Array
    iteration: Array
    error: Array


@functools.partial(jax.jit, static_argnames="max_iterations")
def _solve(
    log_p: Array, log_shares: Array, n: int, sharpness: float, tolerance: float, max_iterations: int
) -> tuple[Array, Array, Array, Array, Array]:
    is_row = jnp.arange(len(log_p)) < n
    log_n = jnp.log(jnp.float32(n))

    largest = jnp.max(log_p, axis=1)

    def scaled() -> Array:  # fused into whoever reads it: the only array of N times K numbers is log_p
        return sharpness * (log_p - largest[:, None])

    def goes_on(now: _Potentials) -> Array:
        return (now.iteration < max_iterations) & (now.error > tolerance)  # NaN ends it

    def step(now: _Potentials) -> _Potentials:
        classes = log_shares - logsumexp(scaled() + now.samples[:, None], axis=0)
        samples = jnp.where(is_row, -log_n - logsumexp(scaled() + classes, axis=1), -jnp.inf)
        change = jnp.where(is_row, jnp.abs(jnp.expm1(now.samples - samples)), 0)
        look = now.iteration % LOOK_EVERY == 0
        error = jnp.where(look, jnp.sum(change), now.error)
        return _Potentials(classes, samples, now.iteration + 1, error)

    samples = jnp.where(is_row, sharpness * largest - log_n, -jnp.inf)  # 1 / N for P^sharpness
    start = _Potentials(log_shares, samples, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf))
    end = jax.lax.while_loop(goes_on, step, start)
    labels = jnp.argmax(scaled() + end.classes, axis=1).astype(jnp.int32)
    chosen = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    objective = -jnp.sum(chosen, where=is_row) / n
    return labels, end.classes, end.iteration, end.error, objective
