"""One GPU: SimCLR with ResNet-18 at 32 px and with ResNet-50 at 224 px in bfloat16, beside lightly, in turn.

python benchmarks/gpu.py --peer_python=PYTHON_WITH_LIGHTLY --cifar10=cifar10 --photos=FOLDER    measure, print a table
python benchmarks/gpu.py --table                                                      only print it once more
python benchmarks/gpu.py --smoke --peer_python=PYTHON_WITH_LIGHTLY --out=smoke.jsonl  try it all on a CPU, tiny

Every workload has a process of its own, and lightly another (see versus.py), with channels last, bfloat16 autocast and,
where it works, torch.compile; its images are augmented by one worker a core. Utilisation is the step's FLOP/s, as XLA
counts them, over those of a matrix product in the same run. What was not measured is said to be so.

What the speed is worth, the ordinary command line tells: SimCLR on CIFAR-10 for 200 epochs. The goal is 15 minutes
on one H200 with a kNN accuracy of 84.8 %, lightly's published value (98 minutes on an A6000):

python -m jssl.main --config=configs/simclr.py:cifar10 --config.total_epochs=200 --config.data.holdout=0 \\
    --config.evals.every_percent=0 --config.checkpoint.every_percent=25 --workdir=runs/cifar_200
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jssl.config import view

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the other library needs memory too

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import parts, speed, timing, versus
from benchmarks.parts import Settings
from benchmarks.timing import Line
from jssl.data import sources

NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is trained, and from what.

    Attributes:
      preset: name in parts.PRESETS.
      batch: source images a step.
      size: side of the views.
      side: side of the random images.
    """

    preset: str
    batch: int
    size: int
    side: int


WORKLOADS = {
    "ResNet-18, 32 px": Workload("resnet18", 512, 32, 32),
    "ResNet-50, 224 px": Workload("resnet50", 256, 224, 256),
}
SMOKE = {
    "ResNet-18, 32 px": Workload("resnet18_w16", 16, 32, 32),
    "ResNet-50, 224 px": Workload("resnet50", 4, 64, 128),
}
STEP = "train_step_without_augmentation"
ROWS = {  # row of the table -> measurement, what its value is multiplied with
    "matrix product, TFLOP/s": ("matmul", 1e-12),
    "augmentation, images/s": ("augmentation", 1),
    "step without augmentation, images/s": (STEP, 1),
    "end to end, random images, images/s": ("end_to_end", 1),
    "end to end, real images, images/s": ("end_to_end_real", 1),
    "waiting for data, real images, %": ("waiting_for_data", 100),
    "utilisation of the step, %": ("utilisation", 100),
    "peak memory of the device, GB": ("peak_memory", 1e-9),
}
GOALS = {
    ("ResNet-18, 32 px", "end_to_end"): "≥ 4 times lightly",
    ("ResNet-18, 32 px", STEP): "≥ 1.3 times lightly",
    ("ResNet-50, 224 px", "utilisation"): "≥ 35 %",
}


def measure(name: str, flags: argparse.Namespace) -> Iterator[Line]:
    """All lines of one workload."""
    yield speed.machine()
    gpu = jax.default_backend() == "gpu"
    if not gpu and not flags.smoke:
        yield {"what": "skipped", "reason": "no GPU; --smoke tries the code on a CPU"}
        return
    workload = (SMOKE if flags.smoke else WORKLOADS)[name]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = 0 if workload.side == 32 else cores  # small images are not decoded
    settings = Settings(
        workload.preset, workload.batch, flags.repeats, flags.seconds, False, "", workload.size, workers
    )
    n = 512 if flags.smoke else 8192
    task = versus.task_of(
        settings,
        side=workload.side,
        num_examples=len(parts.random_source(workload.side)),
        workers=cores,
        device="cuda" if gpu else "cpu",
        autocast=gpu,
        channels_last=True,
        compile=True,
    )
    with opened(flags.peer_python, task) as (peer, line):
        yield line
        yield from products(settings, n, gpu, peer)
        model = parts.Training(without_augmentation(settings), parts.random_source(workload.size))
        yield from versus.compare_one(settings, STEP, model.stepping, peer)
        yield {"what": "jssl/flops", "flops_per_step": model.program.flops}
        model = parts.Training(versus.config_of(settings), parts.random_source(workload.side))
        yield from versus.compare_one(settings, "augmentation", model.augmenting, peer)
        yield from versus.compare_one(settings, "end_to_end", model.end_to_end, peer)
        yield from memory(peer)
    del model
    data = flags.cifar10 if workload.side == 32 else flags.photos
    if data:
        yield from real(settings, task, data, flags.peer_python)


