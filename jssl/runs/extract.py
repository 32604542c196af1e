"""What methods that are refreshed see of the unlabelled stream."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np

from jssl import parallel, rng
from jssl.data.datasets import Data
from jssl.data.pipeline import BadImages, DeviceIterator, TrainBatches
from jssl.data.sources import Source
from jssl.data.streams import augmented
from jssl.evaluation.extract import Features, extract_source
from jssl.train.program import Program
from jssl.train.progress import counting
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class UnlabeledExtract:
    """See `jssl.methods.base.Extract`."""

    program: Program
    data: Data
    _jitted: dict[Callable[..., Array], Callable[..., Array]] = dataclasses.field(default_factory=dict)

    @property
    def labels(self) -> np.ndarray:
        found = self._source.labels()
        return np.full(len(self._source), -1, np.int32) if found is None else found

    def __call__(self, params: Params, state: State, output: str = "features") -> Features:
        function = functools.partial(self.program.output(output), params, state)
        return extract_source(self.program, function, self._source, bad_images=self._bad_images)

    @functools.cached_property
    def _source(self) -> Source:
        return self.data.unlabeled()[0]

    @functools.cached_property
    def _bad_images(self) -> BadImages:
        """Each is named once; training is what they may stop."""
        return BadImages(self._source, max_fraction=1.0)

    def training(
        self,
        params: Params,
        state: State,
        function: Callable[[Params, State, Batch, Array], Array],
        key: Array,
    ) -> Features:
        prog, stream = self.program, self.program.streams["unlabeled"]
        source, options = self._source, prog.config.data
        count, steps = len(source), math.ceil(len(source) / stream.batch_size)
        seed = int(jax.random.bits(rng.derive(key, "order")))
        crops = stream.views if stream.host_crops else None
        batches = TrainBatches(source, stream.batch_size, seed, steps, crop_specs=crops)
        reads = DeviceIterator(batches, prog.mesh, self._bad_images, options.workers, options.threads)
        found, seen = np.empty((0, 0), np.float32), np.zeros(count, bool)
        compiled = self._compiled(function)
        with counting(f"features of {source.name} in training mode", count) as done:
            for step, batch in enumerate(reads):
                own = rng.derive(key, "batch", step)
                rows = np.asarray(compiled(params, state, {"unlabeled": batch}, own), np.float32)
                index = parallel.whole(batch["index"], prog.mesh)
                found = found if step else np.empty((count, rows.shape[1]), np.float32)
                found[index], seen[index] = rows, True
                done(int(seen.sum()))
        (index,) = np.nonzero(seen)
        return Features(found[index], self.labels[index], index.astype(np.int32))

    def _compiled(
        self, function: Callable[[Params, State, Batch, Array], Array]
    ) -> Callable[[Params, State, Batch, Array], Array]:
        """The function of augmented batches as one of batches as they are read, whole on every device."""
        prog = self.program
        if function in self._jitted:
            return self._jitted[function]

        def apply(params: Params, state: State, batch: Batch, key: Array) -> Array:
            streams = {"unlabeled": prog.streams["unlabeled"]}
            seen = augmented(prog.config, rng.derive(key, "augment"), batch, streams)
            return function(params, state, seen, key)

        self._jitted[function] = jax.jit(apply, out_shardings=parallel.replicated(prog.mesh))
        return self._jitted[function]
