"""Fine-tuning: the whole encoder learns from all labels, from 10 % or 1 % of them, beside the same one from scratch."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any, Self

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jssl import models, parallel, settings
from jssl.data import splits
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.sources import Source
from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import extract_source
from jssl.evaluation.training import train_on
from jssl.methods import default_settings
from jssl.methods.networks import encoder_with_head, replace_network
from jssl.metrics.classification import accuracy

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.program import Program
    from jssl.train.state import TrainState

VIEW = ViewSpec(32, crop_area_min=0.08, flip_prob=0.5)
SEMI = {
    "optimizer": "sgd",
    "lr_scaling": "linear",
    "weight_decay": 0.0,
    "epochs": 20.0,
    "batch_size": 256,
    "least_steps": 0,
}
# What papers fine-tune with: for any number of labels, and for 1 % or 10 % of ImageNet's.
RECIPES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "none": ({}, {}),
    "simclr_v2": (
        {
            **SEMI,
            "optimizer": "lars",
            "lr": 0.08,  # .005 sqrt(batch) in the paper's code
            "lr_scaling": "sqrt",
            "batch_size": 1024,
            "epochs": 30.0,
            "head_layers": 1,
        },
        {"1%": {"epochs": 60.0}},
    ),
    "byol": (
        {**SEMI, "lr": 0.005, "nesterov": True, "batch_size": 1024, "epochs": 30.0},
        {},
    ),
    "swav": (
        {**SEMI, "schedule": "step", "step_at": (0.6, 0.8), "step_factor": 0.2, "lr": 0.01, "head_lr": 0.2},
        {"1%": {"lr": 0.02, "head_lr": 5.0}},
    ),
    "barlow_twins": ({**SEMI, "lr": 0.005, "head_lr": 0.5}, {}),
    "vicreg": ({**SEMI, "lr": 0.01, "head_lr": 0.1}, {"1%": {"lr": 0.03, "head_lr": 0.08}}),
    "mae": (
        {
            "lr": 5e-4,
            "lr_scaling": "linear",
            "least_steps": 0,
            "weight_decay": 0.05,
            "layer_decay": 0.65,
            "batch_size": 1024,
            "epochs": 100.0,
            "warmup_percent": 5.0,
            "label_smoothing": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "drop_path": 0.1,
        },
        {},
    ),
}


@dataclasses.dataclass(frozen=True)
class FineTune(Evaluator):
    """Accuracy after the whole network has learnt from labels: all of them, or some of every class.

    A linear classifier is put on the encoder, or on the first layers of its projector, and all of it is trained anew
    for every entry of `labels`. The baseline 'untrained' is the same network from scratch, with the same recipe: read
    one beside the other. The test set is looked at once, after the last step.

    Attributes:
      labels: whose labels are used, as in `data.labels`: 'all', '10%', '1%', '10 per class'; one result each.
      draws: how many times some labels are drawn and learnt from; with more than one, deviations stand beside means.
      recipe: a paper's settings for what stands at its default here: 'simclr_v2', 'byol' (one point of its sweep),
        'swav', 'barlow_twins', 'vicreg', 'mae' (without its RandAugment and erasing, which `view` can have).
      epochs: over the labelled images.
      least_steps: of the training, however few the images are.
      batch_size: over all devices.
      optimizer: the update rule.
      lr: learning rate of the encoder.
      lr_scaling: how the rates grow with batch_size / 256; with 'none' they do not.
      head_lr: that of the classifier; 0 for the same.
      layer_decay: of the rate from each layer of the encoder to the one below.
      weight_decay: decay of kernels.
      momentum: of sgd and lars.
      nesterov: whether sgd and lars take Nesterov's momentum.
      schedule: course of the rate.
      step_at: parts of the training at which a step schedule steps.
      step_factor: of the rate at each.
      warmup_percent: of the training, in which the rate grows linearly.
      freeze_percent: of the training, in which the classifier learns alone.
      label_smoothing: part of a label that is spread evenly over the classes.
      mixup, cutmix: see `augment.mixing_weights`; 0 for none.
      drop_path: of a transformer's blocks.
      head_layers: layers of the projector that stay on the encoder.
      view: the augmentation, as a section of a view.

    References:
      Zhai et al., S4L, 2019; Chen et al., Big Self-Supervised Models, 2020. https://arxiv.org/abs/2006.10029
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021, appendix A.1. https://arxiv.org/abs/2111.06377
    """

    name = "finetune"
    needs = frozenset({"labels"})
    during = False
    possible_baselines = ("untrained",)

    enabled: bool = False
    baselines: tuple[str, ...] = ("untrained",)
    labels: tuple[str, ...] = ("all",)
    draws: int = settings.size(1)
    recipe: str = settings.choice("none", tuple(RECIPES))
    epochs: float = settings.positive(30.0)
    least_steps: int = settings.count(300)
    batch_size: int = settings.size(128)
    optimizer: str = settings.choice("adamw", ("sgd", "lars", "adamw"))
    lr: float = settings.positive(1e-3)
    lr_scaling: str = settings.choice("none", ("none", "linear", "sqrt"))
    head_lr: float = settings.weight(0.0)
    layer_decay: float = settings.part_above(1.0)
    weight_decay: float = settings.weight(0.01)
    momentum: float = settings.part(0.9)
    nesterov: bool = False
    schedule: str = settings.choice("cosine", ("cosine", "step", "constant"))
    step_at: tuple[float, ...] = (0.6, 0.8)
    step_factor: float = settings.weight(0.1)
    warmup_percent: float = settings.within(0.0, 0, 100)
    freeze_percent: float = settings.within(0.0, 0, 100)
    label_smoothing: float = settings.part(0.0)
    mixup: float = settings.weight(0.0)
    cutmix: float = settings.weight(0.0)
    drop_path: float = settings.part(0.0)
    head_layers: int = settings.count(0)
    view: ViewSpec = VIEW

    def check(self) -> None:
        self.require("labels", bool(self.labels), "must name some: 'all', '10%', '10 per class'")
        for labels in self.labels:
            try:
                splits.parsed(labels)
            except UserError as error:
                raise UserError(f"evals.finetune.labels: {error}") from None
        self.require("view", self.view.copies == 1, "must be a single view: set its copies to 1")

    def check_run(self, program: Program, data: Data) -> None:
        if data.num_classes < 2:
            return
        for labels in self.labels:
            own = self.with_recipe(labels)
            parallel.check_batch_size(own.batch_size, program.mesh, "evals.finetune.batch_size")
            shape = (own.batch_size, *2 * (own.view.size,), data.info.channels)
            parallel.check_fits(jax.ShapeDtypeStruct(shape, np.float32), "evals.finetune.batch_size")
            if labels != "all" and data.train.labels_are_cheap:
                known = data.labeled()[1]
                splits.label_subset(known, labels, 0)
            params, state = jax.eval_shape(program.init_method)
            encoder_with_head(program.method, params, state, own.head_layers)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        found = Evaluation()
        for labels in self.labels:
            recipe, draws = self.with_recipe(labels), 1 if labels == "all" else self.draws
            each = [recipe.accuracies(labels, draw, data, ctx) for draw in range(draws)]
            values = {name: float(np.mean([own[name] for own in each])) for name in each[0]}
            if draws > 1:
                values |= {f"{name}_std": float(np.std([own[name] for own in each])) for name in each[0]}
            found |= Evaluation(values).prefixed(f"{key_of(labels)}/")
        return found

    def with_recipe(self, labels: str) -> Self:
        """A copy in which what stands at its default is as in the recipe, for labels like these."""
        common, by_labels = RECIPES[self.recipe]
        default = type(self)()
        changes = {
            name: value
            for name, value in {**common, **by_labels.get(labels, {})}.items()
            if getattr(self, name) == getattr(default, name)
        }
        return dataclasses.replace(self, **changes)

    def accuracies(self, labels: str, draw: int, data: EvalData, ctx: EvalContext) -> dict[str, float]:
        """Accuracies on the query set after training on one draw of labels."""
        assert data.labeled is not None
        assert data.query is not None
        assert ctx.state is not None
        known = data.labeled.labels()
        assert known is not None
        source = data.labeled.take(splits.label_subset(known, labels, draw))
        key = f"finetune/{labels}"  # one program, compiled once, for all draws and baselines
        if key not in ctx.cache:
            ctx.cache[key] = finetune_program(self, ctx.program, ctx.state, len(source), data.classes)
        program = ctx.cache[key]
        state = fine_tuned(program, ctx.program, ctx.state, source, self.head_layers)
        apply = functools.partial(program.logits, state.params, state.method_state)
        scores = extract_source(program, apply, data.query)
        return accuracy(np.argsort(-scores.x, axis=1, kind="stable"), scores.labels)


def key_of(labels: str) -> str:
    """The name of a result: '10%' is '10_percent'."""
    return labels.replace(" ", "_").replace("%", "_percent")


def fine_tuned(
    tuned: Program, program: Program, state: TrainState, source: Source, head_layers: int = 0
) -> TrainState:
    """Trains the encoder of a run and a new classifier on labelled images.

    Args:
      tuned: see `finetune_program`.
      program: of the run.
      state: of the run; the encoder is the one that evaluators see. It stays as it is.
      source: images with labels.
      head_layers: layers of the projector that stay on the encoder.

    Returns:
      The trained state of `tuned`, whose `logits` are the classifier's.
    """
    found = encoder_with_head(program.method, state.params, state.method_state, head_layers)
    encoder, stats = jax.tree.map(jnp.copy, found)  # the step uses up what it is given
    fresh = tuned.init()
    begun = dataclasses.replace(
        fresh,
        params={**fresh.params, "encoder": encoder},
        method_state=replace_network(fresh.method_state, "encoder", {}, stats),
    )
    return train_on(tuned, jax.device_put(begun, tuned.shardings), source)


def finetune_program(
    recipe: FineTune, program: Program, state: TrainState, num_examples: int, classes: int
) -> Program:
    """A run's program with its encoder under a classifier as the method; of the run's optimiser it has nothing.

    Args:
      recipe: its own settings count, see `FineTune.with_recipe`.
      program: of the run.
      state: of the run, or its shapes.
      num_examples: images to train on.
      classes: of their labels.
    """
    from jssl.train.program import make_program

    config = ml_collections.ConfigDict(program.config.to_dict())
    crop = config.data[program.main.name].crop
    for unit, kind in UNITS.items():
        if f"total_{unit}" in config:
            config[f"total_{unit}"] = kind(0)
    config.total_steps = max(recipe.least_steps, math.ceil(recipe.epochs * num_examples / recipe.batch_size))
    method = {"label_smoothing": recipe.label_smoothing, "mixup": recipe.mixup, "cutmix": recipe.cutmix}
    config.method = {**default_settings("s4l"), **method}
    config.optim = optimizer_section(recipe)
    config.evals.online = False
    config.data.epochs_of = "labeled"
    config.data.unlabeled.batch_size = 0
    config.data.labeled.update({"batch_size": recipe.batch_size, "crop": crop})
    config.data.labeled.views = {"view": dataclasses.asdict(recipe.view)}
    info = dataclasses.replace(
        program.info,
        num_examples=num_examples,
        num_labeled=num_examples,
        num_classes=classes,
        pseudo_labels="",
        audio_samples=0,
        text_context=0,
    )
    params, _ = encoder_with_head(program.method, state.params, state.method_state, recipe.head_layers)
    sizes = [params["head"][f"dense{layer}"]["kernel"].shape[1] for layer in range(recipe.head_layers)]
    encoder = models.with_head(program.method.encoder.with_drop_path(recipe.drop_path), sizes)
    return make_program(config, info, program.mesh, own_encoder=encoder)


def optimizer_section(recipe: FineTune) -> dict[str, Any]:
    """The section `optim` of the training."""
    common = (
        "lr",
        "lr_scaling",
        "layer_decay",
        "weight_decay",
        "momentum",
        "nesterov",
        "schedule",
        "step_at",
    )
    freeze = {f"freeze_{unit}": kind(0) for unit, kind in UNITS.items()}
    head = recipe.head_lr / recipe.lr if recipe.head_lr else 1.0
    group = {"constant_lr": False, **freeze}
    return {
        "name": recipe.optimizer,
        **{name: getattr(recipe, name) for name in (*common, "step_factor")},
        **{f"warmup_{unit}": kind(0) for unit, kind in UNITS.items()},
        "warmup_percent": recipe.warmup_percent,
        "lr_base_batch_size": 256,
        "final_lr_factor": 0.0,
        "final_weight_decay": 0.0,
        "decay_all": False,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "trust_coefficient": 0.001,
        "lars_lr_first": True,
        "lars_clip": False,
        "clip_norm": 0.0,
        "clip_each_norm": 0.0,
        "grad_accumulation": 1,
        "grad_cache": 1,
        "groups": {
            "encoder": {
                **group,
                "pattern": "encoder/",
                "lr_factor": 1.0,
                "freeze_percent": recipe.freeze_percent,
            },
            "classifier": {**group, "pattern": "classifier/", "lr_factor": head},
        },
    }


UNITS: dict[str, type] = {"epochs": float, "steps": int, "examples": int, "percent": float}
