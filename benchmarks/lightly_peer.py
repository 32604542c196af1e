"""The work of benchmarks/versus.py done by lightly, in a process of its own, on order.

Reads a line of JSON {"what": NAME, "count": N} and answers {"seconds": S}. Imports nothing of jssl, so that its
interpreter needs only torch, torchvision and lightly. As lightly's own examples do: PIL images are augmented in
the workers of a DataLoader, each view passes the network by itself, tensors are float32 and NCHW.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

WORKERS = 2  # of the DataLoader
BUFFERED = 2 * WORKERS  # batches that torch's DataLoader reads ahead by default


def import_torchvision() -> None:
    """Imports torchvision, where its compiled operators cannot be loaded too.

    Those need the very build of torch that torchvision was compiled for; image transforms need none of them. But
    torchvision insists that two of them exist, so where they do not, they are declared; nothing calls them.
    """
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # type: ignore[attr-defined]  # its end would undo it
        importlib.import_module("torchvision")


class Lightly:
    """Everything that can be ordered.

    Args:
      task: see `task_of` in benchmarks/versus.py.
    """

    def __init__(self, task: dict[str, Any]):
        import numpy as np
        import torch
        from lightly import loss, transforms
        from lightly.models.modules import heads

        self.task, self.torch = task, torch
        torch.manual_seed(0)
        encoder, features = make_encoder(task)
        head = heads.SimCLRProjectionHead(features, task["hidden"], task["out"], batch_norm=False)
        self.model = torch.nn.Sequential(encoder, head).train()
        self.criterion = loss.NTXentLoss(task["temperature"])
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), 0.01, momentum=task["momentum"], weight_decay=task["weight_decay"]
        )
        shape = (task["num_examples"], 32, 32, 3)
        self.images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.transform = transforms.SimCLRTransform(
            task["size"],
            min_scale=task["area_min"],
            gaussian_blur=0.0,
            normalize={"mean": task["mean"], "std": task["std"]},
        )
        self._stream: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """Both views of an image; the DataLoader's workers call this."""
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index]))

    def batches(self) -> Iterator[Any]:
        """An endless stream, by the same workers for good."""
        if self._stream is None:
            self._stream = self._endless()
        return self._stream

    def _endless(self) -> Iterator[Any]:
        loader = self.torch.utils.data.DataLoader(
            self,
            self.task["batch"],
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
            multiprocessing_context="fork",
        )
        while True:
            yield from loader

    def step(self, views: Any) -> None:
        """One update."""
        first, second = (self.model(view) for view in views)
        value = self.criterion(first, second)
        value.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def augmentation(self, count: int) -> float:
        """Batches of views; what the workers had ready is not timed."""
        stream = self.batches()
        return timed(lambda: next(stream), count, BUFFERED + 1)

    def train_step_without_augmentation(self, count: int) -> float:
        """Updates by a fixed batch."""
        views = self.torch.randn(2, self.task["batch"], 3, self.task["size"], self.task["size"])
        return timed(lambda: self.step(views), count)

    def end_to_end(self, count: int) -> float:
        """Batches and updates; what the workers had ready is not timed."""
        stream = self.batches()
        return timed(lambda: self.step(next(stream)), count, BUFFERED + 1)

    def nt_xent(self, n: int, count: int) -> float:
        """The loss alone, forward and backward."""
        from lightly import loss

        criterion = loss.NTXentLoss(self.task["nt_xent_temperature"])
        pair = [self.torch.randn(n, self.task["embedding"], requires_grad=True) for _ in range(2)]

        def once() -> None:
            for z in pair:
                z.grad = None
            criterion(*pair).backward()

        return timed(once, count)

    def run(self, what: str, count: int) -> float:
        """Seconds that `count` units of something take."""
        name, _, n = what.rpartition("_")
        if name == "nt_xent":
            return self.nt_xent(int(n), count)
        return float(getattr(self, what)(count))


def timed(once: Callable[[], Any], count: int, untimed: int = 0) -> float:
    """Seconds of `count` calls, after some that are not counted."""
    for _ in range(untimed):
        once()
    start = time.perf_counter()
    for _ in range(count):
        once()
    return time.perf_counter() - start


def make_encoder(task: dict[str, Any]) -> tuple[Any, int]:
    """The same network as jssl's, without classifier, and the size of its features."""
    from torch import nn

    if task["encoder"] == "resnet18":
        from lightly.models import ResNetGenerator

        resnet = ResNetGenerator("resnet-18", task["width"])
        features = resnet.linear.in_features
        resnet.linear = nn.Identity()  # type: ignore[assignment,unused-ignore]
        return resnet, features
    layers: list[Any] = []
    before = 3
    for width, stride in zip(task["convnet_widths"], task["convnet_strides"]):
        layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before


def main() -> None:
    """Answers orders until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may be among the answers

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"
    try:
        import_torchvision()
        import lightly
        import torch
        import torchvision

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(cores)
        peer = Lightly(json.loads(sys.argv[1]))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        return
    versions = {"lightly": lightly.__version__, "torch": torch.__version__}
    answer(versions={**versions, "torchvision": torchvision.__version__, "threads": str(cores)})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer(seconds=peer.run(order["what"], order["count"]))
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")
            return


if __name__ == "__main__":
    main()
