"""The work of benchmarks/versus.py done by lightly, in a process of its own, on order.

Reads a line of JSON {"what": NAME, "count": N} and answers {"seconds": S}. Imports nothing of jssl, so that its
interpreter needs only torch, torchvision and lightly. As lightly's own examples do: PIL images are augmented in
the workers of a DataLoader, each view passes the network by itself. On a CPU tensors are float32 and NCHW; for a GPU
the task may ask for channels last, bfloat16 autocast and torch.compile.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

READ_AHEAD = 2  # batches a worker of torch's DataLoader, its default


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
        self.buffered = READ_AHEAD * task["workers"]
        self.device = torch.device(task["device"])
        self.layout = torch.channels_last if task["channels_last"] else torch.contiguous_format
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        encoder, features = make_encoder(task)
        head = heads.SimCLRProjectionHead(
            features, task["proj_hidden_dim"], task["proj_dim"], batch_norm=False
        )
        self.model = torch.nn.Sequential(encoder, head).to(self.device, memory_format=self.layout).train()
        self.criterion = loss.NTXentLoss(task["temperature"])
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), 0.01, momentum=task["momentum"], weight_decay=task["weight_decay"]
        )
        if task["images"]:
            self.images = json.loads(pathlib.Path(task["images"]).read_text())
        else:
            shape = (task["num_examples"], task["side"], task["side"], 3)
            self.images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.transform = transforms.SimCLRTransform(
            task["size"],
            min_scale=task["area_min"],
            gaussian_blur=task["blur"],
            normalize={"mean": task["mean"], "std": task["std"]},
        )
        self._stream: Iterator[Any] | None = None
        self.compiled = task["compile"] and self.compile()

    def compile(self) -> bool:
        """Has torch.compile do the network, if it can; the workers are forked before, without its threads."""
        views = next(self.batches())
        model, self.model = self.model, self.torch.compile(self.model)
        try:
            self.step(views)
        except Exception as error:
            print(f"torch.compile does not work here: {type(error).__name__}", file=sys.stderr)
            self.model = model
            return False
        return True

    def views(self) -> Any:
        """Noise in the place of two views, on the device."""
        size = (2, self.task["batch"], 3, self.task["size"], self.task["size"])
        return [self.moved(view) for view in self.torch.randn(*size)]

    def moved(self, view: Any) -> Any:
        return view.to(self.device, memory_format=self.layout, non_blocking=True)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        """Both views of an image; the DataLoader's workers call this."""
        from PIL import Image

        image = self.images[index]
        return self.transform(
            Image.open(image).convert("RGB") if isinstance(image, str) else Image.fromarray(image)
        )

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
            num_workers=self.task["workers"],
            pin_memory=self.device.type == "cuda",
            persistent_workers=True,
            multiprocessing_context="fork",
        )
        while True:
            yield from loader

    def step(self, views: Any) -> None:
        """One update."""
        with self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self.task["autocast"]):
            first, second = (self.model(self.moved(view)) for view in views)
            value = self.criterion(first, second)
        value.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def augmentation(self, count: int) -> float:
        """Batches of views; what the workers had ready is not timed."""
        stream = self.batches()
        return self.timed(lambda: next(stream), count, self.buffered + 1)

    def train_step_without_augmentation(self, count: int) -> float:
        """Updates by a fixed batch."""
        views = self.views()
        return self.timed(lambda: self.step(views), count)

    def end_to_end(self, count: int) -> float:
        """Batches and updates; what the workers had ready is not timed."""
        stream = self.batches()
        return self.timed(lambda: self.step(next(stream)), count, self.buffered + 1)

    def matmul(self, n: int, count: int) -> float:
        """A square matrix product in the precision of the network."""
        dtype = self.torch.bfloat16 if self.task["autocast"] else self.torch.float32
        a = self.torch.randn(n, n, device=self.device, dtype=dtype)
        return self.timed(lambda: a @ a, count)

    def peak_bytes(self, _: int) -> float:
        """The most memory of the device that tensors held."""
        return float(self.torch.cuda.max_memory_allocated()) if self.device.type == "cuda" else 0.0

    def timed(self, once: Callable[[], Any], count: int, untimed: int = 0) -> float:
        """Seconds of `count` calls, after some that are not counted."""
        for _ in range(untimed):
            once()
        self.wait()
        start = time.perf_counter()
        for _ in range(count):
            once()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def nt_xent(self, n: int, count: int) -> float:
        """The loss alone, forward and backward."""
        from lightly import loss

        criterion = loss.NTXentLoss(self.task["nt_xent_temperature"])
        shape = (n, self.task["embedding"])
        pair = [self.torch.randn(*shape, device=self.device, requires_grad=True) for _ in range(2)]

        def once() -> None:
            for z in pair:
                z.grad = None
            criterion(*pair).backward()

        return self.timed(once, count)

    def run(self, what: str, count: int) -> float:
        """Seconds that `count` units of something take."""
        name, _, n = what.rpartition("_")
        if n.isdigit():
            return float(getattr(self, name)(int(n), count))
        return float(getattr(self, what)(count))


def make_encoder(task: dict[str, Any]) -> tuple[Any, int]:
    """The same network as jssl's, without classifier, and the size of its features."""
    from torch import nn

    if task["encoder"] == "resnet18":
        from lightly.models import ResNetGenerator

        resnet = ResNetGenerator("resnet-18", task["width"])
        features = resnet.linear.in_features
        resnet.linear = nn.Identity()  # type: ignore[assignment,unused-ignore]
        return resnet, features
    if task["encoder"] == "resnet50":
        from torchvision.models import resnet50

        network = resnet50()
        features = network.fc.in_features
        network.fc = nn.Identity()  # type: ignore[assignment,unused-ignore]
        return network, features
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
    versions = {"lightly": lightly.__version__, "torch": torch.__version__, "compiled": peer.compiled}
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
