"""PCA-whitening of features, as before k-means in DeepCluster."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jssl import parallel
from jssl.clustering import blocks
from jssl.types import Array

HIGHEST = jax.lax.Precision.HIGHEST


class Whitening(NamedTuple):
    """A whitening found by `pca_whitening`; call it on features.

    Args:
      mean: float32[D].
      components: float32[D, dim], principal axes over the square roots of their variances; the largest first.
      normalize: whether whitened rows are given length 1.

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> whitening = clustering.Whitening(np.array([1.0, 0.0]), np.array([[0.5], [0.0]]), normalize=False)
      >>> whitening(np.array([[3.0, 7.0], [1.0, 0.0]])).tolist()
      [[1.0], [0.0]]
    """

    mean: np.ndarray
    components: np.ndarray
    normalize: bool

    def __call__(self, x: np.ndarray, *, mesh: Mesh | None = None) -> np.ndarray:
        """Whitened features, float32[N, dim].

        Args:
          x: float[N, D] on the host, the same in all processes; comes to the devices block by block.
          mesh: over which every block is split; None is one device.

        Raises:
          ValueError: if x is not [N, D].
        """
        x = np.asanyarray(x)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(f"this whitening takes an array float[N, {len(self.mean)}], not {x.shape}")
        mesh = blocks.mesh_or_one_device(mesh)
        parameters = parallel.put_replicated(
            (self.mean.astype(np.float32), self.components.astype(np.float32)), mesh
        )
        whitened = np.empty((len(x), self.components.shape[1]), np.float32)
        for block in blocks.iterate(x, mesh, blocks.rows_per_device(max(1, len(x)), x.shape[1], mesh)):
            rows = parallel.whole(_project(block.rows, *parameters, normalize=self.normalize), mesh)
            whitened[block.start : block.start + block.valid] = rows[: block.valid]
        return whitened


def pca_whitening(
    x: np.ndarray, dim: int, *, floor: float = 1e-5, normalize: bool = True, mesh: Mesh | None = None
) -> Whitening:
    """Finds the linear map after which features have mean 0 and, in their first principal axes, covariance I.

    The covariance (divided by N) is summed block by block, its eigenvectors are those of float64 on the host; the
    largest entry of each is positive.

    Args:
      x: float[N, D] on the host, the same in all processes; N is at least 2, and may be memory-mapped.
      dim: principal axes to keep, at most D.
      floor: variances are at least this part of the largest, so that dead features stay small.
      normalize: whether whitened rows are given length 1 in the end.
      mesh: over which every block is split; None is one device.

    Raises:
      ValueError: for arguments out of their range, rows that are not finite, or rows that are all equal.

    References:
      Caron et al., Deep Clustering for Unsupervised Learning of Visual Features, 2018, section 3.3.
      https://arxiv.org/abs/1807.05520

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> x = np.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
      >>> clustering.pca_whitening(x, 2, normalize=False)(x).tolist()
      [[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]
    """
    x = np.asanyarray(x)
    blocks.check_matrix("pca_whitening", x, 2)
    if not 1 <= dim <= x.shape[1]:
        raise ValueError(f"dim={dim} must be from 1 to the length of a row, {x.shape[1]}")
    if not floor > 0:
        raise ValueError(f"floor={floor} must be positive")
    mean, covariance = _moments(x, blocks.mesh_or_one_device(mesh))
    if not np.isfinite(covariance).all():
        raise ValueError(
            "pca_whitening takes finite features: x has NaN, infinity, or numbers too large to be squared"
        )
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    if not variances[0] > 0:
        raise ValueError("pca_whitening takes rows that differ: all rows of x are equal")
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    components = axes * np.sign(largest) * np.maximum(variances, floor * variances[0]) ** -0.5
    return Whitening(mean, components[:, :dim].astype(np.float32), normalize)


def _moments(x: np.ndarray, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Mean float32[D] and covariance float64[D, D]; blocks are summed in float64, in two passes."""
    per_device = blocks.rows_per_device(len(x), x.shape[1], mesh)
    mean = _total(_sum(block.rows) for block in blocks.iterate(x, mesh, per_device)) / len(x)
    center = parallel.put_replicated(mean.astype(np.float32), mesh)
    products = (_product(block.rows, center, block.valid) for block in blocks.iterate(x, mesh, per_device))
    return mean.astype(np.float32), _total(products) / len(x)


def _total(parts: Iterable[Array]) -> np.ndarray:
    return functools.reduce(np.add, (np.asarray(part, np.float64) for part in parts))


@jax.jit
def _sum(rows: Array) -> Array:
    return jnp.sum(rows, axis=0)


@jax.jit
def _product(rows: Array, mean: Array, valid: int) -> Array:
    centered = jnp.where(jnp.arange(len(rows))[:, None] < valid, rows - mean, 0)
    return jnp.matmul(centered.T, centered, precision=HIGHEST)


@functools.partial(jax.jit, static_argnames="normalize")
def _project(rows: Array, mean: Array, components: Array, *, normalize: bool) -> Array:
    whitened = jnp.matmul(rows - mean, components, precision=HIGHEST)
    if not normalize:
        return whitened
    norms = jnp.linalg.norm(whitened, axis=1, keepdims=True)
    return whitened / jnp.maximum(norms, jnp.finfo(whitened.dtype).tiny)
