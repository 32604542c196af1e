"""Mesh, shardings, and what must cross processes."""

from __future__ import annotations

import collections
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jssl.errors import UserError
from jssl.types import Array, PyTree

DATA_AXIS = "data"


def is_main_process() -> bool:
    """Whether this process writes logs, pictures and results."""
    return jax.process_index() == 0


def all_devices() -> list[jax.Device]:
    """The devices of all processes.

    Raises:
      UserError: if JAX finds none, as with a JAX_PLATFORMS that is not there; it names the variable.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS")
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = f"JAX_PLATFORMS={asked} asks for what is not there: unset it, or " if asked else ""
        raise UserError(
            f"JAX finds no device ({reason[:200]}): {hint}install jax for this accelerator"
        ) from error


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-axis mesh over all devices of all processes (or over those given)."""
    devices = all_devices() if devices is None else devices
    return Mesh(np.asarray(devices), (DATA_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows are split evenly over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))


def row_shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """Rows split where an array [N, D] has rows that split evenly; whatever else is there is whole everywhere."""

    def sharding(x: Any) -> NamedSharding:
        split = x.ndim > 1 and x.shape[0] % mesh.size == 0
        return batch_sharding(mesh) if split else replicated(mesh)

    return jax.tree.map(sharding, tree)


def column_sharding(x: Any, mesh: Mesh) -> NamedSharding:
    """Columns of an array [D, K] split if they split evenly, the array whole everywhere if not."""
    split = x.ndim == 2 and x.shape[1] % mesh.size == 0
    return NamedSharding(mesh, PartitionSpec(None, DATA_AXIS)) if split else replicated(mesh)


def split_shardings(tree: PyTree, mesh: Mesh, min_size: int) -> PyTree:
    """Arrays of at least so many elements split over the devices, along the longest axis that splits evenly (FSDP).

    References:
      Rajbhandari et al., ZeRO, 2020, stage 3. https://arxiv.org/abs/1910.02054
    """

    def sharding(x: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(x.shape) if length % mesh.size == 0]
        if x.size < min_size or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: x.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, DATA_AXIS))

    return jax.tree.map(sharding, tree)


def gathered(tree: PyTree, shardings: PyTree, mesh: Mesh, but: Sequence[str] = ()) -> PyTree:
    """The split arrays whole, for use within jit, but those below some names; their gradient comes back split.

    Left to itself the partitioner would also move activations instead, which are larger.
    """

    def whole(tree: PyTree) -> PyTree:
        return jax.lax.with_sharding_constraint(tree, wanted)

    def want(path: Any, split: NamedSharding) -> NamedSharding:
        return split if any(getattr(key, "key", None) in but for key in path) else replicated(mesh)

    wanted = jax.tree_util.tree_map_with_path(want, shardings)

    @jax.custom_vjp
    def gather(tree: PyTree) -> PyTree:
        return whole(tree)

    gather.defvjp(
        lambda tree: (whole(tree), None),
        lambda _, gradient: (jax.lax.with_sharding_constraint(gradient, shardings),),
    )
    return gather(tree)


def check_batch_size(batch_size: int, mesh: Mesh, what: str) -> None:
    """Raises UserError unless a global batch splits evenly over the mesh."""
    if batch_size <= 0 or batch_size % mesh.size:
        raise UserError(
            f"{what}={batch_size} must be a positive multiple of the {mesh.size} device(s): "
            f"try {max(1, round(batch_size / mesh.size)) * mesh.size}"
        )


def check_fits(batch: PyTree, what: str) -> None:
    """Raises UserError if this process's rows of a batch, given by shapes, are more than the memory of its machine."""
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(batch)) / jax.process_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UserError(
            f"{what}: a batch is {size / 2**30:,.0f} GiB of pixels, and this machine has {memory / 2**30:,.0f}: set a "
            "smaller one"
        )


def global_batch(local: PyTree, mesh: Mesh) -> PyTree:
    """Makes global arrays of each process's rows; process p holds the p-th slice of the batch."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), local)


def put_replicated(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies host values (equal in all processes) to every device."""
    sharding = replicated(mesh)

    def put(x: Any) -> Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def put_rows(x: np.ndarray, mesh: Mesh) -> Array:
    """Shards the rows of a host array (equal in all processes); rows must split evenly."""
    sharding = batch_sharding(mesh)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def barrier(name: str) -> None:
    """Waits until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """Whether the flag is up in any process; every process must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


class SharedFlag:
    """Whether a flag is up in any process. All processes learn it at the same call, `lag` calls late: no device waits.

    Every process must call it equally often; alone it learns at once.

    Args:
      mesh: of the run.
      lag: calls between asking and knowing.
    """

    def __init__(self, mesh: Mesh, lag: int = 2):
        self._mesh, self._lag = mesh, lag
        self._asked: collections.deque[jax.Array] = collections.deque()
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))

    def __call__(self, flag: bool) -> bool:
        if jax.process_count() == 1:
            return flag
        mine = np.full(len(self._mesh.local_devices), flag)
        self._asked.append(self._any(global_batch(mine, self._mesh)))
        return len(self._asked) > self._lag and bool(self._asked.popleft())


def parts_together(part: np.ndarray) -> np.ndarray:
    """The rows of all processes, which may have different numbers of them, in their order; every process must ask."""
    if jax.process_count() == 1:
        return part
    lengths = multihost_utils.process_allgather(np.asarray(len(part)))
    padded = np.pad(part, [(0, int(lengths.max()) - len(part))] + [(0, 0)] * (part.ndim - 1))
    rows = multihost_utils.process_allgather(padded)
    return np.concatenate([each[:length] for each, length in zip(rows, lengths)])


def whole(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """NumPy copies of sharded arrays, in every process; one alone needs no mesh."""
    if jax.process_count() > 1 and mesh is not None:
        tree = jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(np.asarray, tree)


def pad_rows(x: np.ndarray, multiple: int) -> np.ndarray:
    """The array with rows of zeros at its end, up to a multiple."""
    return np.pad(x, [(0, -len(x) % multiple)] + [(0, 0)] * (x.ndim - 1))
