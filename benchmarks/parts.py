"""The parts of jssl that are timed, each as a `Work`. Import this with the repository's root on sys.path."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jssl
from benchmarks import timing
from benchmarks.timing import Work
from jssl import losses, rng
from jssl.data import augment, pipeline, sources, streams
from jssl.data.augment.view_spec import ViewSpec
from jssl.train import program
from jssl.train.monitor import IN_FLIGHT
from jssl.types import Batch

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUM_EXAMPLES = 50_000
ENDLESS = 10**7  # steps of a stream that no benchmark reads to its end
EMBEDDING = 128  # of nt_xent alone
TEMPERATURE = 0.2


@dataclasses.dataclass(frozen=True)
class Preset:
    """An encoder, the batch that its machine can take, the side of its views, and the config it is trained by."""

    encoder: str
    batch: int
    width: float = 1.0
    size: int = 32
    config: str = "simclr:cifar10"


PRESETS = {
    "convnet": Preset("convnet", 256),
    "resnet18": Preset("resnet18", 64),
    "resnet18_w16": Preset("resnet18", 64, width=0.25),
    "resnet50": Preset("resnet50", 256, size=224, config="simclr:imagenet"),
    "vit_s": Preset("vit_s", 256, size=224, config="barlow_twins:imagenet"),
    "mae_vit_b": Preset("vit_b", 256, size=224, config="mae:imagenet"),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the flags say.

    Attributes:
      preset: name in PRESETS.
      batch: source images of a training step.
      repeats: of each measurement.
      seconds: that a repeat lasts at least.
      large: also what takes minutes or many gigabytes.
      data_dir: of TFDS.
      size: side of the views; 0: the preset's.
      workers: processes that decode; 0: threads.
    """

    preset: str
    batch: int
    repeats: int
    seconds: float
    large: bool
    data_dir: str
    size: int = 0
    workers: int = 0

    def measure(self, work: Work) -> list[float]:
        """Seconds per unit of work."""
        return timing.measure(work, self.repeats, self.seconds)

    def config(self) -> Any:
        """The config of the preset."""
        preset = PRESETS[self.preset]
        config = jssl.get_config(preset.config)
        config.encoder.name = preset.encoder
        config.encoder.resnet.width = preset.width
        config.data.unlabeled.batch_size = self.batch
        config.data.workers = self.workers
        for view in config.data.unlabeled.views.values():
            view.size = self.size or preset.size
        return config

    def describe(self, config: Any) -> dict[str, Any]:
        """What a line says of a training step."""
        return {"preset": self.preset, "batch": self.batch, "optimizer": config.optim.name}


@functools.cache
def random_source(side: int = 32) -> sources.ArraySource:
    """As large as CIFAR-10; of larger images as many fewer."""
    count = NUM_EXAMPLES * 32**2 // side**2
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return sources.ArraySource("random", images, np.arange(count, dtype=np.int32) % 10)


def reading(iterator: Iterator[Any]) -> Work:
    """Takes batches from an endless iterator."""

    def read(count: int) -> None:
        for _ in range(count):
            next(iterator)

    return lambda count: timing.timed(lambda: read(count))


def calling(function: Callable[..., Any], *args: Any) -> Work:
    """Calls a compiled function and waits for it every time."""

    def call(count: int) -> None:
        for _ in range(count):
            jax.block_until_ready(function(*args))

    return lambda count: timing.timed(lambda: call(count))


def augmenting(config: Any, batch: int) -> Work:
    """Makes both views of a fixed batch on the device."""
    specs = {name: ViewSpec(**view) for name, view in config.data.unlabeled.views.items()}
    mean, std = config.data.mean, config.data.std
    views = jax.jit(lambda key, images: augment.views(key, images, specs, mean, std))
    return calling(views, rng.root(0), jnp.asarray(random_source().images[:batch]))


def nt_xent(n: int, block: int | None) -> tuple[Work, int | None]:
    """Forward and backward of a batch of n pairs, and the bytes that the compiled program needs for itself."""
    loss = functools.partial(
        losses.nt_xent, temperature=TEMPERATURE, similarity=losses.Blockwise(block) if block else losses.DENSE
    )
    first, second = jax.random.normal(rng.root(0), (2, n, EMBEDDING))
    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(first, second).compile()
    memory = compiled.memory_analysis()
    return calling(compiled, first, second), None if memory is None else memory.temp_size_in_bytes


class Training:
    """A compiled step with a state to run it on, fed from a source of images.

    Args:
      config: what to train.
      source: of images; without one, random ones of CIFAR-10's size in memory.

    Attributes:
      program: what is trained.
      step: its compiled update.
      compile_seconds: tracing and compiling it.
      bytes_of_step: memory of the device that it needs, its state and its batch included.
      waited: share of the time spent waiting for data, once an end-to-end call.
    """

    def __init__(self, config: Any, source: sources.Source | None = None):
        source = source or random_source()
        info = program.DataInfo(len(source), source.image_shape, source.channels, 10)
        self.program = program.make_program(config, info)
        start = time.perf_counter()
        self.step = self.program.compile()
        self.compile_seconds = time.perf_counter() - start
        memory = self.step.memory_analysis()
        kinds = ("argument", "output", "temp")
        sizes = [] if memory is None else [getattr(memory, f"{kind}_size_in_bytes") for kind in kinds]
        self.bytes_of_step = sum(sizes) - (memory.alias_size_in_bytes if memory else 0)
        self.waited: list[float] = []
        self._state = self.program.init()
        self._views = jax.jit(
            functools.partial(streams.augmented, config, rng.root(0), streams=self.program.streams)
        )
        data = config.data
        crops = self.program.main.views if self.program.main.host_crops else None
        batches = pipeline.TrainBatches(
            source, data.unlabeled.batch_size, config.seed, ENDLESS, crop_specs=crops
        )
        bad = pipeline.BadImages(source, data.max_bad_fraction)
        self._data = pipeline.DeviceIterator(batches, self.program.mesh, bad, data.workers, data.threads)

    def stepping(self, count: int) -> float:
        """The step alone, on a batch that is on the devices already."""
        batch = next(self._data)
        jax.block_until_ready(batch)
        return timing.timed(lambda: self._steps(count, lambda: batch))

    def augmenting(self, count: int) -> float:
        """The views alone, on the device, of a batch that is there already."""
        batch = next(self._data)
        jax.block_until_ready(batch)
        return calling(self._views, {"unlabeled": batch})(count)

    def end_to_end(self, count: int) -> float:
        """Data and steps; notes what the loop would report as waiting."""
        before = self._data.seconds_waiting
        seconds = timing.timed(lambda: self._steps(count, lambda: next(self._data)))
        self.waited.append((self._data.seconds_waiting - before) / seconds)
        return seconds

    def profile(self, folder: str, count: int = 3) -> None:
        """Writes a profile of some steps, without what Python does; open it in Perfetto or TensorBoard."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        self.stepping(2)
        with jax.profiler.trace(folder, profiler_options=options):
            self.stepping(count)

    def _steps(self, count: int, next_batch: Callable[[], Batch]) -> None:
        """As jssl/train/loop.py does: never more than IN_FLIGHT steps ahead of the devices."""
        values = []
        for _ in range(count):
            self._state, metrics = self.step(self._state, {"unlabeled": next_batch()})
            values.append(metrics["loss"])
            if len(values) > IN_FLIGHT:
                jax.block_until_ready(values[-1 - IN_FLIGHT])
        jax.block_until_ready(self._state)


@functools.cache
def training(settings: Settings) -> Training:
    """The preset's, compiled once."""
    return Training(settings.config())
