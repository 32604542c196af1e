"""jssl beside lightly: the same work, in turn, in one run.

Lightly runs in a process of its own (benchmarks/lightly_peer.py), so that neither library's threads, memory or
dependencies are in the other's way; it waits while jssl runs, and the other way round.

Only a quiet machine gives ratios that mean anything. Torch's threads wait for each other at every operator, and by
default they spin: with others on the same cores that made its small operators ten times as slow, and jssl's hardly.
So it is told to wait passively unless OMP_WAIT_POLICY says otherwise; try both, and quote the ratio of its better.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import parts, timing
from benchmarks.parts import Settings
from benchmarks.timing import Line, Work
from jssl.config import view

SCRIPT = pathlib.Path(__file__).resolve().parent / "lightly_peer.py"


class PeerError(Exception):
    """The other library cannot be measured; the text says why."""


class Peer:
    """The other process: a line of JSON for a line of JSON."""

    def __init__(self, python: str, task: dict[str, Any], script: pathlib.Path = SCRIPT):
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        self._process = subprocess.Popen(
            [python, str(script), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.versions = {"omp_wait_policy": environment["OMP_WAIT_POLICY"]}

    def ready(self) -> None:
        """Waits until it has imported everything; raises PeerError."""
        self.versions |= self._answer()["versions"]

    def work(self, what: str) -> Work:
        """Something that it can do."""

        def run(count: int) -> float:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"what": what, "count": count}) + "\n")
            self._process.stdin.flush()
            return float(self._answer()["seconds"])

        return run

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        answer = json.loads(text) if text else {"error": f"it ended with status {self._process.wait()}"}
        if "error" in answer:
            raise PeerError(answer["error"])
        return dict(answer)

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def config_of(settings: Settings) -> Any:
    """The preset with the optimiser that both sides have."""
    config = settings.config()
    config.optim.name = "sgd"
    return config


def task_of(settings: Settings, **more: Any) -> dict[str, Any]:
    """What the other process must know to do the same; on a CPU as lightly's examples do, unless told more."""
    config = config_of(settings)
    view = config.data.unlabeled.views.first
    return {
        "encoder": config.encoder.name,
        "width": config.encoder.resnet.width,
        "convnet_widths": [
            config.encoder.convnet.width * 2**i for i in range(len(config.encoder.convnet.strides))
        ],
        "convnet_strides": list(config.encoder.convnet.strides),
        **{key: config.method[key] for key in ("proj_hidden_dim", "proj_dim", "temperature")},
        "batch": settings.batch,
        "size": view.size,
        "area_min": view.crop_area_min,
        "mean": list(config.data.mean),
        "std": list(config.data.std),
        "momentum": config.optim.momentum,
        "weight_decay": config.optim.weight_decay,
        "blur": view.blur_prob,
        "side": 32,
        "num_examples": parts.NUM_EXAMPLES,
        "images": "",  # a JSON list of image files, in the place of random images in memory
        "workers": 2,
        "embedding": parts.EMBEDDING,
        "nt_xent_temperature": parts.TEMPERATURE,
        "device": "cpu",
        "autocast": False,  # to bfloat16
        "channels_last": False,
        "compile": False,
        **more,
    }


def _augmentation(settings: Settings) -> Work:
    return parts.augmenting(config_of(settings), settings.batch)


def _train_step(settings: Settings) -> Work:
    config = config_of(settings)
    plain = view(32)
    config.data.unlabeled.views = {"first": plain, "second": dict(plain)}
    return parts.Training(config).stepping


def _end_to_end(settings: Settings) -> Work:
    return parts.Training(config_of(settings)).end_to_end


def _nt_xent(n: int) -> Callable[[Settings], Work]:
    return lambda settings: parts.nt_xent(n, None)[0]


# name -> our work
COMPARISONS: dict[str, Callable[[Settings], Work]] = {
    "augmentation": _augmentation,
    "train_step_without_augmentation": _train_step,
    "end_to_end": _end_to_end,
    "nt_xent_256": _nt_xent(256),
    "nt_xent_1024": _nt_xent(1024),
    "nt_xent_4096": _nt_xent(4096),
}


def compare(settings: Settings, python: str, names: Sequence[str]) -> Iterator[Line]:
    """Three lines a comparison: ours, theirs, and the ratio of the speeds, above 1 where ours is faster."""
    peer = Peer(python, task_of(settings))
    try:
        peer.ready()
        yield {"what": "peer", "name": "lightly", **peer.versions}
        for name, ours in COMPARISONS.items():
            if name in names:
                yield from compare_one(settings, name, ours(settings), peer)
    except PeerError as error:
        yield {"what": "peer", "name": "lightly", "skipped": str(error)}
    finally:
        peer.close()


def compare_one(settings: Settings, name: str, ours: Work, peer: Peer | None) -> Iterator[Line]:
    """One comparison; without the other library, ours alone."""
    if peer is None:
        a, b = settings.measure(ours), list[float]()
    else:
        a, b = timing.alternate(ours, peer.work(name), settings.repeats, settings.seconds)
    alone = name.rpartition("_")[2].isdigit()  # a loss or a product of a size: no images
    config: dict[str, Any] = {"dim": parts.EMBEDDING} if alone else settings.describe(config_of(settings))
    for library, seconds in (("jssl", a), ("lightly", b)):
        what = f"{library}/{name}"
        if seconds and alone:
            yield timing.summary(what, "seconds", seconds, config=config)
        elif seconds:
            yield timing.throughput(what, settings.batch, seconds, config=config)
    if b:
        yield timing.summary(
            f"ratio/{name}", "ratio", [theirs / own for own, theirs in zip(a, b)], config=config
        )
