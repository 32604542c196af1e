"""One GPU, by priority: every method's step, SimCLR beside lightly, transformers, a training, profiles.

python benchmarks/gpu.py --minutes=9 --out=FOLDER --peer_python=PYTHON_WITH_LIGHTLY    measure, print tables
python benchmarks/gpu.py --out=FOLDER --table                                          only print them once more
python benchmarks/gpu.py --only=resnet18,training --out=FOLDER                         some pieces, in this order
python benchmarks/gpu.py --tiny --out=FOLDER                                           try it all on a CPU

A GPU may be lent for minutes, so every piece has a process of its own and a limit; each line is in FOLDER/gpu.jsonl as
soon as it is measured, and what a piece says besides is in FOLDER/NAME.log. Pieces that find no time are told.

Lightly runs in another process, in turn with ours (see versus.py), with channels last, bfloat16 autocast and, where it
works, torch.compile; its images are augmented by one worker a core. Utilisation is the step's FLOP/s, as
jssl.train.flops counts them, over those of a matrix product in the same run. What was not measured is said to be so.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the other library needs memory too

import jax
import jax.numpy as jnp

from benchmarks import parts, speed, timing, versus
from benchmarks.parts import ROOT, Settings
from benchmarks.timing import Line
from jssl import config as schema
from jssl.config import view
from jssl.models.attention import attend

NOT_MEASURED = "not measured"
STEP = "step_without_augmentation"
PEER_STEP = "train_step_without_augmentation"
SMOKE = {
    "total_epochs": 0,
    "total_steps": 4,
    "evals.every_percent": 0,
    "evals.baselines": False,
    "log.pictures": False,
}
FLAGS_OF_TRAINING = (
    "--config.data.holdout=0 --config.data.unlabeled.batch_size=512 --config.evals.every_percent=0 "
    "--config.evals.linear.l2=(0.001,) --config.evals.linear.max_iterations=60 --config.evals.baselines=False "
    "--config.checkpoint.every_percent=50 --config.log.pictures=False"
)
OVERHEAD = 140.0  # seconds of a training that are none: 80 until the first step, and the evaluation


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is trained, and from what.

    Attributes:
      preset: name in parts.PRESETS.
      batch: source images a step.
      size: side of the views.
      side: side of the random images.
      peer: whether lightly does the same.
      encoder: changes of the encoder's settings that are measured too, by name.
    """

    preset: str
    batch: int
    size: int
    side: int
    peer: bool = False
    encoder: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


CUDNN = {"attention_cudnn": {"attention": "cudnn"}}
WORKLOADS = {
    "resnet18": Workload("resnet18", 512, 32, 32, True),
    "vit_s": Workload("vit_s", 256, 224, 256, encoder=CUDNN),
    "mae_vit_b": Workload("mae_vit_b", 256, 224, 256),
    "resnet50": Workload("resnet50", 256, 224, 256, True),
}
TINY = {
    "resnet18": Workload("resnet18_w16", 16, 32, 32, True),
    "vit_s": Workload("vit_s", 2, 32, 48),
    "mae_vit_b": Workload("mae_vit_b", 2, 32, 48),
    "resnet50": Workload("resnet50", 4, 64, 128, True),
}
TITLES = {
    "resnet18": "SimCLR, ResNet-18, 32 px, batch 512",
    "vit_s": "Barlow Twins, ViT-S/16, 224 px, batch 256",
    "mae_vit_b": "MAE, ViT-B/16, 224 px, batch 256",
    "resnet50": "SimCLR, ResNet-50, 224 px, batch 256",
}
ROWS = {  # row of the table -> measurement, what its value is multiplied with
    "matrix product, TFLOP/s": ("matmul", 1e-12),
    "augmentation, images/s": ("augmentation", 1),
    "step without augmentation, images/s": (STEP, 1),
    "the same with cuDNN's attention, images/s": (f"{STEP}/attention_cudnn", 1),
    "end to end, random images, images/s": ("end_to_end", 1),
    "waiting for data, %": ("waiting_for_data", 100),
    "utilisation of the step, %": ("utilisation", 100),
    "memory of a step, GB": ("memory", 1e-9),
    "compiling the step, s": ("compile", 1),
}


