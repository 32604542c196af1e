"""k-means over rows that stay on the host: Lloyd's iterations and mini-batches, Euclidean or spherical."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jssl import parallel
from jssl.clustering import blocks
from jssl.types import Array

HIGHEST = jax.lax.Precision.HIGHEST
SPLIT = 1 / 1024  # by how much the two centroids of a split cluster differ from the one before, as in faiss
SAMPLE = 16  # rows a cluster among which k-means++ looks
SLICES = 8  # of a tile's scores, see `first_of_largest`


class KMeans(NamedTuple):
    """What `k_means` found.

    Args:
      centroids: float32[k, D].
      labels: of each row the nearest centroid, int32[N].
      counts: rows of each cluster, int64[k].
      inertia: sum of the rows' squared distances from their centroids.

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> clustering.k_means(np.array([[0.0], [2.0]]), 1).inertia
      2.0
    """

    centroids: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    inertia: float


def k_means(
    x: np.ndarray,
    k: int,
    *,
    seed: int = 0,
    iterations: int = 20,
    init: Literal["random", "k-means++"] | np.ndarray = "random",
    spherical: bool = False,
    batch_size: int = 0,
    restarts: int = 1,
    tolerance: float = 0.0,
    mesh: Mesh | None = None,
    block_rows: int = 0,
    progress: Callable[[str], None] | None = None,
) -> KMeans:
    """k-means clustering of rows that may be memory-mapped: they come to the devices block by block.

    An iteration assigns the rows to their nearest centroids (the first of equally near ones) and moves every
    centroid to the mean of its rows. A centroid without rows is put beside one that has many, as in faiss: a cluster
    drawn with a probability proportional to its rows less one gives half of them, and the entries of the two
    centroids are multiplied by 1 ± 1/1024. It ends early when no centroid moves any more.

    The same seed gives the same result; on another number of devices it is the same up to rounding.

    Args:
      x: float[N, D] on the host, the same in all processes; taken as float32.
      k: clusters, from 1 to N.
      seed: of all draws, at least 0.
      iterations: at least 1; of mini-batches it counts those.
      init: 'random', k different rows; 'k-means++' of a random sample of 16 k rows; or centroids float[k, D].
      spherical: rows and centroids have length 1; a squared distance then is 2 - 2 cos.
      batch_size: 0 takes all rows in every iteration. Otherwise an iteration takes so many, each row once a pass,
        and a centroid is the mean of all the rows it ever got; those without a row are moved at the end of a pass.
      restarts: attempts with different draws; the smallest inertia is kept.
      tolerance: ends when the inertia falls by less than this part of it; 0 never does. Not for mini-batches.
      mesh: over which every block is split; None is one device.
      block_rows: rows of a block; 0 takes what has 16 MiB on every device.
      progress: gets a line of text after every iteration.

    Returns:
      Centroids with the labels, counts and inertia that they give; no row is without a label. Clusters may be empty
      if the last iteration left some so.

    Raises:
      ValueError: for arguments out of their range, or rows that are not finite.

    References:
      Lloyd, Least Squares Quantization in PCM, 1982.
      Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, 2007.
      Sculley, Web-Scale K-Means Clustering, 2010.
      Johnson et al., Billion-Scale Similarity Search with GPUs, 2017. https://arxiv.org/abs/1702.08734

    Example:
      >>> import numpy as np
      >>> from jssl import clustering
      >>> x = np.array([[0.0, 0.1], [0.0, -0.1], [5.0, 0.1], [5.0, -0.1]])
      >>> found = clustering.k_means(x, 2, init=x[[0, 2]])
      >>> found.centroids.tolist(), found.labels.tolist(), found.counts.tolist(), round(found.inertia, 3)
      ([[0.0, 0.0], [5.0, 0.0]], [0, 0, 1, 1], [2, 2], 0.04)
    """
    x = np.asanyarray(x)
    _check(x, k, init, seed, iterations, restarts, batch_size, tolerance)
    rows = _Rows(x, k, spherical, blocks.mesh_or_one_device(mesh), block_rows)
    settings = _Settings(iterations, batch_size, tolerance, progress or (lambda line: None))
    found = (_attempt(rows, init, settings, np.random.default_rng((seed, i))) for i in range(restarts))
    return min(found, key=lambda each: each.inertia)


def _check(
    x: np.ndarray,
    k: int,
    init: str | np.ndarray,
    seed: int,
    iterations: int,
    restarts: int,
    batch_size: int,
    tolerance: float,
) -> None:
    blocks.check_matrix("k_means", x, 1)
    if not 1 <= k <= len(x):
        raise ValueError(f"k={k} must be from 1 to the number of rows, {len(x)}")
    if isinstance(init, str):
        if init not in ("random", "k-means++"):
            raise ValueError(f"init={init!r} must be 'random', 'k-means++' or an array float[k, D]")
    elif np.shape(init) != (k, x.shape[1]):
        raise ValueError(f"init has shape {np.shape(init)}, and {k} centroids have {(k, x.shape[1])}")
    elif not np.isfinite(init).all():
        raise ValueError("init has centroids that are not finite (NaN or infinity)")
    for name, number in (("iterations", iterations), ("restarts", restarts), ("seed", seed)):
        if not isinstance(number, int | np.integer) or isinstance(number, bool):
            raise ValueError(f"{name}={number!r} must be a whole number")
    if not math.isfinite(tolerance):
        raise ValueError(f"tolerance={tolerance} must be a number of at least 0")
    if min(iterations, restarts) < 1 or min(seed, batch_size, tolerance) < 0:
        raise ValueError(
            f"iterations={iterations} and restarts={restarts} must be at least 1, seed={seed}, "
            f"batch_size={batch_size} and tolerance={tolerance} at least 0"
        )
    if batch_size and tolerance:
        raise ValueError("tolerance compares whole passes: with a batch_size it must be 0")


class _Settings(NamedTuple):
    iterations: int
    batch_size: int
    tolerance: float
    progress: Callable[[str], None]


def _attempt(rows: _Rows, init: str | np.ndarray, settings: _Settings, rng: np.random.Generator) -> KMeans:
    centroids = _begin(rows, init, rng)
    weights = np.zeros(rows.k, np.int64)  # rows that a centroid is the mean of
    recent = np.zeros(rows.k, np.int64)  # its rows of this pass
    before = math.inf
    for number, (indices, pass_ends) in enumerate(_batches(len(rows.x), settings, rng), start=1):
        found = rows.assign(centroids, indices)
        weights += found.counts
        recent += found.counts
        moved, split = _moved(centroids, found.sums, found.counts, weights), 0
        if pass_ends:
            weights[recent == 0] = 0
            split = split_empty(moved, weights, rng)
            recent[:] = 0
        if indices is None:
            weights[:] = 0
        moved = _unit(moved) if rows.spherical else moved
        text = f"iteration {number} of {settings.iterations}: inertia {found.inertia:.6g}"
        settings.progress(text + (f", {split} empty clusters split" if split else ""))
        stays, centroids = np.array_equal(moved, centroids), moved
        falls_little = before - found.inertia < settings.tolerance * before and settings.tolerance > 0
        if indices is None and not split and (stays or falls_little):
            break
        before = found.inertia
    final = rows.assign(centroids)
    return KMeans(centroids, final.labels, final.counts, final.inertia)


def _begin(rows: _Rows, init: str | np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first centroids, float32[k, D]."""
    if not isinstance(init, str):
        centroids = np.array(init, np.float32)
    elif init == "random":
        centroids = rows.take(rng.choice(len(rows.x), rows.k, replace=False))
    else:
        sample = rows.take(rng.permutation(len(rows.x))[: SAMPLE * rows.k])
        sample = _unit(sample) if rows.spherical else sample
        key = jax.random.key(int(rng.integers(2**31)))
        device = rows.mesh.local_devices[0]  # every process draws the same
        centroids = np.array(_plus_plus(*jax.device_put((sample, key), device), k=rows.k))
    return _unit(centroids) if rows.spherical else centroids


