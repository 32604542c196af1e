"""A run from its config to its result: train, evaluate, draw, report."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging
from etils import epath

from jssl import monitor, parallel, program, train, workdir
from jssl.checkpoint import Checkpointer
from jssl.data import augment
from jssl.data.datasets import Data, open_data
from jssl.data.pipeline import EvalBatches, TrainBatches
from jssl.data.sources import subset
from jssl.errors import UserError
from jssl.evaluation import classifier, suite
from jssl.monitor import METRICS_FILE, read_lines
from jssl.program import Program
from jssl.report import summary
from jssl.state import TrainState
from jssl.types import Array, Batch, Params, PyTree, State

PICTURED = 512  # images on the feature map
MIN_DRAWN = 3  # images that a map and neighbours make sense for
SHOWN = 8  # rows of the grids


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run has to show.

    Attributes:
      workdir: the run's folder.
      values: the content of result.json, flat: 'knn/top1', 'pixels/linear/top1', 'images_per_second', ...
    """

    workdir: epath.Path
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def metrics(self) -> list[dict[str, float]]:
        """What was measured on the way: the lines of metrics.jsonl, each with its `step`."""
        return read_lines(self.workdir / METRICS_FILE)

    def __str__(self) -> str:
        return summary.table(self.values)


def run(config: ml_collections.ConfigDict, folder: str | epath.Path, profile_steps: int = 0) -> Result:
    """Runs a config in a folder: starts, resumes, or, if it is finished, reports.

    Args:
      config: from a file of configs/.
      folder: the run's workdir.
      profile_steps: a jax.profiler trace of so many steps goes there too.

    Raises:
      UserError: for whatever the user can put right; see jssl/workdir.py for the folder's rules.
      train.Interrupted: after SIGTERM, with everything saved.
    """
    folder = epath.Path(folder)
    if config.order:
        from jssl import sequence

        return sequence.run(config, folder, profile_steps)
    started = time.time()
    suite.check(config)
    monitor.check(config)
    if parallel.is_main_process():
        workdir.check(folder, config)  # before any long work
    done = workdir.read_result(folder)
    if done is not None:
        return Result(folder, done)
    if config.init_from and not workdir.holds_run(folder):
        workdir.read_config(epath.Path(config.init_from))  # raises if there is no run to begin with
    with train.sigterm_noted() as terminated:
        data = open_data(config)
        workdir.check_control(config.evals.control, data)
        prog = program.make_program(config, data.info)
        train.Timer(config, prog.clock)
        evaluator = suite.Suite(prog, data)
        prog.trace()
        workdir.prepare(folder, config)
        if parallel.is_main_process():
            workdir.write_splits(folder, data)
        if not evaluator.has_labels:
            logging.warning("the images have no labels: kNN and linear accuracy are skipped")
        trained = train.train(
            prog,
            train_batches(prog, data),
            folder,
            evaluate=evaluator.during,
            on_first_batch=lambda batch: draw_views(prog, batch, folder),
            terminated=terminated,
            profile_steps=profile_steps,
            begin=functools.partial(begin_with, config.init_from, config.init_parts)
            if config.init_from
            else None,
        )
    if terminated.is_set():
        raise train.Interrupted(prog.clock.total_steps)
    with train.sigterm_stops(prog.clock.total_steps):
        results = evaluator.final(trained.state)
        draw_features(evaluator, trained.state, folder)
        draw_attention(evaluator, trained.state, folder)
    evals = config.evals
    values = {
        **results,
        **classifier.median_of_last(trained.history, f"val/{classifier.TOP1}", evals.classifier.median_of),
        **classifier.control(evals.control),
        **trained.totals,
        "step": prog.clock.total_steps,
        "evaluated_on": evaluator.query_name if evaluator.has_labels else "nothing: no labels",
        "seconds": trained.seconds_before + time.time() - started,
    }
    if parallel.is_main_process():
        if config.log.pictures:
            from jssl.report import pictures

            pictures.curves(folder / "curves.png", read_lines(folder / METRICS_FILE))
        workdir.write_json(folder / workdir.RESULT_FILE, values)
    parallel.barrier("result")
    return Result(folder, values)


