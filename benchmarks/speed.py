"""How fast the parts are, one JSON line a measurement.

python benchmarks/speed.py --preset=convnet                            everything
python benchmarks/speed.py --preset=resnet18 --only=train_step,end_to_end
python benchmarks/speed.py --preset=convnet --peer=lightly             beside lightly, in turn, in one run

Images are source images: the two views of an image count as one. Each measurement is warmed up, then repeated
(--repeats) for at least --seconds; a line has the smallest, the median and the largest of the repeats, the load of
the machine, and the target where there is one. CIFAR-10 is looked for in TFDS_DATA_DIR and never downloaded.
"""

from __future__ import annotations

import argparse
import functools
import os
import pathlib
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import numpy as np

from benchmarks import parts, timing, versus
from benchmarks.parts import Settings
from benchmarks.timing import Line
from jssl.configs import recipes, simclr
from jssl.data import pipeline, sources
from jssl.data.sources import tfds as tfds_source

BLOCK = 1024  # rows of nt_xent's blockwise form
DECODED = 10_000  # images of decode_into_memory


def startup(settings: Settings) -> Iterator[Line]:
    """A new process: the command line's help, and everything that a run imports."""
    commands = {"--help": ["-m", "jssl.main", "--help"], "imports": ["-c", "from jssl.runs import stages"]}
    for name, command in commands.items():
        run = functools.partial(
            subprocess.run, [sys.executable, *command], cwd=parts.ROOT, capture_output=True, check=False
        )
        run()
        seconds = [timing.timed(run) for _ in range(settings.repeats)]
        target = {"target": 4.0} if name == "--help" else {}
        yield timing.summary("startup", "seconds", seconds, **target, config={"of": name})


def pipeline_arrays(settings: Settings) -> Iterator[Line]:
    """Batches of an array in memory, on the host."""
    batches = pipeline.TrainBatches(parts.random_source(), 256, 0, parts.ENDLESS)
    seconds = settings.measure(parts.reading(pipeline.read_ahead(batches)))
    config = {"batch": 256, "workers": 0, "threads": 2, "image": [32, 32, 3]}
    yield timing.throughput("pipeline_arrays", 256, seconds, target=50_000, config=config)


def cifar10(settings: Settings, split: str) -> tfds_source.TfdsSource | str:
    """The data set, or why there is none."""
    folder = pathlib.Path(settings.data_dir).expanduser()
    if not (folder / "cifar10").is_dir():
        return f"no folder cifar10 in {folder}: set TFDS_DATA_DIR or --data_dir"
    return tfds_source.TfdsSource("cifar10", split, str(folder))


def pipeline_tfds(settings: Settings) -> Iterator[Line]:
    """Batches whose records are read and decoded as they come, in threads and in processes."""
    source = cifar10(settings, "train")
    if isinstance(source, str):
        yield {"what": "pipeline_tfds", "skipped": source}
        return
    for workers in (0, 2):
        batches = pipeline.TrainBatches(source, 256, 0, parts.ENDLESS)
        seconds = settings.measure(parts.reading(pipeline.read_ahead(batches, workers=workers, threads=2)))
        config = {"batch": 256, "workers": workers, "threads": 2, "data": "cifar10"}
        yield timing.throughput("pipeline_tfds", 256, seconds, target=5_000, config=config)


def decode_into_memory(settings: Settings) -> Iterator[Line]:
    """What a run does with a set as small as CIFAR-10 before its first step; reads the labels too."""
    seconds = []
    for _ in range(settings.repeats + 1):
        source = cifar10(settings, f"train[:{DECODED}]")
        if isinstance(source, str):
            yield {"what": "decode_into_memory", "skipped": source}
            return
        seconds.append(timing.timed(functools.partial(sources.in_memory, source)))
    config = {"images": DECODED, "data": "cifar10"}
    yield timing.throughput("decode_into_memory", DECODED, seconds[1:], config=config)


def augmentation(settings: Settings) -> Iterator[Line]:
    """Both views of an image, on the device, without and with blur."""
    for blur in (0.0, 0.5):
        config = simclr.get_config("cifar10")
        config.data.unlabeled.views = recipes.pair(32, blur=(blur, blur))
        seconds = settings.measure(parts.augmenting(config, 256))
        target = {} if blur else {"target": 8_000}
        shown = {"batch": 256, "size": 32, "blur_prob": blur}
        yield timing.throughput("augmentation", 256, seconds, **target, config=shown)


