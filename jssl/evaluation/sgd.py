"""Linear evaluation as the papers do it: SGD on augmented images through the frozen encoder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from jssl import parallel, settings
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.sources import Source
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import extract_source
from jssl.evaluation.training import train_on
from jssl.methods import Context, Method, OnlineProbe, Output
from jssl.methods.base import some_images
from jssl.metrics.classification import accuracy
from jssl.types import Array, Batch, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.durations import Clock
    from jssl.train.program import Program
    from jssl.train.state import TrainState

VIEW = ViewSpec(32, crop_area_min=0.08, flip_prob=0.5)


@dataclasses.dataclass(frozen=True)
class SGD(Evaluator):
    """Accuracy of a linear classifier trained by SGD on augmented images, as most papers report it.

    The rate is `lr * batch_size / 256`; every paper has its own, which its `imagenet` preset gives. It takes long: a
    probe of the untrained encoder is trained only if `baselines` asks for it.

    Attributes:
      epochs: over the images with labels.
      batch_size: over all devices.
      lr: learning rate for a batch of 256 images.
      momentum: momentum of SGD.
      nesterov: whether it is Nesterov's.
      weight_decay: decay of the kernel.
      schedule: course of the rate: a cosine to 0, or a tenth of it at each of `step_at`.
      step_at: parts of the training.
      trust_coefficient: of LARS, which adapts the rate of the kernel; 0 for plain SGD.
      view: the augmentation, as a section of a view.
      points: measurements of the accuracy on the way, evenly spaced, the last included: 'curve/EPOCHS'. They choose
        nothing.

    References:
      Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020, appendix B.6.
      https://arxiv.org/abs/2002.05709
    """

    name = "sgd"
    needs = frozenset({"labels"})
    during = False
    possible_baselines = ("untrained",)

    enabled: bool = False
    epochs: float = settings.positive(90.0)
    batch_size: int = settings.size(256)
    lr: float = settings.positive(0.1)
    momentum: float = settings.part(0.9)
    nesterov: bool = True
    weight_decay: float = settings.weight(0.0)
    schedule: str = settings.choice("cosine", ("cosine", "step"))
    step_at: tuple[float, ...] = (0.6, 0.8)
    trust_coefficient: float = settings.weight(0.0)
    view: ViewSpec = VIEW
    points: int = settings.count(0)

    def check_run(self, program: Program, data: Data) -> None:
        parallel.check_batch_size(self.batch_size, program.mesh, "evals.sgd.batch_size")
        shape = (self.batch_size, *2 * (self.view.size,), data.info.channels)
        parallel.check_fits(jax.ShapeDtypeStruct(shape, np.float32), "evals.sgd.batch_size")

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        assert data.labeled is not None
        assert ctx.state is not None
        query, examples = data.query, len(data.labeled)

        def measured(probe: Program, state: TrainState) -> dict[str, float]:
            apply = functools.partial(probe.logits, state.params, state.method_state)
            scores = extract_source(ctx.program, apply, query)
            return accuracy(np.argsort(-scores.x, axis=1, kind="stable"), scores.labels)

        steps = probe_clock(self, examples).total_steps
        points = set(np.linspace(0, steps, self.points + 1).astype(int)[1:-1].tolist())
        curve: dict[str, float] = {}

        def watch(probe: Program, step: int, state: TrainState) -> None:
            if step in points:
                epochs = step * self.batch_size / examples
                curve[f"curve/{epochs:.2f}"] = measured(probe, state)["top1"]

        probe, state = train_probe(self, ctx.program, ctx.state, data.labeled, data.classes, watch)
        return Evaluation(curve | measured(probe, state))


@dataclasses.dataclass(frozen=True)
class FrozenEncoder(Method):
    """The encoder that another method trained: it lies in the state, and nothing of it is learnt."""

    inner: Method

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        return {}, {"frozen": self.inner.eval_encoder(*self.inner.init(key, batch))}

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        return state["frozen"]

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        stream = batch["unlabeled"]
        features = self.outputs(params, state, some_images(batch))["features"]
        return jnp.zeros(()), Output(state, {}, features, stream["label"])


def train_probe(
    recipe: SGD,
    program: Program,
    state: TrainState,
    source: Source,
    classes: int,
    watch: Callable[[Program, int, TrainState], None] = lambda probe, step, state: None,
) -> tuple[Program, TrainState]:
    """Trains a linear classifier on a run's encoder, which stays as it is.

    Args:
      recipe: how.
      program: of the run.
      state: of the run; the encoder is the one that evaluators see.
      source: images with labels.
      classes: of the labels.
      watch: called after every step with the probe, the number of the step and the state.

    Returns:
      A program whose `logits` are the classifier's, and its trained state.
    """
    probe = probe_program(recipe, program, len(source), classes)
    frozen = jax.tree.map(jnp.copy, program.method.eval_encoder(state.params, state.method_state))
    begun = dataclasses.replace(probe.init(), method_state={"frozen": frozen})
    return probe, train_on(probe, begun, source, functools.partial(watch, probe))


def probe_program(recipe: SGD, program: Program, num_examples: int, classes: int) -> Program:
    """The run's program with the probe as its method; of the run's optimiser it has nothing."""
    from jssl.train.program import fixed

    config = ml_collections.ConfigDict(program.config.to_dict())
    config.optim = {"grad_accumulation": 1, "grad_cache": 1}  # which is all that a step reads of it
    info = dataclasses.replace(program.info, num_examples=num_examples)
    clock = probe_clock(recipe, num_examples)
    stream = dataclasses.replace(
        program.main,
        name="unlabeled",
        batch_size=recipe.batch_size,
        num_examples=num_examples,
        views={"view": recipe.view},
    )
    encoder = program.method.encoder
    optimizer, schedule = probe_optimizer(recipe, clock.total_steps)
    return dataclasses.replace(
        program,
        config=config,
        info=info,
        clock=clock,
        streams={stream.name: stream},
        method=OnlineProbe(encoder, FrozenEncoder(encoder, program.method), classes),
        optimizer_of=fixed(optimizer, schedule),
        lengths=clock.lengths,
    )


def probe_clock(recipe: SGD, num_examples: int) -> Clock:
    """The length of the probe's training."""
    from jssl.train.durations import Clock

    steps = Clock(num_examples, recipe.batch_size, 0).steps({"total_epochs": recipe.epochs}, "total")
    return Clock(num_examples, recipe.batch_size, steps)


def probe_optimizer(recipe: SGD, steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """SGD, or LARS, with momentum and weight decay of the kernel, and its schedule."""
    from jssl.train.optim import is_matrix

    peak = recipe.lr * recipe.batch_size / 256
    schedule = optax.cosine_decay_schedule(peak, steps)
    if recipe.schedule == "step":
        boundaries = {round(part * steps): 0.1 for part in recipe.step_at}
        schedule = optax.piecewise_constant_schedule(peak, boundaries)
    parts = [optax.add_decayed_weights(recipe.weight_decay, mask=is_matrix)]
    if recipe.trust_coefficient:
        adapted = optax.scale_by_trust_ratio(trust_coefficient=recipe.trust_coefficient)
        parts.append(optax.masked(adapted, is_matrix))
    return optax.chain(*parts, optax.sgd(schedule, recipe.momentum, recipe.nesterov)), schedule