@contextlib.contextmanager
def opened(python: str, task: dict[str, Any]) -> Iterator[tuple[versus.Peer | None, Line]]:
    """The other library's process, if it can be had, and a line about it."""
    line = {"what": "peer", "name": "lightly"}
    if not python:
        yield None, {**line, "skipped": "no --peer_python"}
        return
    peer = versus.Peer(python, task)
    try:
        peer.ready()
    except versus.PeerError as error:
        peer.close()
        yield None, {**line, "skipped": str(error)}
        return
    try:
        yield peer, {**line, **peer.versions}
    finally:
        peer.close()


def without_augmentation(settings: Settings) -> Any:
    """The config, with views that are the images."""
    config = versus.config_of(settings)
    plain = view(settings.size)
    config.data.unlabeled.views = {"first": plain, "second": dict(plain)}
    config.data.unlabeled.crop = "device"
    return config


def products(settings: Settings, n: int, gpu: bool, peer: versus.Peer | None) -> Iterator[Line]:
    """What the matrix units can do: a square product in the precision of the network."""
    a = jnp.ones((n, n), jnp.bfloat16 if gpu else jnp.float32)
    product = jax.jit(jnp.matmul)

    def work(count: int) -> float:
        return timing.timed(lambda: jax.block_until_ready([product(a, a) for _ in range(count)]))

    for line in versus.compare_one(settings, f"matmul_{n}", work, peer):
        yield {**line, "what": line["what"].removesuffix(f"_{n}"), "flops": 2 * n**3}


def memory(peer: versus.Peer | None) -> Iterator[Line]:
    """The most that both held of the device's memory, their steps of random images included."""
    stats = jax.devices()[0].memory_stats() or {}
    theirs = peer.work("peak_bytes")(1) if peer else 0.0
    for library, value in (("jssl", stats.get("peak_bytes_in_use", 0)), ("lightly", theirs)):
        if value:
            yield {"what": f"{library}/peak_memory", "bytes": value}


def real(settings: Settings, task: dict[str, Any], data: str, python: str) -> Iterator[Line]:
    """End to end on real images: both read the same, from memory if it fits, else from files."""
    source = sources.load(data, "train")
    if source.image_shape:
        source = sources.in_memory(source)
    with tempfile.TemporaryDirectory() as folder:
        index = pathlib.Path(folder, "images.json")
        index.write_text(json.dumps(files(source, pathlib.Path(folder))))
        model = parts.Training(versus.config_of(settings), source)
        with opened(python, {**task, "images": str(index)}) as (peer, _):
            for line in versus.compare_one(settings, "end_to_end", model.end_to_end, peer):
                yield {**line, "what": f"{line['what']}_real", "data": source.name, "images": len(source)}
    waited = float(np.median(model.waited[-settings.repeats :]))
    yield {"what": "jssl/waiting_for_data", "part": waited}


