"""From sources to batches on the devices.

A batch is a pure function of its number: `TrainBatches[step]` reads the positions of that step in a seeded
order and draws its crops from (seed, position). So the state of the iterator is one integer, a resumed run
reads what it would have read, and p processes read what one would: each takes its slice of the rows after
everything random is decided. grain brings threads, worker processes and read-ahead.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import contextvars
import functools
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grain
import jax
import numpy as np
from absl import flags, logging
from etils import epath
from jax.sharding import Mesh

from jssl import parallel
from jssl.data import host
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.pseudo_labels import Rows
from jssl.data.sources import BadImage, Source
from jssl.data.sources.images import DECODER_ERRORS, why
from jssl.data.text import Captions
from jssl.errors import UserError
from jssl.storage import GrowingFile
from jssl.types import Batch, HostBatch

NAMED = 10  # unreadable images on the terminal, where there is a file for all
MAX_IN_A_ROW = 1000  # unreadable images passed over in search of a readable one


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order in which an epoch visits the examples."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(length)


def positions_to_indices(positions: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Examples at positions of the endless stream: every epoch visits each example exactly once."""
    epochs, offsets = np.divmod(positions, length)
    indices = np.empty_like(positions)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        indices[rows] = epoch_order(seed, int(epoch), length)[offsets[rows]]
    return indices


@functools.cache
def end_with_parent() -> None:
    """Ends this process, if another one has started it, as soon as that one is dead, however it died."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


class _Batches(abc.ABC):
    """What training and evaluation batches share: this process's rows, and unreadable images."""

    def __init__(self, source: Source, batch_size: int, process: int | None, processes: int | None):
        self.source = source
        self.batch_size = batch_size
        processes = jax.process_count() if processes is None else processes
        process = jax.process_index() if process is None else process
        self.rows = np.arange(batch_size).reshape(processes, -1)[process]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        end_with_parent()  # it was sent to a worker

    @abc.abstractmethod
    def image(self, handle: Any, index: int, position: int) -> Any:
        """The pixels of one example as the batch wants them; raises BadImage."""

    def read(self, indices: np.ndarray, positions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Images, the positions really read, and the unreadable ones (-1 where all is well)."""
        source, used = self.source, indices.copy()
        bad = np.full(len(indices), -1, np.int64)
        rows = []
        for row, handle in enumerate(source.handles([int(i) for i in indices])):
            image, index = None, int(indices[row])
            for _ in range(min(MAX_IN_A_ROW, len(source))):
                try:
                    image = self.image(handle, index, int(positions[row]))
                    break
                except BadImage:
                    bad[row] = indices[row]
                    index = (index + 1) % len(source)
                    handle = source.handles([index])[0]
            if image is None:
                raise UserError(f"no readable image in {source.name} after {source.filename(int(used[row]))}")
            used[row] = index
            rows.append(image)
        return jax.tree.map(lambda *images: np.stack(images), *rows), used, bad


class TrainBatches(_Batches):
    """Batches of an endless shuffled stream, by step.

    An element is a dict: `image` [b, H, W, C] of the source's dtype, or with `crop_specs` by view a [b, S, S, C] for
    every copy of every view; `index` int32[b]; `label` int32[b], -1 where it may not be used or is unknown;
    `bad` int64[b], the position of an example that could not be read and was replaced by the next, else -1; `text`
    int32[b, tokens], a caption, where there are `captions`; and the rows of `more`, arrays with a row for every
    example. b is the global batch size over the number of processes.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int,
        steps: int,
        labels: np.ndarray | None = None,
        crop_specs: Mapping[str, ViewSpec] | None = None,
        process: int | None = None,
        processes: int | None = None,
        more: Mapping[str, Rows] | None = None,
        captions: Captions | None = None,
    ):
        super().__init__(source, batch_size, process, processes)
        self.more = dict(more or {})
        self.captions = captions
        self.seed = seed
        self.steps = steps
        self.labels = labels
        self.crop_specs = crop_specs

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> HostBatch:
        positions = step * self.batch_size + self.rows
        indices = positions_to_indices(positions, len(self.source), self.seed)
        found = self.source.gather(indices) if self.crop_specs is None else None
        if found is not None:
            images: Any = found["image"]
            used, bad = indices, np.full(len(indices), -1, np.int64)
        else:
            images, used, bad = self.read(indices, positions)
        labels = np.full(len(used), -1, np.int32) if self.labels is None else self.labels[used]
        more: dict[str, Any] = {name: rows[used] for name, rows in self.more.items()}
        if self.captions is not None:
            more["text"] = self.captions.drawn(used, positions)
        return {"image": images, "index": used.astype(np.int32), "label": labels, "bad": bad, **more}

    def image(self, handle: Any, index: int, position: int) -> Any:
        opened = self.source.open_handle(handle, index)
        if self.crop_specs is None:
            return self.source.decode(opened, index)
        try:
            source, seed = self.source, (self.seed, position)
            return host.train_crops(opened, self.crop_specs, seed, source.channels, source.dtype)
        except DECODER_ERRORS as error:
            raise BadImage(f"{self.source.filename(index)}: {why(error)}") from error