def train_step(settings: Settings) -> Iterator[Line]:
    """Augmentation, loss, gradient and update of a batch that is on the device already."""
    model = parts.training(settings)
    seconds = settings.measure(model.stepping)
    memory = model.step.memory_analysis()
    flops = model.program.flops
    yield timing.throughput(
        "train_step",
        settings.batch,
        seconds,
        compile_seconds=model.compile_seconds,
        temp_bytes=None if memory is None else memory.temp_size_in_bytes,
        flops_per_second=flops / float(np.median(seconds)),
        config=settings.describe(model.program.config),
    )


def end_to_end(settings: Settings) -> Iterator[Line]:
    """The loop without its monitor: batches from an array in memory through grain to the device, and steps."""
    model = parts.training(settings)
    seconds = settings.measure(model.end_to_end)
    waited = model.waited[-settings.repeats :]
    target = {"target": 1_500} if settings.preset == "convnet" else {}
    yield timing.throughput(
        "end_to_end",
        settings.batch,
        seconds,
        **target,
        waiting_for_data=float(np.median(waited)),
        waiting_for_data_max=max(waited),
        waiting_target=0.02,
        config=settings.describe(model.program.config),
    )


def nt_xent(settings: Settings) -> Iterator[Line]:
    """The loss alone, forward and backward, dense and by blocks."""
    targets: dict[tuple[int, int | None], dict[str, float]] = {
        (4096, None): {"target": 0.55},
        (16384, BLOCK): {"target_bytes": 1e9},
    }
    for n in (256, 1024, 4096, 16384):
        for block in (None, BLOCK):
            if n == 16384 and block is None and not settings.large:
                continue
            work, temp = parts.nt_xent(n, block)
            seconds = settings.measure(work)
            config = {"n": n, "dim": parts.EMBEDDING, "block": block}
            target = targets.get((n, block), {})
            yield timing.summary("nt_xent", "seconds", seconds, temp_bytes=temp, **target, config=config)


def peak_rss(_: Settings) -> Iterator[Line]:
    """The most memory that this process held so far; hence the last of all measurements."""
    unit = 1 if sys.platform == "darwin" else 1024
    yield {"what": "peak_rss", "bytes": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}


MEASUREMENTS: dict[str, Callable[[Settings], Iterator[Line]]] = {
    "startup": startup,
    "pipeline_arrays": pipeline_arrays,
    "pipeline_tfds": pipeline_tfds,
    "decode_into_memory": decode_into_memory,
    "augmentation": augmentation,
    "train_step": train_step,
    "end_to_end": end_to_end,
    "nt_xent": nt_xent,
    "peak_rss": peak_rss,
}


def machine() -> Line:
    """What it was measured on."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "what": "machine",
        "cores": cores,
        "quiet": os.getloadavg()[0] < 0.25 * cores,  # if not, quote no figure of this run
        "devices": jax.device_count(),
        "device": device.device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", choices=parts.PRESETS, default="convnet")
    parser.add_argument("--peer", choices=["lightly"], help="measure beside another library, in turn")
    parser.add_argument("--peer_python", default=sys.executable, help="the interpreter that has the peer")
    parser.add_argument("--only", default="", help="names of measurements, with commas")
    parser.add_argument("--batch", type=int, default=0, help="source images a step; 0: the preset's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a repeat lasts at least")
    parser.add_argument("--large", action="store_true", help="also nt_xent, N=16384, dense: 10 GB and more")
    data_dir = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    parser.add_argument("--data_dir", default=data_dir, help="of TFDS")
    flags = parser.parse_args()
    flags.valid = list(versus.COMPARISONS if flags.peer else MEASUREMENTS)
    flags.only = flags.only.split(",") if flags.only else flags.valid
    unknown = set(flags.only) - set(flags.valid)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; valid are {', '.join(flags.valid)}")
    if flags.repeats < 1 or flags.batch < 0:
        parser.error("--repeats must be at least 1, --batch at least 0")
    return flags


def main() -> None:
    """Prints the lines as they come."""
    flags = parse()
    batch = flags.batch or parts.PRESETS[flags.preset].batch
    settings = Settings(flags.preset, batch, flags.repeats, flags.seconds, flags.large, flags.data_dir)
    timing.show(machine())
    if flags.peer:
        for line in versus.compare(settings, flags.peer_python, flags.only):
            timing.show(line)
        return
    for name in flags.valid:
        if name in flags.only:
            for line in MEASUREMENTS[name](settings):
                timing.show(line)


if __name__ == "__main__":
    main()