def _batches(
    n: int, settings: _Settings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray | None, bool]]:
    """The rows of every iteration (None for all), and whether a pass over all rows ends with it."""
    steps = math.ceil(n / settings.batch_size) if settings.batch_size else 1
    for step in range(settings.iterations):
        if steps == 1:
            yield None, True
            continue
        if step % steps == 0:
            parts = np.array_split(rng.permutation(n), steps)
        yield np.sort(parts[step % steps]), step % steps == steps - 1


def _moved(centroids: np.ndarray, sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Centroids that are the means of `weights` rows, the newest `counts` of which sum to `sums`."""
    old = centroids.astype(np.float64)
    step = (sums - counts[:, None] * old) / np.maximum(weights, 1)[:, None]
    return (old + step).astype(np.float32)


def split_empty(centroids: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> int:
    """Puts each centroid of size 0 beside a large one, in place; the two share its size.

    As in faiss: the draws are proportional to size - 1, and each sees the sizes that the draws before it left.

    Args:
      centroids: float32[k, D].
      sizes: int64[k].
      rng: of the draws.

    Returns:
      How many were moved; those for which no cluster of two rows is left stay.
    """
    factors = np.where(np.arange(centroids.shape[1]) % 2, 1 - SPLIT, 1 + SPLIT).astype(np.float32)
    empty = np.flatnonzero(sizes == 0)
    for moved, cluster in enumerate(empty):
        spare = np.maximum(sizes - 1, 0)
        if not spare.any():
            return moved
        donor = rng.choice(len(sizes), p=spare / spare.sum())
        centroids[cluster] = centroids[donor] * factors
        centroids[donor] *= 2 - factors
        sizes[cluster] = sizes[donor] // 2
        sizes[donor] -= sizes[cluster]
    return len(empty)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)


@functools.partial(jax.jit, static_argnames="k")
def _plus_plus(x: Array, key: Array, *, k: int) -> Array:
    """k rows of x, each drawn in proportion to its squared distance from those before it."""

    def draw(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        centroids, distances = carry
        logits = jnp.where(i == 0, 0.0, jnp.log(distances))
        centroid = x[jax.random.categorical(jax.random.fold_in(key, i), logits)]
        return centroids.at[i].set(centroid), jnp.minimum(distances, jnp.sum((x - centroid) ** 2, axis=1))

    start = jnp.zeros((k, x.shape[1]), x.dtype), jnp.full(len(x), jnp.inf, x.dtype)
    return jax.lax.fori_loop(0, k, draw, start)[0]


class _Assigned(NamedTuple):
    """What centroids give: labels int32[N], sums float32[k, D] and counts int64[k] of their rows, the inertia."""

    labels: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    inertia: float


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The rows, and how they come to the devices."""

    x: np.ndarray
    k: int
    spherical: bool
    mesh: Mesh
    block_rows: int

    def take(self, indices: np.ndarray) -> np.ndarray:
        return np.array(self.x[np.sort(indices)], np.float32)

    def assign(self, centroids: np.ndarray, indices: np.ndarray | None = None) -> _Assigned:
        """Assigns all rows, or those at some positions, to their nearest centroids.

        Raises:
          ValueError: if a row is not finite.
        """
        n, dim = len(self.x) if indices is None else len(indices), self.x.shape[1]
        per_device = blocks.rows_per_device(n, dim, self.mesh, self.block_rows)
        tile = blocks.tile_rows(per_device, self.k, self.mesh)
        per_device = tile * math.ceil(per_device / tile)
        on_devices = parallel.put_replicated(centroids, self.mesh)
        zeros = np.zeros_like(centroids), np.zeros_like(centroids), np.zeros(self.k, np.int32)
        totals, inertias, labels = _Totals(*parallel.put_replicated(zeros, self.mesh)), [], []
        for block in blocks.iterate(self.x, self.mesh, per_device, indices):
            totals, inertia, block_labels = _add_block(
                totals, on_devices, block.rows, block.valid,
                mesh=self.mesh, tile=tile, spherical=self.spherical,
            )  # fmt: skip
            labels.append(block_labels)
            inertias.append(inertia)
            jax.block_until_ready(inertias[-2:][0])  # two blocks at a time, and no more
        inertia = math.fsum(map(float, inertias))
        if not math.isfinite(inertia):
            raise ValueError(
                "k_means takes finite features: x has NaN, infinity, or numbers too large to be squared"
            )
        host = parallel.whole((labels, totals.sums - totals.lost, totals.counts), self.mesh)
        return _Assigned(np.concatenate(host[0])[:n], host[1], host[2].astype(np.int64), inertia)


class _Totals(NamedTuple):
    """Sums over blocks: of rows float32[k, D], what rounding added to them (Kahan), of counts int32[k]."""

    sums: Array
    lost: Array
    counts: Array


@functools.partial(jax.jit, static_argnames=("mesh", "tile", "spherical"), donate_argnums=0)
def _add_block(
    totals: _Totals,
    centroids: Array,
    rows: Array,
    valid: Array | int,
    *,
    mesh: Mesh,
    tile: int,
    spherical: bool,
) -> tuple[_Totals, Array, Array]:
    """Adds a block's rows to the totals; its inertia float32[] and labels int32[B] as well."""
    split, whole = PartitionSpec(parallel.DATA_AXIS), PartitionSpec()
    on_each = jax.shard_map(
        functools.partial(_assign, tile=tile, spherical=spherical, scatter=blocks.on_cpu(mesh)),
        mesh=mesh,
        in_specs=(whole, split, whole),
        out_specs=(whole, whole, whole, split),
        check_vma=False,
    )
    sums, counts, inertia, labels = on_each(centroids, rows, jnp.asarray(valid))
    addend = sums - totals.lost
    total = totals.sums + addend
    return _Totals(total, (total - totals.sums) - addend, totals.counts + counts), inertia, labels


def _assign(
    centroids: Array, rows: Array, valid: Array, *, tile: int, spherical: bool, scatter: bool
) -> tuple[Array, Array, Array, Array]:
    """The part of one device: sums and counts by cluster and inertia of all devices, its own labels.

    Tile by tile, so that the scores [tile, k] are all that is held of N times k numbers.
    """
    k = len(centroids)
    # Distances are those of what is left without a common vector: a large one would leave no digits for them.
    shift = jnp.zeros(centroids.shape[1]) if spherical else jnp.mean(centroids, axis=0)
    near = centroids - shift
    ordered, offsets = in_slices(near, 0.0), in_slices(-0.5 * jnp.sum(near**2, axis=1), -jnp.inf)
    numbers = jax.lax.axis_index(parallel.DATA_AXIS) * len(rows) + jnp.arange(len(rows))

    def one(carry: tuple[Array, Array, Array], each: tuple[Array, Array]) -> tuple[tuple, Array]:
        sums, counts, inertia = carry
        x, is_row = each
        if spherical:
            norms = jnp.linalg.norm(x, axis=1, keepdims=True)
            x = x / jnp.maximum(norms, jnp.finfo(x.dtype).tiny)
        labels = first_of_largest(jnp.matmul(x - shift, ordered.T, precision=HIGHEST) + offsets)
        distances = jnp.sum((x - centroids[labels]) ** 2, axis=1)
        cluster = jnp.where(is_row, labels, k)  # k is no cluster: padding adds nothing
        if scatter:
            sums = sums.at[cluster].add(x, mode="drop")
        else:
            sums += jnp.matmul(jax.nn.one_hot(cluster, k, axis=0), x, precision=HIGHEST)
        counts = counts.at[cluster].add(1, mode="drop")
        return (sums, counts, inertia + jnp.sum(distances, where=is_row)), labels

    start = jnp.zeros_like(centroids), jnp.zeros(k, jnp.int32), jnp.zeros(())
    tiles = rows.reshape(-1, tile, rows.shape[1]), (numbers < valid).reshape(-1, tile)
    sums, labels = jax.lax.scan(one, start, tiles)
    return *jax.lax.psum(sums, parallel.DATA_AXIS), labels.ravel()


# XLA's arg max on a CPU goes through its numbers one by one, which takes a fifth of an iteration. Comparing eight
# slices of the columns with each other, element by element, is vectorised, and leaves it an eighth of the numbers.
# Slice i has the clusters i, 8 + i, 16 + i, ..., so that of equal scores the first slice of the first position is
# the lowest cluster.


def in_slices(x: Array, padding: float) -> Array:
    """The entries 0, 8, 16, ... of an array, then 1, 9, 17, ..., and so on; padded to a multiple of 8."""
    padded = jnp.pad(x, ((0, -len(x) % SLICES), *((0, 0),) * (x.ndim - 1)), constant_values=padding)
    return padded.reshape(-1, SLICES, *x.shape[1:]).swapaxes(0, 1).reshape(padded.shape)


def first_of_largest(scores: Array) -> Array:
    """The cluster with the largest score of each row, int32[B], where columns are in the order of `in_slices`."""
    best, *others = jnp.split(scores, SLICES, axis=1)
    slices = jnp.zeros(best.shape, jnp.int32)
    for number, other in enumerate(others, start=1):
        slices = jnp.where(other > best, number, slices)
        best = jnp.maximum(best, other)
    position = jnp.argmax(best, axis=1).astype(jnp.int32)
    return SLICES * position + jnp.take_along_axis(slices, position[:, None], axis=1)[:, 0]
