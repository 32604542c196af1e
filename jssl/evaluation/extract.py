"""Features of a whole source, batch by batch over all devices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import Mesh

from jssl import parallel
from jssl.data.sources import Source
from jssl.errors import UserError
from jssl.train.progress import counting
from jssl.train.signals import Interrupted
from jssl.types import Array

if TYPE_CHECKING:
    from jssl.data.pipeline import BadImages, EvalBatches
    from jssl.data.text import Tokenizer
    from jssl.train.program import Program
    from jssl.train.state import TrainState

POOLED_PIXELS = 32  # images larger than this are shrunk before their pixels serve as features


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of the readable images, in the order of their source; equal in all processes.

    Attributes:
      x: float32[N, D].
      labels: int32[N], -1 where there is none.
      index: int32[N], position in the source.
    """

    x: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    def rows(self, keep: np.ndarray) -> Features:
        """The features of some rows, bool[N] or int[M]."""
        return Features(self.x[keep], self.labels[keep], self.index[keep])


def never() -> bool:
    """Nothing stops an evaluation but its end."""
    return False


def extract(
    apply: Callable[[Array], Array | np.ndarray],
    batches: EvalBatches,
    mesh: Mesh,
    bad_images: BadImages,
    workers: int = 0,
    threads: int = 2,
    stop: Callable[[], bool] = never,
) -> Features:
    """Runs `apply` (images as they are, sharded over the mesh -> float32[B, D] on every device) over a source."""
    from jssl.data.pipeline import read_ahead

    count, most = 0, len(batches.source)
    x, labels, index = np.zeros((0, 0), np.float32), np.empty(most, np.int32), np.empty(most, np.int32)
    with counting(f"features of {batches.source.name}", most) as done:
        for host_batch in read_ahead(batches, workers=workers, threads=threads):
            if stop():
                raise Interrupted
            bad_images.note(host_batch.pop("bad"))
            batch = parallel.global_batch(host_batch, mesh)
            rows = parallel.whole({name: batch[name] for name in ("mask", "label", "index")}, mesh)
            keep = rows["mask"]
            found = np.asarray(apply(batch["image"]), np.float32)[keep]
            if not np.isfinite(found).all():
                raise UserError(
                    f"features of {batches.source.name} are not finite: the parameters diverged; take an earlier "
                    "checkpoint (--step), or a smaller optim.lr"
                )
            if not count:  # one array for all: theirs may be much of the memory
                x = np.empty((most, found.shape[1]), np.float32)
            place = slice(count, count + len(found))
            x[place], labels[place], index[place] = found, rows["label"][keep], rows["index"][keep]
            count += len(found)
            done(count)
    if not count:
        raise UserError(f"no image of {batches.source.name} is readable")
    return Features(x[:count], labels[:count], index[:count])


def extract_source(
    program: Program,
    apply: Callable[[Array], Array | np.ndarray],
    source: Source,
    stop: Callable[[], bool] = never,
    bad_images: BadImages | None = None,
) -> Features:
    """Features of all readable images of a source, made square on the host where the program's data are."""
    from jssl.data.pipeline import BadImages, EvalBatches

    data, evals = program.config.data, program.config.evals
    crop = program.main.host_crops or source.image_shape is None
    batches = EvalBatches(source, evals.batch_size, program.uncropped_size if crop else None)
    if bad_images is None:
        bad_images = BadImages(source, max_fraction=1.0)  # they are left out; training is what they may stop
    return extract(apply, batches, program.mesh, bad_images, data.workers, data.threads, stop)


def embed_texts(
    program: Program, state: TrainState, tokenizer: Tokenizer, texts: Sequence[str]
) -> np.ndarray:
    """The embeddings of texts, float32[N, D], in batches of `evals.batch_size`."""
    apply = functools.partial(program.text_embedding, state.params, state.method_state)
    return in_batches(apply, tokenizer(texts), program)


def outputs_of_sounds(program: Program, state: TrainState, waves: np.ndarray, output: str) -> np.ndarray:
    """An output for waveforms int16[N, samples], float32[N, D], in batches of `evals.batch_size`."""

    def apply(part: Array) -> Array:
        return program.sound(state.params, state.method_state, part)[output]

    return in_batches(apply, waves, program)


def labels_of(source: Source) -> np.ndarray:
    """The labels of a source, int32[N], -1 where it has none."""
    labels = source.labels()
    return np.full(len(source), -1, np.int32) if labels is None else labels


def in_batches(apply: Callable[[Array], Array], rows: np.ndarray, program: Program) -> np.ndarray:
    """A function of batches, which the devices share, of an array that all processes have: float32[N, D]."""
    size, sharding = program.config.evals.batch_size, parallel.batch_sharding(program.mesh)
    parts = []
    for start in range(0, max(1, len(rows)), size):
        part = jax.device_put(parallel.pad_rows(rows[start : start + size], size), sharding)
        parts.append(np.asarray(apply(part), np.float32))
    return np.concatenate(parts)[: len(rows)]


def num_classes(*labels: np.ndarray) -> int:
    """One more than the largest of some labels, int[N] each."""
    return 1 + max(int(some.max()) for some in labels)


def pixels(images: Array, side: int) -> Array:
    """The baseline that any encoder must beat: the pixels themselves, float32[B, S * S * C], S = min(side, 32)."""
    from jssl.data import augment

    size = min(POOLED_PIXELS, side)
    shrunk = augment.to_float(augment.center_resize(images, size))
    return shrunk.reshape(len(shrunk), -1)


def jit_pixels(
    mesh: Mesh, side: int, seen: Callable[[Array], Array] = lambda images: images
) -> Callable[[Array], Array]:
    """`pixels`, whole on every device; of one side, whatever the images of a source have.

    Args:
      mesh: the devices.
      side: of the images that evaluators see.
      seen: of images as they are read, see `Stream.seen`.
    """
    return jax.jit(lambda images: pixels(seen(images), side), out_shardings=parallel.replicated(mesh))