def measure(name: str, flags: argparse.Namespace) -> Iterator[Line]:
    """All lines of one workload."""
    yield speed.machine()
    gpu = jax.default_backend() == "gpu"
    if not gpu and not flags.tiny:
        yield {"what": "skipped", "reason": "no GPU; --tiny tries the code on a CPU"}
        return
    workload = (TINY if flags.tiny else WORKLOADS)[name]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = 0 if workload.side == 32 else cores  # small images are not decoded
    settings = Settings(
        workload.preset, workload.batch, flags.repeats, flags.seconds, False, "", workload.size, workers
    )
    python = flags.peer_python if workload.peer else ""
    with opened(python, lambda: task(settings, workload, cores, gpu)) as begun:
        # Both compile at the same time, and measure in turn; the most wanted first.
        model = parts.Training(without_augmentation(settings), parts.random_source(workload.size))
        peer, line = begun()
        yield line
        yield {"what": "jssl/compile", "seconds": model.compile_seconds}
        yield {"what": "jssl/flops", "flops_per_step": model.program.flops}
        yield {"what": "jssl/memory", "bytes": model.bytes_of_step}
        yield from compare(settings, STEP, model.stepping, peer, PEER_STEP)
        yield from products(settings, 512 if flags.tiny else 8192, gpu, peer)
        model.profile(str(flags.out / "traces" / name))
        whole = parts.Training(config_of(settings), parts.random_source(workload.side))
        yield from compare(settings, "end_to_end", whole.end_to_end, peer)
        yield {"what": "jssl/waiting_for_data", "part": whole.waited[-1]}
        yield from compare(settings, "augmentation", whole.augmenting, peer)
        if peer is not None:
            yield {"what": "lightly/memory", "bytes": peer.work("peak_bytes")(1)}
        whole.profile(str(flags.out / "traces" / f"{name}_whole"))
    if workload.encoder:
        yield attention_error(workload, gpu)
    for change, values in workload.encoder.items():
        other = parts.Training(without_augmentation(settings, values), parts.random_source(workload.size))
        yield {"what": f"jssl/memory/{change}", "bytes": other.bytes_of_step}
        yield from compare(settings, f"{STEP}/{change}", other.stepping, None)


