"""Runs that begin with an encoder that others trained, and that encoder without any run."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
from absl import logging

from jssl import config as schema
from jssl import storage
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.evaluation import EVALUATORS
from jssl.evaluation.suite import Begin
from jssl.methods.networks import replace_network
from jssl.models import weights
from jssl.runs.encoder import Encoder
from jssl.runs.restore import make_program
from jssl.train.program import Program
from jssl.train.state import TrainState
from jssl.types import Params, State

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which all of these encoders saw
CROP = 0.875  # of the shorter side, as in their papers
NAMED = 4


def loaded(prog: Program) -> weights.Loaded:
    """The encoder that `encoder.weights` of a config names.

    Raises:
      UserError: if the file is none, or holds another encoder.
    """
    config = prog.config
    try:
        found = weights.load(weights.read(config.encoder.weights), prog.method.encoder, prog.info.channels)
    except UserError as error:
        raise UserError(f"encoder.weights={config.encoder.weights}: {error}") from error
    if config.init_from:
        raise UserError("encoder.weights and init_from both say what the run begins with: set one of them")
    logging.info("encoder.weights: not used: %s", ", ".join(found.unused) or "nothing")
    if (tuple(prog.main.mean), tuple(prog.main.std)) != (MEAN, STD) and prog.info.channels == 3:
        logging.warning(
            "encoder.weights: such encoders saw images normalised by data.mean=%s and data.std=%s; the run has others",
            *(MEAN, STD),
        )
    return found


def beginning(prog: Program) -> Begin:
    """What makes of a fresh state the one that a run begins with: another encoder, if the config names one.

    Raises:
      UserError: as `loaded`.
    """
    return (
        functools.partial(begin_with, loaded(prog))
        if prog.config.encoder.weights
        else lambda program, state: state
    )


def beginning_later(prog: Program) -> Begin:
    """As `beginning`, but the file is read when it is needed; without it the baseline 'untrained' is left out."""
    path, evals = prog.config.encoder.weights, prog.config.evals
    if not path:
        return beginning(prog)
    if not storage.located(path).is_file():
        logging.warning("encoder.weights=%s is not there any more: no baseline 'untrained'", path)
        for name in EVALUATORS:
            evals[name].baselines = tuple(x for x in evals[name].baselines if x != "untrained")
    return lambda program, state: begin_with(loaded(prog), program, state)


def begin_with(found: weights.Loaded, prog: Program, state: TrainState) -> TrainState:
    """A fresh state whose encoder, and the targets and averages of it, are those of a file."""
    return jax.device_put(_with_encoder(state, found.params, found.stats), prog.shardings)


def _with_encoder(state: TrainState, params: Params, stats: State) -> TrainState:
    trees = (replace_network(tree, "encoder", params, stats) for tree in (state.params, state.method_state))
    return dataclasses.replace(state, **dict(zip(("params", "method_state"), trees)))


def load(path: str, encoder: str = "", size: int = 224, batch_size: int = 64) -> Encoder:
    """An encoder of others, as one of a run: it takes uint8[B, H, W, 3] and sees the centre of each.

    Args:
      path: of the file.
      encoder: its name, such as 'vit_s', if the file shall be checked for that.
      size: side of the images that it sees, of which a ViT's patch size is a part.
      batch_size: images that it sees at a time.

    Raises:
      UserError: if the file is none, or holds no encoder that is known.
    """
    tensors = weights.read(path)
    found = weights.options(tensors, size)
    if encoder and encoder != found["name"]:
        raise UserError(f"encoder={encoder!r}: {path} holds {found['name']}")
    config = schema.defaults("public", "simclr")
    config.encoder.name = found["name"]
    for family in found.keys() - {"name"}:
        config.encoder[family].update(found[family])
    config.total_steps = 1
    config.data.name, config.data.mean, config.data.std = path, MEAN, STD
    config.data.unlabeled.update(
        {"batch_size": 2, "views": {name: schema.view(size) for name in ("first", "second")}}
    )
    config.evals.update({"batch_size": batch_size, "crop_fraction": CROP})
    schema.validate(config)
    channels = weights.channels_of(tensors)
    if channels != len(MEAN):
        config.data.mean, config.data.std = (0.0,), (1.0,)
    prog = make_program(config, DataInfo(2, None, channels), for_training=False)
    own = weights.load(tensors, prog.method.encoder, channels)
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), prog.abstract_state())
    return Encoder(prog, begin_with(own, prog, empty))