def files(source: sources.Source, folder: pathlib.Path) -> list[str]:
    """Image files for the other library: the source's own, or PNGs of it."""
    names = []
    for index, handle in enumerate(source.handles(range(len(source)))):
        path = handle
        if not isinstance(handle, pathlib.Path):
            path = folder / f"{index}.png"
            image = source.open(index)
            assert isinstance(image, Image.Image), "only images of 8 bits, grey or colour"
            image.save(path)
        names.append(str(path))
    return names


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Both libraries side by side, in Markdown; the later of two measurements counts."""
    found = {(line["workload"], line["what"]): line for line in lines}
    rows = ["| | jssl | lightly | ratio | goal |", "|---|---|---|---|---|"]
    for workload in WORKLOADS:
        for title, (what, scale) in ROWS.items():
            cells = [
                value(found, workload, f"{library}/{what}", scale) for library in ("jssl", "lightly", "ratio")
            ]
            goal = GOALS.get((workload, what), "")
            rows.append(f"| {workload}: {title} | " + " | ".join([*cells, goal]) + " |")
    return "\n".join([*rows, "", *notes(lines)])


def value(found: Mapping[tuple[str, str], Mapping[str, Any]], workload: str, what: str, scale: float) -> str:
    """One cell."""
    library, _, name = what.partition("/")
    if name in ("utilisation", "waiting_for_data") and library != "jssl":
        return ""
    if name == "utilisation":
        parts_of_it = [found.get((workload, f"jssl/{part}")) for part in ("flops", STEP, "matmul")]
        if None in parts_of_it:
            return NOT_MEASURED
        work, step, product = parts_of_it
        rate = work["flops_per_step"] * step["images_per_second"] / step["config"]["batch"]  # type: ignore[index]
        return number(scale * rate * product["seconds"] / product["flops"])  # type: ignore[index]
    if library == "ratio" and name == "peak_memory":
        pair = [found.get((workload, f"{side}/{name}")) for side in ("jssl", "lightly")]
        return "" if None in pair else number(pair[0]["bytes"] / pair[1]["bytes"])  # type: ignore[index]
    line = found.get((workload, what))
    if line is None:
        return "" if library == "ratio" else NOT_MEASURED
    if library == "ratio":
        return number(line["ratio"])
    if name == "matmul":
        return number(scale * line["flops"] / line["seconds"])
    unit = next(unit for unit in ("images_per_second", "bytes", "part") if unit in line)
    return number(scale * line[unit])


def number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def notes(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures were measured on and with, each thing once."""
    told = [
        {key: v for key, v in line.items() if key not in ("what", "workload", "load")}
        for line in lines
        if line["what"] in ("machine", "peer", "skipped")
    ]
    return list(dict.fromkeys(", ".join(f"{key} {v}" for key, v in line.items()) for line in told))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--peer_python", default="", help="the interpreter that has lightly; empty: jssl alone"
    )
    parser.add_argument(
        "--cifar10", default="", help="real images of 32 px: a TFDS name, an .npz or a folder"
    )
    parser.add_argument("--photos", default="", help="real images for 224 px: a folder or a TFDS name")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu.jsonl"), help="all lines, JSON")
    parser.add_argument("--only", choices=WORKLOADS, help="one workload")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a repeat lasts at least")
    parser.add_argument("--smoke", action="store_true", help="tiny, on whatever device there is")
    parser.add_argument("--table", action="store_true", help="only print what --out has")
    parser.add_argument("--workload", choices=WORKLOADS, help=argparse.SUPPRESS)  # a child measures this one
    return parser.parse_args()


def main() -> None:
    """Starts a child for each workload, notes their lines, prints the table."""
    flags = parse()
    if flags.workload:
        for line in measure(flags.workload, flags):
            timing.show({**line, "workload": flags.workload})
        return
    if not flags.table:
        lines = []
        for name in [flags.only] if flags.only else WORKLOADS:
            command = [sys.executable, __file__, *sys.argv[1:], f"--workload={name}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                for text in child.stdout:
                    print(text, end="", flush=True)
                    lines.append(text)
            if child.returncode:
                sys.exit(f"{name}: failed with status {child.returncode}")
        flags.out.write_text("".join(lines))
    print(table([json.loads(text) for text in flags.out.read_text().splitlines()]))


if __name__ == "__main__":
    main()
