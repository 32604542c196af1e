"""A run from its config to its result: train, evaluate, draw, report."""

from __future__ import annotations

import functools
import threading
import time

import jax
import ml_collections
import numpy as np
from absl import logging
from etils import epath

from jssl import parallel
from jssl.data.datasets import Data
from jssl.data.pipeline import TrainBatches
from jssl.data.pseudo_labels import Rows
from jssl.evaluation import classifier, suite
from jssl.report.header import header
from jssl.report.result import Result
from jssl.runs import init_from, pages, public_weights, supervised_baseline, workdir
from jssl.runs.extract import UnlabeledExtract
from jssl.runs.objects import NONE, Objects
from jssl.runs.pictures import (
    draw_attention,
    draw_clusters,
    draw_curves,
    draw_features,
    draw_figures,
    draw_patches,
    draw_reconstruction,
    draw_sound,
    draw_views,
    drawing,
)
from jssl.runs.restore import make_program
from jssl.train import loop
from jssl.train.program import Program
from jssl.train.progress import announced, doing, say
from jssl.train.signals import Interrupted, signals_noted, signals_stop


def run_one(
    config: ml_collections.ConfigDict,
    folder: str | epath.Path,
    profile_steps: int = 0,
    objects: Objects = NONE,
) -> Result:
    """Runs a config without stages in a folder: starts, resumes, or, if it is finished, reports.

    Args:
      config: from a file of configs/.
      folder: the run's workdir.
      objects: a user's own, in the place of what the config names.
      profile_steps: a jax.profiler trace of so many steps goes there too.

    Raises:
      UserError: for whatever the user can put right; see jssl/runs/workdir.py for the folder's rules.
      Interrupted: after SIGTERM, SIGINT or SIGHUP, with everything saved.
    """
    # Before it trains there is nothing to save; but several processes stop together, at a step.
    told = announced(config.log.progress and parallel.is_main_process())
    with told, signals_noted() if jax.process_count() > 1 else signals_stop() as early:
        return _run(objects.named_in(config), epath.Path(folder), profile_steps, objects, early)


def _run(
    config: ml_collections.ConfigDict,
    folder: epath.Path,
    profile_steps: int,
    objects: Objects,
    early: threading.Event | None,
) -> Result:
    """`run_one`; `early` is set if a signal came before it trains."""
    started = time.time()
    supervised_baseline.read(config.evals.supervised_baseline)
    if parallel.is_main_process():
        workdir.check(folder, config)  # before any long work
    done = workdir.read_result(folder)
    if done is not None:
        ignored = workdir.not_applied(folder, config)
        if ignored:
            logging.warning(
                "%s is finished, this is its result: %s not applied; python -m jssl.evaluate measures it anew",
                *(folder, ", ".join(ignored)),
            )
        return Result(folder, done)
    if config.init_from and not workdir.holds_run(folder):
        workdir.read_config(epath.Path(config.init_from))  # raises if there is no run to begin with
    with doing("opening the data"):
        data = workdir.open_recorded(folder, config, objects.sources())
    workdir.compare_data(data)
    supervised_baseline.check(config.evals.supervised_baseline, data)
    prog = make_program(config, data.info, objects)
    loop.Timer(config, prog.clock)
    parallel.check_fits(prog.views, "data: batch_size of a stream")
    begin = public_weights.beginning(prog)
    evaluator = suite.Suite(prog, data, begin)
    if config.init_from:
        init_from.check(config.init_from, config.init_parts, prog)
        init_from.check_tokens(config.init_from, config.init_parts, data.tokenizer)
        begin = functools.partial(init_from.begin_with, config.init_from, config.init_parts)
    prog.trace()
    with workdir.locked(folder):
        workdir.prepare(folder, config)
        return _train(prog, data, evaluator, folder, profile_steps, early, started, begin)