def attention_error(workload: Workload, gpu: bool) -> Line:
    """How far fused attention and its gradients are from those of float32, and XLA's from them, relatively."""
    tokens, dtype = (workload.size // 16) ** 2 + 1, jnp.bfloat16 if gpu else jnp.float32
    q, k, v, g = jax.random.normal(jax.random.key(0), (4, 8, tokens, 6, 64))

    def gradients(implementation: str, dtype: Any) -> jax.Array:
        def product(*qkv: jax.Array) -> jax.Array:
            q, k, v = (x.astype(dtype) for x in qkv)
            out = attend(q, k, v, implementation)
            return jnp.vdot(out.astype(jnp.float32), g)

        value, grads = jax.jit(jax.value_and_grad(product, argnums=(0, 1, 2)))(q, k, v)
        return jnp.stack([*grads, jnp.full_like(q, value)])

    exact = gradients("xla", jnp.float32)
    sizes = jnp.linalg.norm(exact.reshape(4, -1), axis=1)
    errors = {
        name: (jnp.linalg.norm((gradients(name, dtype) - exact).reshape(4, -1), axis=1) / sizes).tolist()
        for name in (("xla", "cudnn") if gpu else ("xla",))
    }
    return {"what": "attention", "tokens": tokens, "errors_of_dq_dk_dv_and_value": errors}


def task(settings: Settings, workload: Workload, cores: int, gpu: bool) -> dict[str, Any]:
    """What lightly is told to do."""
    return versus.task_of(
        settings,
        side=workload.side,
        num_examples=len(parts.random_source(workload.side)),
        workers=cores,
        device="cuda" if gpu else "cpu",
        autocast=gpu,
        channels_last=True,
        compile=True,
    )


@contextlib.contextmanager
def opened(
    python: str, task: Callable[[], dict[str, Any]]
) -> Iterator[Callable[[], tuple[versus.Peer | None, Line]]]:
    """The other library's process, which begins at once; called, it gives that process once it is ready."""
    peer = versus.Peer(python, task()) if python else None

    def begun() -> tuple[versus.Peer | None, Line]:
        line = {"what": "peer", "name": "lightly"}
        if peer is None:
            return None, {**line, "skipped": "it is no part of this piece, or no --peer_python"}
        try:
            peer.ready()
        except versus.PeerError as error:
            return None, {**line, "skipped": str(error)}
        return peer, {**line, **peer.versions}

    try:
        yield begun
    finally:
        if peer is not None:
            peer.close()


def config_of(settings: Settings) -> Any:
    """The preset, with plain SGD in the place of LARS, as the other library has it."""
    config = settings.config()
    config.optim.name = "sgd" if config.optim.name == "lars" else config.optim.name
    return config


def without_augmentation(settings: Settings, encoder: Mapping[str, Any] | None = None) -> Any:
    """The config, with views that are the images; with other settings of the ViT."""
    config = config_of(settings)
    config.data.unlabeled.views = {name: view(settings.size) for name in config.data.unlabeled.views}
    config.data.unlabeled.crop = "device"
    config.encoder.vit.update(encoder or {})
    return config


def compare(
    settings: Settings, name: str, ours: timing.Work, peer: versus.Peer | None, theirs: str = ""
) -> Iterator[Line]:
    """Lines of ours, of theirs under its own name, and of the ratio."""
    for line in versus.compare_one(settings, theirs or name, ours, peer):
        library = line["what"].partition("/")[0]
        yield {**line, "what": f"{library}/{name}"}


def products(settings: Settings, n: int, gpu: bool, peer: versus.Peer | None) -> Iterator[Line]:
    """What the matrix units can do: a square product in the precision of the network, of random numbers."""
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16 if gpu else jnp.float32)
    product = jax.jit(jnp.matmul)

    def work(count: int) -> float:
        def repeat() -> None:
            for _ in range(count - 1):
                product(a, a)
            jax.block_until_ready(product(a, a))

        return timing.timed(repeat)

    for line in versus.compare_one(settings, f"matmul_{n}", work, peer):
        yield {**line, "what": line["what"].removesuffix(f"_{n}"), "flops": 2 * n**3}


def smoke(flags: argparse.Namespace) -> Iterator[Line]:
    """Four steps of every method's smallest preset from the command line, as many at a time as there are cores."""
    names = sorted(path.stem for path in schema.configs_folder().glob("*.py") if is_config(path))
    names.remove("linear_finetune")  # which goes on with a run that there is not
    names = names[:2] if flags.tiny else names
    environment = {**os.environ, "XLA_FLAGS": "--xla_gpu_autotune_level=0" if flags.gpu else ""}
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

    def one(name: str) -> Line:
        with tempfile.TemporaryDirectory() as folder:
            places = [f"config.stages.{stage}" for stage in schema.get_config(name).stages] or ["config"]
            changes = [f"--{place}.{key}={value}" for place in places for key, value in SMOKE.items()]
            command = [
                sys.executable,
                "-m",
                "jssl.main",
                f"--config={name}",
                f"--workdir={folder}/run",
                *changes,
            ]
            begin = time.perf_counter()
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            line = {"what": "smoke", "config": name, "seconds": time.perf_counter() - begin}
            if done.returncode:
                (flags.out / f"smoke_{name}.log").write_text(done.stdout[-4000:] + done.stderr[-20000:])
                return {**line, "failed": (done.stderr or done.stdout).strip()[-300:]}
            result = json.loads(next(pathlib.Path(folder, "run").glob("**/result.json")).read_text())
            return {**line, "values": {key: result[key] for key in ("step", "knn/top1") if key in result}}

    with concurrent.futures.ThreadPoolExecutor(flags.at_once) as pool:
        for future in concurrent.futures.as_completed([pool.submit(one, name) for name in names]):
            yield future.result()