class EvalBatches(_Batches):
    """Every example once, in order; the last batch is padded and `mask` bool[b] is False there.

    Elements: `image` [b, H, W, C] of the source's dtype, `label` int32[b] (-1: none), `index` int32[b], `mask`
    bool[b], which is False for unreadable images too, and `bad` as in TrainBatches.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        size: int | None = None,
        process: int | None = None,
        processes: int | None = None,
    ):
        super().__init__(source, batch_size, process, processes)
        self.size = size  # side of the central square made on the host; None: the whole image as it is

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, step: int) -> HostBatch:
        positions = step * self.batch_size + self.rows
        mask = positions < len(self.source)
        indices = np.minimum(positions, len(self.source) - 1)
        found = self.source.gather(indices) if self.size is None else None
        if found is not None:
            images: Any = found["image"]
            bad = np.full(len(indices), -1, np.int64)
        else:
            images, _, bad = self.read(indices, positions)
        labels = self.source.labels_at(indices)  # by now they are read
        mask &= bad < 0
        return {
            "image": images,
            "index": indices.astype(np.int32),
            "label": np.full(len(indices), -1, np.int32) if labels is None else labels,
            "mask": mask,
            "bad": bad,
        }

    def image(self, handle: Any, index: int, position: int) -> Any:
        opened = self.source.open_handle(handle, index)
        if self.size is None:
            return self.source.decode(opened, index)
        try:
            source = self.source
            return host.central_crop(opened, self.size, source.channels, source.dtype)
        except DECODER_ERRORS as error:
            raise BadImage(f"{self.source.filename(index)}: {why(error)}") from error


def read_ahead(
    batches: TrainBatches | EvalBatches, start: int = 0, workers: int = 0, threads: int = 2
) -> Iterator[HostBatch]:
    """Iterates from a step on, reading ahead in threads or, for images slow to decode, in processes."""
    dataset = grain.MapDataset.source(batches)[start:]
    if not len(dataset):
        return iter(())
    options = grain.ReadOptions(num_threads=max(1, threads), prefetch_buffer_size=max(2, threads))
    iterable = dataset.to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads absl's flags; a notebook never parsed any
            flags.FLAGS.mark_as_parsed()
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    return iter(iterable)


_noting: contextvars.ContextVar[set[tuple[str, str]] | None] = contextvars.ContextVar("noting", default=None)


@contextlib.contextmanager
def noting_unreadable() -> Iterator[set[tuple[str, str]]]:
    """The unreadable images that are met within, each once: names of a source and of an image, of this process's rows.

    Example:
      >>> from jssl.data.pipeline import noting_unreadable
      >>> with noting_unreadable() as unreadable:
      ...     pass  # evaluate
      >>> len(unreadable)
      0
    """
    found: set[tuple[str, str]] = set()
    token = _noting.set(found)
    try:
        yield found
    finally:
        _noting.reset(token)


class BadImages:
    """Counts unreadable images, names each once, and gives up when there are too many.

    Args:
      source: of the images.
      max_fraction: of them that may be unreadable.
      record: a file that has a line with name and reason for each; on the terminal are the first few.
    """

    def __init__(self, source: Source, max_fraction: float, record: epath.Path | None = None):
        self.source = source
        self.max_fraction = max_fraction
        self.record = record
        self._written: set[str] | None = None  # lines of the record, once it is read
        self.seen: set[int] = set()

    def __len__(self) -> int:
        return len(self.seen)

    def note(self, indices: np.ndarray) -> None:
        """Takes the `bad` column of a batch.

        Raises:
          UserError: if more than `max_fraction` of all images are unreadable.
        """
        for index in sorted(set(indices[indices >= 0].tolist()) - self.seen):
            self.seen.add(index)
            noting = _noting.get()
            if noting is not None:
                noting.add((self.source.name, self.source.filename(index)))
            reason = self.reason(index)
            if len(self.seen) <= NAMED or self.record is None:
                logging.warning("unreadable image: %s", reason)
            elif len(self.seen) == NAMED + 1:
                logging.warning("more unreadable images are named in %s", self.record)
            self._write(reason)
        if len(self.seen) > self.max_fraction * len(self.source):
            names = ", ".join(self.source.filename(i) for i in itertools.islice(sorted(self.seen), 3))
            raise UserError(
                f"{len(self.seen)} of {len(self.source)} images are unreadable ({names}, ...), more than "
                f"data.max_bad_fraction={self.max_fraction}: mend or remove them, or raise the limit"
            )

    def _write(self, line: str) -> None:
        """Adds a line to the record, unless an earlier session did."""
        if self.record is None or not parallel.is_main_process():
            return
        try:
            if self._written is None:
                self._written = set(self.record.read_text().splitlines()) if self.record.exists() else set()
                self._file = GrowingFile(self.record)
            if line not in self._written:
                self._written.add(line)
                self._file.append(line)
        except OSError as error:
            logging.warning("%s cannot be written: %s", self.record, error)
            self.record = None

    def reason(self, index: int) -> str:
        try:
            self.source.decode(self.source.open(index), index)
        except BadImage as error:
            return str(error)
        return self.source.filename(index)


class DeviceIterator:
    """Batches on the devices, transferred ahead of time; its state is that of the batch handed out last."""

    def __init__(
        self,
        batches: TrainBatches,
        mesh: Mesh,
        bad_images: BadImages,
        workers: int = 0,
        threads: int = 2,
        ahead: int = 2,
    ):
        self._batches, self._mesh = batches, mesh
        self._bad = bad_images
        self._workers, self._threads, self._ahead = workers, threads, ahead
        self._step = 0
        self._queue: collections.deque[Batch] = collections.deque()
        self._host: Iterator[HostBatch] | None = None
        self.seconds_waiting = 0.0

    def get_state(self) -> dict[str, Any]:
        """The iterator's state for a checkpoint, as JSON."""
        return {"step": self._step, "bad": sorted(self._bad.seen)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._step = int(state["step"])
        self._bad.seen = set(state["bad"])
        self._queue.clear()
        self._host = None

    @property
    def bad(self) -> int:
        """The number of unreadable images so far."""
        return len(self._bad)

    def __iter__(self) -> DeviceIterator:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        if self._host is None:
            self._host = read_ahead(self._batches, self._step, self._workers, self._threads)
        while len(self._queue) <= self._ahead:
            host_batch = next(self._host, None)
            if host_batch is None:
                break
            self._bad.note(host_batch.pop("bad"))
            self._queue.append(parallel.global_batch(host_batch, self._mesh))
        self.seconds_waiting += time.perf_counter() - start
        if not self._queue:
            raise StopIteration
        self._step += 1
        return self._queue.popleft()


class DeviceStreams:
    """The batches of several streams, side by side; what `DeviceIterator` is for one."""

    def __init__(self, streams: Mapping[str, DeviceIterator]):
        self._streams = streams

    @property
    def seconds_waiting(self) -> float:
        """Seconds spent waiting for batches."""
        return sum(stream.seconds_waiting for stream in self._streams.values())

    @property
    def bad(self) -> int:
        """The number of unreadable images so far."""
        return sum(stream.bad for stream in self._streams.values())

    def get_state(self) -> dict[str, Any]:
        return {name: stream.get_state() for name, stream in self._streams.items()}

    def set_state(self, state: dict[str, Any]) -> None:
        for name, stream in self._streams.items():
            stream.set_state(state[name])

    def __next__(self) -> Batch:
        return {name: next(stream) for name, stream in self._streams.items()}
