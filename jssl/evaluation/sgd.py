"""Linear evaluation as the papers do it: SGD on augmented images through the frozen encoder."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jssl import models
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.pipeline import TrainBatches
from jssl.data.streams import DataInfo, Stream
from jssl.errors import UserError
from jssl.methods import Context, Method, Output
from jssl.methods.base import some_images
from jssl.train import optim
from jssl.train.durations import Clock
from jssl.train.loop import device_iterator
from jssl.train.program import Program
from jssl.train.state import TrainState
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class FrozenProbe(Method):
    """A linear classifier on the encoder that another method trained, which lies in the state, unmoved."""

    inner: Method
    classes: int

    @functools.cached_property
    def head(self) -> models.Network:
        """The classifier."""
        return models.linear(self.classes)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        state = {"frozen": self.inner.eval_encoder(*self.inner.init(key, batch))}
        h = self._features(state, some_images(batch))
        return {"head": self.head.init(key, h)[0]}, state

    def _features(self, state: State, images: Array) -> Array:
        params, stats = state["frozen"]
        return self.encoder.apply(params, stats, images, train=False)[0]

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        stream = batch["unlabeled"]
        logits = self.head.apply(params["head"], {}, self._features(state, some_images(batch)), train=True)[0]
        each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, stream["label"])
        return jnp.mean(each), Output(state, {})

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """The class scores, in place of features."""
        return {
            "features": self.head.apply(params["head"], {}, self._features(state, inputs), train=False)[0]
        }


def train_probe(
    program: Program, batches: TrainBatches, state: TrainState, classes: int
) -> tuple[Program, TrainState]:
    """Trains a classifier on the run's encoder; the returned program's `features` are its logits.

    `evals.sgd` holds the recipe: epochs, batch_size, lr, momentum, weight_decay, and the view's fields.
    """
    recipe = program.config.evals.sgd
    info = dataclasses.replace(program.info, num_examples=len(batches.source))
    probe = _program(program, recipe, info, classes)
    fresh = probe.init()
    frozen = jax.tree.map(jnp.copy, program.method.eval_encoder(state.params, state.method_state))
    current = dataclasses.replace(fresh, method_state={"frozen": frozen})
    step = probe.compile()
    for batch in device_iterator(program, batches):
        current, metrics = step(current, {"unlabeled": batch})
        jax.block_until_ready(metrics["loss"])
    return probe, current


def check(config: Any) -> None:
    """Raises UserError if `evals.sgd` is no recipe."""
    recipe = config.evals.sgd
    if recipe.epochs <= 0 or not recipe.lr > 0 or recipe.batch_size < 1:
        raise UserError(
            f"evals.sgd: epochs={recipe.epochs}, lr={recipe.lr} and batch_size={recipe.batch_size} must be positive"
        )
    probe_views(config)


def probe_clock(config: Any, num_examples: int) -> Clock:
    """The length of the probe's training."""
    recipe = config.evals.sgd
    steps = Clock(num_examples, recipe.batch_size, 0).steps(
        ml_collections.ConfigDict({"total_epochs": recipe.epochs}), "total"
    )
    return Clock(num_examples, recipe.batch_size, steps)


def probe_views(config: Any) -> dict[str, ViewSpec]:
    """The one augmented view of the protocol."""
    return {"view": ViewSpec.from_mapping("evals.sgd.view", config.evals.sgd.view)}


def _program(program: Program, recipe: Any, info: DataInfo, classes: int) -> Program:
    config = ml_collections.ConfigDict(program.config.to_dict())
    config.optim.grad_accumulation = config.optim.grad_cache = 1
    config.optim.update(
        {
            "name": "sgd",
            "lr": recipe.lr,
            "lr_scaling": "linear",
            "lr_base_batch_size": 256,
            "momentum": recipe.momentum,
            "nesterov": True,
            "weight_decay": recipe.weight_decay,
            "schedule": "cosine",
            "final_lr_factor": 0.0,
            "clip_norm": 0.0,
            "warmup_epochs": 0.0,
            "warmup_steps": 0,
            "warmup_percent": 0.0,
        }
    )
    config.optim.groups = ml_collections.ConfigDict()
    clock = probe_clock(program.config, info.num_examples)
    views = probe_views(config)
    stream = Stream("unlabeled", recipe.batch_size, info.num_examples, views, program.main.host_crops)
    method = FrozenProbe(program.method.encoder, program.method, classes)
    probe = dataclasses.replace(
        program, config=config, info=info, clock=clock, streams={stream.name: stream}, method=method
    )
    params = jax.eval_shape(probe.init_method)[0]
    optimizer, schedule = optim.make_optimizer(config.optim, clock, params)
    return dataclasses.replace(probe, optimizer=optimizer, schedule=schedule)
