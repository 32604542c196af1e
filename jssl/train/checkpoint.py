"""Checkpoints of the training state; the only file that imports orbax.

A checkpoint holds the whole TrainState and a small JSON: the data iterator's state, the results so far, and
checksums of both, because orbax does not notice a flipped bit.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from jssl import parallel, storage
from jssl.errors import NO_ROOM, NotFinite, TryAgain, UserError, causes, may_pass
from jssl.types import Array, PyTree

FOLDER = "checkpoints"
CORRUPT_FOLDER = "corrupt_checkpoints"
NAMED = 3  # parameters in a message
OPTIMIZER = "opt_state"
CHECKSUM = "checksum"  # of all else in the JSON
SMALL = 1 << 16  # elements; larger leaves are not copied to be checked together
NO_ROOM_WORDS = ("No space left", "quota", "File too large")
# How the libraries below name what may be otherwise in a moment.
PASSING_WORDS = (
    *(
        "Too many open files",
        "Cannot allocate memory",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
    ),
    *("Permission denied", "PERMISSION_DENIED", "Input/output error", "Stale file handle", "out of memory"),
    *("Resource temporarily unavailable", "Connection", "timed out"),
)

# Of what orbax cannot do we hear by its exceptions; its log tells it again, with tracebacks.
logging.get_absl_logger().addFilter(lambda record: "/orbax/" not in record.pathname)

# Hosts share the writing of what is whole on all of them, but only of large arrays: to cut one takes a program.
SHARED_BYTES = 1 << 20
ocp.type_handlers.register_type_handler(
    jax.Array,
    ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SHARED_BYTES),
    override=True,
)


class Checkpointer:
    """Saves checkpoints without stopping the training; the last k, the best and every n-th stay.

    Args:
      workdir: the run's folder; checkpoints go below it.
      keep_last: how many of the newest stay, at least 1; two or more leave one to fall back to.
      keep_best: whether the one with the highest `score` stays too.
      keep_every_steps: every checkpoint at a multiple of this stays; 0 for none.
      read_only: touch nothing, for those who look at a run that may be going on.
    """

    def __init__(
        self,
        workdir: epath.Path,
        keep_last: int = 1,
        keep_best: bool = False,
        keep_every_steps: int = 0,
        read_only: bool = False,
    ):
        policy: list[Any] = [policies.LatestN(keep_last)]
        if keep_best:
            policy.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics["score"],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        if keep_every_steps:
            policy.append(policies.EveryNSteps(keep_every_steps))
        self._workdir = storage.absolute(epath.Path(workdir))  # orbax takes no relative paths
        self._read_only = read_only
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(policy),
            cleanup_tmp_directories=not read_only,
            create=not read_only,
            read_only=read_only,
        )
        self._open()

    def _open(self) -> None:
        self._manager = ocp.CheckpointManager(self._workdir / FOLDER, options=self._options)

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree, extra: dict[str, Any], score: float | None = None) -> None:
        """Starts saving; returns as soon as the state is copied off the devices.

        Raises:
          NotFinite: if something in the state is not: it is not saved, and what was saved before stays.
          UserError: if this or the save before it failed, for want of disk space, say.
        """
        found, finite = verified(state)
        if not finite:
            raise NotFinite(
                f"the state of step {step} holds numbers that are not finite, and is not saved; last intact "
                f"checkpoint: {self._last()}. Try a smaller optim.lr or optim.clip_norm, in a new --workdir"
            )
        extra = {**extra, "step": step, "structure": structure(state), "fingerprint": int(found)}
        extra[CHECKSUM] = checksum(extra)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra)),
                metrics=None if score is None else {"score": score},
                force=True,
            )
        except Exception as error:
            raise self._save_error(step, error) from error

    def wait(self) -> None:
        """Returns when everything is on disk; raises UserError if it could not be written."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._save_error(None, error) from error

    def _last(self) -> str:
        steps = self.steps()
        return str(steps[-1]) if steps else "none"

    def _save_error(self, step: int | None, error: Exception) -> UserError:
        which = "" if step is None else f" of step {step}"
        text = " ".join(str(error).split())
        reason = text if len(text) <= 160 else f"...{text[-160:]}"  # what the system said comes last
        full = any(isinstance(link, OSError) and link.errno in NO_ROOM for link in causes(error))
        then = "make room and " if full or any(words in text for words in NO_ROOM_WORDS) else ""
        return UserError(
            f"the checkpoint{which} could not be saved in {self._workdir} ({type(error).__name__}: {reason}); "
            f"last intact checkpoint: {self._last()}: {then}run the same command again to go on from there"
        )

    def restore(
        self, abstract_state: PyTree, step: int | None = None
    ) -> tuple[PyTree, dict[str, Any]] | None:
        """The newest readable checkpoint (or that of a step), or None if there is none at all.

        Args:
          abstract_state: shapes, dtypes and shardings to restore to, which may be another mesh's.
          step: which one.

        Raises:
          UserError: if there are checkpoints but none can be read, or none of that step; if one cannot be read for now:
            then nothing is moved.
        """
        steps = self.steps()
        if not steps and not self._read_only and _holds_something(self._workdir / CORRUPT_FOLDER):
            raise UserError(
                f"all checkpoints of {self._workdir} were damaged and lie in {CORRUPT_FOLDER}: choose another "
                "--workdir, or remove that folder to begin anew here"
            )
        if step is not None:
            if step not in steps:
                raise UserError(
                    f"there is no checkpoint of step {step}, only of {', '.join(map(str, steps))}"
                )
            steps = [step]
        for step in reversed(steps):
            try:
                return self._read(step, abstract_state)
            except UserError:
                raise
            except Exception as error:
                reason = " ".join(str(error).split())[:200]
                if not self._is_damaged(step, error):
                    raise TryAgain(
                        f"the checkpoint of step {step} in {self._workdir} cannot be read for now "
                        f"({type(error).__name__}: {reason}): nothing was touched, run the same command again"
                    ) from error
                logging.warning("checkpoint %d cannot be read, trying the one before: %s", step, reason)
                if not self._read_only:
                    self._set_aside(step)
        if steps:
            raise UserError(
                f"none of the checkpoints in {self._workdir / FOLDER} can be read: "
                "choose another --workdir to start again"
            )
        return None

    def _is_damaged(self, step: int, error: Exception) -> bool:
        """Whether it is the checkpoint's fault that it cannot be read: all of its files can."""
        if may_pass(error) or any(words in str(error) for words in PASSING_WORDS):
            return False
        try:
            _read_all(self._workdir / FOLDER / str(step))
        except OSError:
            return False
        return True

    def _read(self, step: int, abstract_state: PyTree) -> tuple[PyTree, dict[str, Any]]:
        extra = self._manager.restore(step, args=ocp.args.Composite(extra=ocp.args.JsonRestore())).extra
        given = extra.pop(CHECKSUM, None)
        if given != checksum(extra) or extra["step"] != step:
            raise ValueError("what stands beside the state is not what was saved")
        if extra["structure"] != structure(abstract_state):
            return self._read_without_optimizer(step, abstract_state), extra
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
        )
        # Copied because the step donates its state, and orbax may share one buffer among equal leaves.
        shardings = jax.tree.map(lambda x: x.sharding, restored.state)
        state = jax.jit(_copied, out_shardings=shardings)(restored.state)
        found, finite = verified(state)
        if int(found) != extra["fingerprint"]:
            raise ValueError(f"fingerprint {found} differs from the saved {extra['fingerprint']}")
        if not finite:
            raise ValueError("the state holds numbers that are not finite")
        return state, extra

    def _read_without_optimizer(self, step: int, abstract_state: PyTree) -> PyTree:
        """The state of an earlier version whose optimiser kept other things, for those who do not go on training.

        Raises:
          UserError: if something else differs, or training shall go on.
        """
        folder = self._workdir / FOLDER / str(step) / "state"
        saved = _described(ocp.StandardCheckpointer().metadata(folder).item_metadata.tree)
        ours = _described(abstract_state)
        differing = sorted(path for path in saved.keys() | ours.keys() if saved.get(path) != ours.get(path))
        others = [path for path in differing if not path.startswith(f"{OPTIMIZER}/")]
        if others or not self._read_only:
            changes = "; ".join(
                f"{path}: {saved.get(path, 'nothing')} there, {ours.get(path, 'nothing')} now"
                for path in (others or differing)[:NAMED]
            )
            raise UserError(
                f"the checkpoint of step {step} in {self._workdir} holds other parameters than this config and data "
                f"make ({changes}). Nothing was touched: open it with the data and the version of jssl that made it"
            )
        parts = {key: value for key, value in vars(abstract_state).items() if key != OPTIMIZER}
        with ocp.PyTreeCheckpointer() as reader:
            arguments = ocp.checkpoint_utils.construct_restore_args(parts)
            found = reader.restore(
                folder, args=ocp.args.PyTreeRestore(parts, restore_args=arguments, partial_restore=True)
            )
        if not is_finite(found):
            raise ValueError("the state holds numbers that are not finite")
        logging.warning(
            "%s: the optimiser of step %d is another version's, and is not read", self._workdir, step
        )
        return dataclasses.replace(abstract_state, **found, **{OPTIMIZER: None})

    def _set_aside(self, step: int) -> None:
        """Moves a broken checkpoint out of the way, so that its step can be saved anew."""
        self._manager.close()
        parallel.barrier(f"set_aside_{step}")
        if parallel.is_main_process():
            target = self._workdir / CORRUPT_FOLDER / str(step)
            if target.exists():
                target.rmtree()
            storage.move(self._workdir / FOLDER / str(step), target)
        parallel.barrier(f"set_aside_{step}_done")
        self._open()

    def close(self) -> None:
        """Waits for the last save and frees the threads; raises UserError if it could not be written."""
        try:
            self._manager.close()
        except Exception as error:
            raise self._save_error(None, error) from error