def begin_with(folder: str, parts: Sequence[str], prog: Program, state: TrainState) -> TrainState:
    """A fresh state whose networks of some names, and the targets and averages of them, are those of another run.

    Args:
      folder: of that run.
      parts: 'encoder', 'classifier'; the encoder is the one that evaluators see there.
      prog: whose state it is.
      state: fresh.

    Raises:
      UserError: if that run lacks a part, or its shapes differ.
    """
    other, _, trained = open_run(folder)
    given = {"encoder": with_top(other, trained, len(prog.config.encoder.top))}
    average = trained.method_state.get("average", trained.params)
    if "classifier" in average:
        given["classifier"] = (average["classifier"], {})
    params, method_state = state.params, state.method_state
    for part in parts:
        if part not in given or part not in params:
            raise UserError(f"config.init_parts names {part!r}, which {folder} or this run does not have")
        ours, theirs = (jax.tree.map(lambda x: x.shape, tree) for tree in (params[part], given[part][0]))
        if ours != theirs:
            raise UserError(
                f"config.init_from={folder}: its {part} has other shapes; give both runs the same config.encoder"
            )
        params = put_in(params, part, *given[part])
        method_state = put_in(method_state, part, *given[part])
    begun = dataclasses.replace(state, params=params, method_state=method_state)
    return jax.device_put(jax.device_get(begun), prog.shardings)


def with_top(prog: Program, state: TrainState, layers: int) -> tuple[Params, State]:
    """The encoder that evaluators see, and its statistics; so many layers of its projector on top, if none are.

    Raises:
      UserError: if there is no such projector.
    """
    encoder, stats = prog.method.kept(state.params, state.method_state)
    if not layers or prog.config.encoder.top:
        return encoder, stats
    head, head_stats = state.params.get("projector", {}), state.method_state["stats"].get("projector", {})
    names = [f"{kind}{layer}" for layer in range(layers) for kind in ("dense", "bn")]
    if any(name not in head for name in names) or f"dense{layers}" not in head:
        raise UserError(
            f"config.encoder.top asks for {layers} layers of a projector with batch norm below its last one: "
            f"{prog.config.name} has {', '.join(head) or 'no projector'}"
        )
    top = {name: head[name] for name in names}
    means = {name: head_stats[name] for name in names if name in head_stats}
    return {"base": encoder, "head": top}, {"base": stats, "head": means}


def put_in(tree: PyTree, name: str, params: Params, stats: State, within_stats: bool = False) -> PyTree:
    """Puts parameters, or below 'stats' the statistics, in the place of every entry of a name."""
    if not isinstance(tree, dict):
        return tree
    found = {}
    for key, part in tree.items():
        within = within_stats or key == "stats"
        found[key] = (
            (stats if within else params) if key == name else put_in(part, name, params, stats, within)
        )
    return found


def train_batches(prog: Program, data: Data) -> dict[str, TrainBatches]:
    """The streams of a run."""
    config, batches = prog.config, {}
    for name, stream in prog.streams.items():
        crops = stream.specs if stream.host_crops else None
        more: dict[str, np.ndarray] = {}
        labels: np.ndarray | None
        if name == "labeled":
            source, labels, more = data.labeled_stream()
        else:
            source, labels = data.unlabeled(config.evals.online)
        batches[name] = TrainBatches(
            source,
            stream.batch_size,
            stream.seed(config.seed),
            prog.clock.total_steps,
            labels,
            crops,
            more=more,
        )
    return batches


def open_run(
    folder: str | epath.Path, config: ml_collections.ConfigDict | None = None, step: int | None = None
) -> tuple[Program, Data, TrainState]:
    """The program, data and newest state (or that of a step) of a run; `config` may differ in `evals`.

    Raises:
      UserError: if the folder holds no run, or no checkpoint yet.
    """
    folder = epath.Path(folder)
    config = workdir.read_config(folder) if config is None else config
    data = open_data(config)
    prog = program.make_program(config, data.info, for_training=False)
    return prog, data, restore(prog, folder, step)