def _train(
    prog: Program,
    data: Data,
    evaluator: suite.Suite,
    folder: epath.Path,
    profile_steps: int,
    early: threading.Event | None,
    started: float,
    begin: suite.Begin,
) -> Result:
    """Trains and finishes a run whose folder is prepared."""
    config = prog.config
    if parallel.is_main_process():
        workdir.write_splits(folder, data)
    if parallel.is_main_process() and config.log.progress:
        say(header(prog, data, folder))
    skipped = {name for stream in prog.streams.values() for name in stream.skipped(data.info.channels)}
    if skipped:
        logging.warning(
            "images of %d channels have no colours: the views go without %s",
            data.info.channels,
            ", ".join(sorted(skipped)),
        )
    if not evaluator.has_labels:
        why = "are all of one class" if data.num_classes else "have no labels"
        logging.warning("the images %s: kNN and linear accuracy are skipped", why)
    elif data.val is None and data.test is None:
        logging.warning(
            "nothing is held out: kNN leaves every image out in turn, and there is no linear accuracy; set "
            "data.holdout=0.1, or give a test set"
        )
    batches = train_batches(prog, data)
    sources = {name: stream.source for name, stream in batches.items()}
    with signals_noted() as terminated:
        if early is not None and early.is_set():
            terminated.set()
        trained = loop.train(
            prog,
            batches,
            folder,
            evaluate=evaluator.during,
            on_first_batch=lambda batch: draw_views(prog, batch, sources, folder),
            terminated=terminated,
            profile_steps=profile_steps,
            extract=UnlabeledExtract(prog, data),
            begin=begin,
        )
    with signals_stop(prog.clock.total_steps):
        if terminated.is_set():
            raise Interrupted(prog.clock.total_steps)
        return _finish(prog, evaluator, trained, folder, started)


def _finish(
    prog: Program, evaluator: suite.Suite, trained: loop.Trained, folder: epath.Path, started: float
) -> Result:
    """Evaluates a trained run, draws it, and writes its result."""
    config, evals = prog.config, prog.config.evals
    with doing("closing evaluation"):
        found = evaluator.final(trained.state)
    with doing("drawing"):
        draw_figures(found.figures, folder, config.log.pictures)
        draw_features(evaluator, trained.state, folder)
        draw_attention(evaluator, trained.state, folder)
        draw_clusters(evaluator, trained.state, folder)
        draw_reconstruction(evaluator, trained.state, folder)
        draw_patches(evaluator, trained.state, folder)
        draw_sound(evaluator, trained.state, folder)
    values = {
        **found.values,
        **classifier.median_of_last(trained.history, f"val/{classifier.TOP1}", evals.classifier.median_of),
        **supervised_baseline.read(evals.supervised_baseline),
        **trained.totals,
        "step": prog.clock.total_steps,
        "evaluated_on": evaluator.evaluated_on,
        "seconds": trained.seconds_before + time.time() - started,
    }
    draw_curves(folder, values, config.log.pictures)
    if parallel.is_main_process():
        workdir.write_json(folder / workdir.RESULT_FILE, values)
        if config.log.pictures:
            with drawing(pages.PAGE_FILE):
                pages.write([str(folder)], folder / pages.PAGE_FILE)
    parallel.barrier("result")
    return Result(folder, values)


def train_batches(prog: Program, data: Data) -> dict[str, TrainBatches]:
    """The streams of a run."""
    config, batches = prog.config, {}
    for name, stream in prog.streams.items():
        crops = stream.views if stream.host_crops else None
        more: dict[str, Rows] = {}
        labels: np.ndarray | None
        if name == "labeled":
            source, labels, more = data.labeled_stream()
        else:
            source, labels = data.unlabeled(config.evals.online)
            more = {} if data.sounds is None else {"audio": data.sounds}
        batches[name] = TrainBatches(
            source,
            stream.batch_size,
            stream.seed(config.seed),
            prog.clock.total_steps,
            labels,
            crops,
            more=more,
            captions=data.captions(stream.seed(config.seed)) if name == "unlabeled" else None,
        )
    return batches