def checksum(extra: dict[str, Any]) -> int:
    """A checksum of JSON values, whatever the order of their keys."""
    return zlib.crc32(json.dumps(extra, sort_keys=True).encode())


def _holds_something(folder: epath.Path) -> bool:
    return folder.is_dir() and any(True for _ in folder.iterdir())


def _read_all(folder: epath.Path) -> None:
    """Reads all files below a folder; raises OSError for what cannot be read."""
    for path in folder.iterdir():
        if path.is_dir():
            _read_all(path)
        else:
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def is_finite(tree: PyTree) -> Array:
    """Whether no number of a pytree is NaN or infinite, bool[]."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(stack)) for stack, _ in _stacks(floats)] or [True]))


def _stacks(leaves: Sequence[Array]) -> list[tuple[Array, list[int]]]:
    """Small leaves of one shape and type in one array, with their numbers: fewer kernels to compile."""
    groups: dict[Any, list[int]] = {}
    for number, leaf in enumerate(leaves):
        own = number if leaf.size > SMALL else None
        groups.setdefault((leaf.shape, leaf.dtype, own), []).append(number)
    return [(jnp.stack([leaves[number] for number in group]), group) for group in groups.values()]


@jax.jit
def verified(state: PyTree) -> tuple[Array, Array]:
    """Its fingerprint and whether it is finite; one program for all checkpoints of a process."""
    return fingerprint(state), is_finite(state)


def _copied(state: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, state)


def _described(tree: PyTree) -> dict[str, str]:
    """Shapes and dtypes by path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
        if x is not None
    }


def structure(tree: PyTree) -> int:
    """A checksum of paths, shapes and dtypes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    text = ";".join(f"{jax.tree_util.keystr(path)} {x.shape} {x.dtype}" for path, x in leaves)
    return zlib.crc32(text.encode())


def fingerprint(tree: PyTree) -> Array:
    """A checksum uint32[] of all bits of a pytree; the same for every sharding.

    The sum over elements of bits times a position-dependent odd number, times 31 for every leaf that comes after,
    modulo 2^32.
    """
    leaves = jax.tree.leaves(tree)
    total = jnp.zeros((), jnp.uint32)
    for stack, numbers in _stacks(leaves):
        bits = _bits(stack).reshape(len(numbers), stack.size // len(numbers))
        position = jnp.arange(bits.shape[1], dtype=jnp.uint32)
        weights = position * jnp.uint32(2654435761) | jnp.uint32(1)
        powers = np.array([pow(31, len(leaves) - 1 - number, 1 << 32) for number in numbers], np.uint32)
        total += jnp.sum(bits * weights * powers[:, None], dtype=jnp.uint32)
    return total


def _bits(leaf: Array) -> Array:
    """The elements as uint32."""
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