def open_classifier(folder: str | epath.Path) -> tuple[Program, Data, TrainState]:
    """As `open_run`, for a run that can tell classes.

    Raises:
      UserError: if it cannot, too.
    """
    prog, data, state = open_run(folder)
    if data.visible is None or not prog.config.evals.classifier.enabled:
        raise UserError(f"{folder} has no classifier: name a run that learnt from labels")
    return prog, data, state


def restore(prog: Program, folder: epath.Path, step: int | None = None) -> TrainState:
    """The newest readable state of a run, or that of a step."""
    reader = Checkpointer(folder, read_only=True)
    restored = reader.restore(prog.abstract_state(), step)
    reader.close()
    if restored is None:
        raise UserError(f"{folder} has no checkpoint yet")
    return restored[0]


def draw_views(prog: Program, batch: Batch, folder: epath.Path) -> None:
    """What the augmentation makes of the first batch's first images."""
    if not prog.config.log.pictures:
        return
    shown = parallel.whole(list(prog.first_views(batch)[prog.main.name]["views"]), prog.mesh)
    image = batch[prog.main.name]["image"]
    originals = None if isinstance(image, tuple) else parallel.whole(image, prog.mesh)[:SHOWN]
    if parallel.is_main_process():
        from jssl.report import pictures

        data = prog.config.data
        shown = [np.asarray(view[:SHOWN]) * np.asarray(data.std) + np.asarray(data.mean) for view in shown]
        pictures.views_grid(folder / "views.png", originals, shown)


def draw_features(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """A map of the features and the neighbours of some images."""
    if not evaluator.program.config.log.pictures:
        return
    source = evaluator.query
    some = subset(source, np.arange(min(PICTURED, len(source))))
    features = evaluator.features(state, some)
    if not parallel.is_main_process():
        return
    from jssl.report import pictures

    names = source.class_names if evaluator.has_labels else None
    pictures.feature_map(folder / "features.png", features.x, features.labels, names)
    if len(features.x) < MIN_DRAWN:
        return
    size = evaluator.program.size
    thumbnails = EvalBatches(some, len(some), None if source.image_shape else size, process=0, processes=1)
    images = thumbnails[0]["image"][features.index]
    pictures.neighbours(folder / "neighbours.png", features.x, images, rows=SHOWN)


def draw_attention(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Where the class token of the last block looks, head by head; nothing for encoders that have none."""
    prog, source = evaluator.program, evaluator.query
    size, data, encoder = prog.size, prog.config.data, prog.method.encoder
    kept = prog.method.kept(state.params, state.method_state)
    channels = prog.info.channels
    shapes = jax.eval_shape(
        encoder.attention, *kept, jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    )
    side = 0 if shapes is None else math.isqrt(shapes.shape[-1] - 1)
    if not prog.config.log.pictures or shapes is None or side**2 + 1 != shapes.shape[-1]:
        return  # a class token stands beside a square of patches
    count = min(SHOWN, len(source))
    some = subset(source, np.arange(count) * len(source) // count)
    crop = size if prog.main.host_crops or source.image_shape is None else None
    batch = EvalBatches(some, count, crop, prog.config.evals.crop_fraction, process=0, processes=1)[0]

    def look(params: Params, stats: State, images: Array) -> tuple[Array, Array | None]:
        seen = augment.center_resize(images, size)
        return seen, encoder.attention(params, stats, augment.to_float(seen, data.mean, data.std))

    images = parallel.put_replicated(batch["image"][batch["mask"]], prog.mesh)
    shown, weights = jax.jit(look, out_shardings=parallel.replicated(prog.mesh))(*kept, images)
    if parallel.is_main_process() and len(shown):
        from jssl.report import pictures

        maps = np.asarray(weights)[:, :, 0, 1:]
        maps = maps.reshape(*maps.shape[:2], side, side)
        pictures.attention(folder / "attention.png", np.asarray(shown), maps)
