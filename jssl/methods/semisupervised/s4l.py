"""Semi-supervised learning: a classifier on labelled images, and any methods as terms, over one encoder."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jssl import losses, rng, settings
from jssl.data import augment
from jssl.errors import UserError
from jssl.methods.base import (
    Context,
    Method,
    Output,
    Predictions,
    ViewRef,
    features_of_images,
    get_view,
    some_images,
    view_copies,
)
from jssl.methods.momentum import ema
from jssl.methods.networks import health, replace_network
from jssl.methods.view_task import ViewTask, forward_views, init_encoder, make_classifier
from jssl.models import Network
from jssl.schedules import early, linear_warmup
from jssl.types import Array, Batch, Metrics, Params, State

FORWARDS = ("together", "separate")
AVERAGES = ("step", "epoch")


@dataclasses.dataclass(frozen=True)
class Term:
    """A method with a weight.

    Attributes:
      method: over the shared encoder and, if it has one, the shared classifier.
      weight: factor in the sum, of players of their own (a discriminator), too.
      ramp: part of training in which the weight grows linearly from 0.
    """

    method: Method
    weight: float = settings.weight(1.0)
    ramp: float = settings.fraction(0.0)

    def __post_init__(self) -> None:
        settings.check(self)

    def factor(self, ctx: Context) -> Array | float:
        """The weight at this moment of training."""
        return linear_warmup(ctx.progress, 0.0, self.weight, self.ramp) if self.ramp else self.weight

    @property
    def uses_classifier(self) -> bool:
        """Whether its loss uses class scores."""
        return isinstance(self.method, ViewTask) and self.method.uses_classifier


@dataclasses.dataclass(frozen=True)
class SemiSupervised(Method):
    """The supervised loss plus weighted terms, each a method of this library (Zhai et al., 2019, eq. 1).

    Without terms it is supervised learning, without a labelled stream the weighted sum of its terms. Views that terms
    request pass the encoder once, for all of them. https://arxiv.org/abs/1905.03670

    params  {'encoder', 'classifier' if there are labels, 'terms': {name: what is the term's own}}
    state   {'stats': {'encoder'}, 'terms': {name: ...}, 'average': {'encoder', 'classifier'} if `average` is not 0}

    Attributes:
      terms: the terms of the loss, sections by name.
      supervised_weight: weight of the class loss.
      label_smoothing: part of a label that is spread evenly over the classes.
      mixup, cutmix: parameters of the Beta distributions by which labelled images are mixed, see
        `augment.mixing_weights`; 0 for none.
      class_on_copies: whether the class loss is on all views of labelled images that are in the batch, turned ones and
        copies too, or on the first view alone.
      forward: 'together' passes labelled and unlabelled images in one batch, which then have common batch statistics;
        'separate' passes stream by stream.
      average: how much an update keeps of the averaged weights that evaluators see; 0 for no average.
      average_every: whether that is meant per 'step' or per 'epoch'.
      rotate: whether predictions are means over the four turns of an image.
      classes: of the data set; the program knows it.
    """

    terms: Mapping[str, Term] = dataclasses.field(default_factory=dict)
    supervised_weight: float = settings.weight(1.0)
    label_smoothing: float = settings.part(0.0)
    mixup: float = settings.weight(0.0)
    cutmix: float = settings.weight(0.0)
    class_on_copies: bool = True
    forward: str = settings.choice("together", FORWARDS)
    average: float = settings.part(0.0)
    average_every: str = settings.choice("step", AVERAGES)
    rotate: bool = False
    classes: int = 0

    def __post_init__(self) -> None:
        settings.check(self)

    @functools.cached_property
    def classifier(self) -> Network | None:
        """The linear layer on the features; None without classes."""
        return make_classifier(self.classes) if self.classes else None

    @property
    def sharded(self) -> tuple[str, ...]:
        return tuple(name for term in self.terms.values() for name in term.method.sharded)

    @property
    def auxiliary(self) -> tuple[str, ...]:
        return tuple(
            f"terms/{name}/{part}" for name, term in self.terms.items() for part in term.method.auxiliary
        )

    def collapse_causes(self) -> tuple[str, ...]:
        return tuple(cause for term in self.terms.values() for cause in term.method.collapse_causes())

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Every view of the labelled stream, and those that terms use."""
        names: dict[str, tuple[str, ...]] = {}
        if "labeled" in batch:
            names["labeled"] = tuple(batch["labeled"]["views"])
        for term in self.terms.values():
            for stream, more in term.method.view_names(batch).items():
                names[stream] = (*names.get(stream, ()), *more)
        return names

    def check(self, batch: Batch) -> None:
        if "labeled" not in batch and not self.terms:
            raise UserError("S4L has neither labels nor terms: set data.labeled.batch_size or method.terms")
        if "labeled" in batch and not self.classes:
            raise UserError("S4L learns from labels: the data have none, or data.labels='none'")
        if self.mixes and (self.terms or "weight" in batch["labeled"] or len(self.labeled_views(batch)) > 1):
            raise UserError(
                "method.mixup and method.cutmix are for one view of labelled images, without terms and pseudo-labels"
            )
        for name, term in self.terms.items():
            if term.method.refresh_every:
                raise UserError(
                    f"method.terms.{name}: {type(term.method).__name__} is refreshed; it can be no term"
                )
            term.method.check(batch)
            if term.uses_classifier and "labeled" not in batch:
                raise UserError(
                    f"method.terms.{name} learns from a classifier that nothing teaches: set data.labeled.batch_size"
                )

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = some_images({"": batch["labeled"]} if "labeled" in batch else batch)
        shared, stats, _ = init_encoder(self.encoder, self.classifier, key, images)
        params: dict[str, Params] = {**shared, "terms": {}}
        state: dict[str, State] = {"stats": {"encoder": stats}, "terms": {}}
        for name, term in self.terms.items():
            own, own_state = term.method.init(rng.derive(key, f"term/{name}"), batch)
            for network, part in shared.items():  # targets begin as copies of what is shared
                copy = jax.tree.map(jnp.copy, part)
                own_state = replace_network(own_state, network, copy, stats if network == "encoder" else {})
            params["terms"][name], state["terms"][name] = without_shared(own, own_state)
        if self.average:
            state["average"] = jax.tree.map(jnp.copy, shared)
        return params, state

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        shared = self.shared(params)
        tiles = rng.derive(ctx.key, "tiles")
        images = {ref: get_view(batch, ref, tiles) for ref in self.forwarded_views(batch)}
        if self.mixes:
            images, batch = self.mixed(images, batch, rng.derive(ctx.key, "mixing"))
        predictions, stats = forward_views(
            self.encoder,
            self.classifier,
            shared,
            state["stats"]["encoder"],
            images,
            ctx.key,
            self.forward == "separate",
        )
        value, metrics = self.class_loss(predictions, batch)
        states = {}
        for name, term in self.terms.items():
            own = ctx._replace(key=rng.derive(ctx.key, f"term/{name}"), predictions=predictions)
            whole = with_shared(params["terms"][name], state["terms"][name], shared, stats)
            found, output = term.method.loss(*whole, batch, own)
            value = value + term.factor(ctx) * found
            stats = output.state["stats"]["encoder"]
            _, states[name] = without_shared({}, output.state)
            metrics |= {f"{name}/{key}": x for key, x in {"loss": found, **output.metrics}.items()}
        features, labels = None, None
        if predictions:
            first = next(iter(predictions))
            features, labels = features_of_images(first, predictions), batch[first.stream].get("label")
            metrics = {**health(features), **metrics}
        state = {**state, "stats": {"encoder": stats}, "terms": states}
        return value, Output(state, jax.lax.stop_gradient(metrics), features, labels)

    @property
    def mixes(self) -> bool:
        """Whether labelled images are mixed."""
        return bool(self.mixup or self.cutmix)

    def mixed(
        self, images: Mapping[ViewRef, Array], batch: Batch, key: Array
    ) -> tuple[dict[ViewRef, Array], Batch]:
        """Labelled images mixed with one another, and the batch with a `target` that says how."""
        (view,) = images.values()
        height, width = view.shape[1:3]
        weights = augment.mixing_weights(key, height, width, self.mixup, self.cutmix)
        target = augment.mix(jnp.mean(weights), jax.nn.one_hot(batch["labeled"]["label"], self.classes))
        seen = {ref: augment.mix(weights, x) for ref, x in images.items()}
        return seen, {**batch, "labeled": {**batch["labeled"], "target": target}}

    def class_loss(self, predictions: Mapping[ViewRef, Predictions], batch: Batch) -> tuple[Array, Metrics]:
        """Weighted cross entropy of the labelled views, and what is logged of it; 0 without a labelled stream.

        Where labels are pseudo-labels, the stream has a `target` float32[B, C] and a `weight` float32[B].
        """
        if "labeled" not in batch:
            return jnp.zeros(()), {}
        stream, first = batch["labeled"], self.labeled_views(batch)[0]
        target, weight = stream.get("target", stream["label"]), stream.get("weight")
        whole = [ref for ref in predictions if ref.stream == "labeled" and ref.tiles is None]
        refs = whole if self.class_on_copies else [first]
        logits = {ref: predictions[ref].logits for ref in refs}
        each = [losses.cross_entropy(x, target, weight, self.label_smoothing) for x in logits.values()]
        value = jnp.mean(jnp.stack(each))
        right = jnp.mean(jnp.argmax(logits[first], axis=-1) == stream["label"])
        return self.supervised_weight * value, {"class/loss": value, "class/top1": right}

    def labeled_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        """Every view of the labelled stream, if there is one."""
        names = batch["labeled"]["views"] if "labeled" in batch else ()
        return tuple(ref for name in names for ref in view_copies(batch, "labeled", name))

    def forwarded_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        """The views that pass the network once for all: the labelled ones, and what terms request, each once."""
        asked = (ref for term in self.terms.values() for ref in term.method.requested_views(batch))
        return tuple(dict.fromkeys((*self.labeled_views(batch), *asked)))

    @staticmethod
    def shared(params: Params) -> Params:
        """The networks that all terms share."""
        return {name: params[name] for name in ("encoder", "classifier") if name in params}

    def constrained(self, params: Params) -> Params:
        terms = {name: term.method.constrained(params["terms"][name]) for name, term in self.terms.items()}
        return {**params, "terms": terms}

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        shared, stats, states = self.shared(params), state["stats"]["encoder"], {}
        for name, term in self.terms.items():
            whole = with_shared(params["terms"][name], state["terms"][name], shared, stats)
            _, states[name] = without_shared({}, term.method.after_update(*whole, ctx))
        state = {**state, "terms": states}
        if not self.average:
            return state
        steps = ctx.steps_per_epoch if self.average_every == "epoch" else 1.0
        decay = early(jnp.power(self.average, 1 / steps), ctx.step)
        return {**state, "average": ema(state["average"], shared, decay)}

    def eval_weights(self, params: Params, state: State) -> Params:
        """Encoder and classifier that evaluators see: averaged, if there is an average."""
        return state["average"] if self.average else params

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        return self.eval_weights(params, state)["encoder"], state["stats"]["encoder"]

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """With classes, `logits` too; with `rotate` they are the logarithm of the mean probability over four turns."""
        found = super().outputs(params, state, inputs, modality)
        classifier = self.classifier
        if classifier is None:
            return found
        head = self.eval_weights(params, state)["classifier"]

        def scores(features: Array) -> Array:
            return classifier.apply(head, {}, features, train=False)[0]

        if not self.rotate:
            return {**found, "logits": scores(found["features"])}
        encoder = self.eval_encoder(params, state)
        each = [found["features"]] + [
            self.encoder.apply(*encoder, jnp.rot90(inputs, turns, axes=(1, 2)), train=False)[0]
            for turns in range(1, 4)
        ]
        turned = jnp.stack([jax.nn.log_softmax(scores(features)) for features in each])
        return {**found, "logits": jax.nn.logsumexp(turned, axis=0) - math.log(4)}


def with_shared(params: Params, state: State, shared: Params, stats: State) -> tuple[Params, State]:
    """A term's parameters and state, with those of the shared networks."""
    return {**params, **shared}, {**state, "stats": {**state["stats"], "encoder": stats}}


def without_shared(params: Params, state: State) -> tuple[Params, State]:
    """A term's parameters and state, without those of the shared networks."""
    stats = {name: part for name, part in state["stats"].items() if name != "encoder"}
    own = {name: part for name, part in params.items() if name not in ("encoder", "classifier")}
    return own, {**state, "stats": stats}