def is_config(path: pathlib.Path) -> bool:
    """Whether a file of configs/ is one, and not a helper of theirs."""
    return "def get_config" in path.read_text() or "get_config =" in path.read_text()


def training(flags: argparse.Namespace) -> Iterator[Line]:
    """SimCLR on CIFAR-10 for as many epochs as fit, or as many as asked for."""
    seconds = flags.deadline - time.time()
    rate = flags.rate or next(
        (line["images_per_second"] for line in reversed(flags.lines) if line["what"] == "jssl/end_to_end"),
        5000,
    )
    epochs = flags.epochs or max(2, int((seconds - OVERHEAD) * rate * 0.9 / 50_000))
    workdir = flags.out / "run"
    preset = "simclr.py" if flags.tiny else "simclr.py:cifar10"
    more = (
        "--config.total_steps=4 --config.total_epochs=0" if flags.tiny else f"--config.total_epochs={epochs}"
    )
    command = [
        sys.executable,
        "-m",
        "jssl.main",
        f"--config=configs/{preset}",
        f"--workdir={workdir}",
        *more.split(),
    ]
    command += [] if flags.tiny else FLAGS_OF_TRAINING.split()
    begin = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    result = json.loads((workdir / "result.json").read_text())
    yield {"what": "training", "epochs": epochs, "seconds": time.perf_counter() - begin, "result": result}


PIECES: dict[
    str, tuple[float, Callable[[argparse.Namespace], Iterator[Line]]]
] = {  # most seconds, what it does
    "smoke": (120.0, smoke),
    **{name: (200.0, functools.partial(measure, name)) for name in WORKLOADS},
    "training": (3600.0, training),
}


