"""Where numbers go besides metrics.jsonl: TensorBoard, Weights & Biases."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from etils import epath

from jssl.storage import LocalFolder, absolute, is_remote


class Tracker(Protocol):
    """Where numbers go besides metrics.jsonl."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Scalars in the workdir, for `tensorboard --logdir`."""

    def __init__(self, workdir: epath.Path):
        from tensorboardX import SummaryWriter

        self._folder = LocalFolder(workdir / "tensorboard")
        self._writer = SummaryWriter(self._folder.path)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def sync(self) -> None:
        self._writer.flush()
        self._folder.sync()

    def close(self) -> None:
        self._writer.close()
        self._folder.close()


class Wandb:
    """Weights & Biases; a resumed run continues its curves."""

    def __init__(self, workdir: epath.Path, config: dict[str, Any]):
        import wandb

        name = str(config["name"])
        run_id = f"{name}-{zlib.crc32(str(absolute(workdir)).encode()):08x}"
        local = tempfile.gettempdir() if is_remote(workdir) else str(workdir)
        self._run = wandb.init(project="jssl", name=name, id=run_id, dir=local, config=config, resume="allow")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def sync(self) -> None:
        """Does nothing: it sends by itself."""

    def close(self) -> None:
        self._run.finish()