def run_piece(name: str, flags: argparse.Namespace, deadline: float) -> str:
    """One piece in its own process; its lines are noted as they come.

    Returns:
      How it ended, in a word or two.
    """
    log = (flags.out / f"{name}.log").open("w")
    command = [sys.executable, __file__, *sys.argv[1:], f"--piece={name}", f"--deadline={deadline}"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    timer = threading.Timer(max(0.0, deadline - time.time()), lambda: os.killpg(child.pid, signal.SIGKILL))
    timer.start()
    assert child.stdout is not None
    with (flags.out / "gpu.jsonl").open("a") as out:
        for text in child.stdout:
            print(text, end="", flush=True)
            out.write(text)
            out.flush()
    status = child.wait()
    timer.cancel()
    with contextlib.suppress(ProcessLookupError):  # what it started
        os.killpg(child.pid, signal.SIGKILL)
    log.close()
    return {0: "done", -signal.SIGKILL: "out of time"}.get(status, f"failed with status {status}")


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Both libraries side by side, in Markdown; the later of two measurements counts."""
    found = {(line["piece"], line["what"]): line for line in lines}
    rows = ["| | jssl | lightly | ratio |", "|---|---|---|---|"]
    for name, title in TITLES.items():
        for row, (what, scale) in ROWS.items():
            cells = [
                value(found, name, f"{library}/{what}", scale) for library in ("jssl", "lightly", "ratio")
            ]
            if any(cell not in ("", NOT_MEASURED) for cell in cells):
                rows.append(f"| {title}: {row} | " + " | ".join(cells) + " |")
    smoked = [line for line in lines if line["what"] == "smoke"]
    failed = [f"{line['config']}: {line['failed']}" for line in smoked if "failed" in line]
    rows += ["", f"{len(smoked) - len(failed)} of {len(smoked)} configs ran to a result.", *failed]
    rows += [json.dumps(line) for line in lines if line["what"] in ("training", "piece")]
    return "\n".join([*rows, "", *notes(lines)])


def value(found: Mapping[tuple[str, str], Mapping[str, Any]], piece: str, what: str, scale: float) -> str:
    """One cell."""
    library, _, name = what.partition("/")
    if name == "utilisation":
        parts_of_it = [found.get((piece, f"jssl/{part}")) for part in ("flops", STEP, "matmul")]
        if None in parts_of_it or library != "jssl":
            return ""
        work, step, product = parts_of_it
        rate = work["flops_per_step"] * step["images_per_second"] / step["config"]["batch"]  # type: ignore[index]
        return number(scale * rate * product["seconds"] / product["flops"])  # type: ignore[index]
    if library == "ratio" and name == "memory":
        pair = [found.get((piece, f"{side}/{name}")) for side in ("jssl", "lightly")]
        return "" if None in pair else number(pair[0]["bytes"] / pair[1]["bytes"])  # type: ignore[index]
    line = found.get((piece, what))
    if line is None:
        return "" if library == "ratio" else NOT_MEASURED
    if library == "ratio":
        return number(line["ratio"])
    if name == "matmul":
        return number(scale * line["flops"] / line["seconds"])
    unit = next(unit for unit in ("images_per_second", "bytes", "part", "seconds") if unit in line)
    return number(scale * line[unit])


def number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def notes(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures were measured on and with, each thing once."""
    told = [
        {key: v for key, v in line.items() if key not in ("what", "piece", "load", "quiet")}
        for line in lines
        if line["what"] in ("machine", "peer", "skipped")
    ]
    return list(dict.fromkeys(", ".join(f"{key} {v}" for key, v in line.items()) for line in told))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for everything")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("gpu"), help="folder of the results")
    parser.add_argument("--only", default=",".join(PIECES), help="pieces, with commas")
    parser.add_argument(
        "--peer_python", default="", help="the interpreter that has lightly; empty: jssl alone"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a repeat lasts at least")
    parser.add_argument("--epochs", type=int, default=0, help="of the training; 0: as many as fit")
    parser.add_argument(
        "--rate", type=float, default=0, help="images/s by which epochs fit; 0: what was measured"
    )
    parser.add_argument(
        "--at_once", type=int, default=os.cpu_count() or 1, help="processes of the smoke test"
    )
    parser.add_argument("--tiny", action="store_true", help="small, on whatever device there is")
    parser.add_argument("--table", action="store_true", help="only print what --out has")
    parser.add_argument("--piece", choices=PIECES, help=argparse.SUPPRESS)  # a child measures this one
    parser.add_argument("--deadline", type=float, default=0.0, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.out = flags.out.absolute()
    flags.gpu = not flags.tiny
    unknown = set(flags.only.split(",")) - set(PIECES)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; valid are {', '.join(PIECES)}")
    return flags


def main() -> None:
    """Runs the pieces in turn, notes their lines, prints the tables."""
    flags = parse()
    begin, log = time.time(), flags.out / "gpu.jsonl"
    flags.lines = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    if flags.piece:
        for line in PIECES[flags.piece][1](flags):
            timing.show({**line, "piece": flags.piece})
        return
    flags.out.mkdir(parents=True, exist_ok=True)
    for name in [] if flags.table else flags.only.split(","):
        before, left = time.time(), begin + 60 * flags.minutes - time.time()
        deadline = before + min(PIECES[name][0], left)
        ended = run_piece(name, flags, deadline) if left > 20 else "found no time"
        line = {"what": "piece", "piece": name, "ended": ended, "seconds": round(time.time() - before, 1)}
        with log.open("a") as out:
            out.write(json.dumps(line) + "\n")
    print(table([json.loads(text) for text in log.read_text().splitlines()]))


if __name__ == "__main__":
    main()
