"""Semi-supervised learning: a classifier on labelled images, and terms on images without labels, over one encoder."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp

from jssl import losses, models, rng
from jssl.errors import UserError
from jssl.methods.base import Context, Method, Output
from jssl.methods.momentum import ema
from jssl.methods.networks import health
from jssl.methods.semisupervised import Picture, Scene, Seen, Start, Term
from jssl.methods.validation import check_fractions
from jssl.schedules import early
from jssl.types import Array, Batch, Metrics, Params, State

FORWARDS = ("together", "separate")
AVERAGES = ("step", "epoch")


@dataclasses.dataclass(frozen=True)
class S4L(Method):
    """The supervised loss plus weighted terms (Zhai et al., 2019, eq. 1). https://arxiv.org/abs/1905.03670

    Without terms it is the supervised baseline. What terms want to see passes the network once, for all of them.

    params  {'encoder', 'classifier', 'terms': {name: ...}}
    state   {'stats': {'encoder'}, 'terms': {name: ...}, and 'average': {'encoder', 'classifier'} if `average` is not 0}

    Attributes:
      terms: by name.
      supervised_weight: weight of the class loss.
      label_smoothing: of the labels, in [0, 1).
      class_on_copies: whether the class loss is on all pictures of labelled images that are in the batch, turned ones
        and copies too, or on the first view alone.
      forward: 'together' passes labelled and unlabelled images in one batch, which then have common batch
        statistics; 'separate' passes stream by stream.
      average: how much an update keeps of the averaged weights that evaluators see, in [0, 1); 0 for no average.
      average_every: whether that is meant per 'step' or per 'epoch'.
      rotate: whether predictions are means over the four turns of an image.
      classes, view_names, steps_per_epoch: the program knows them.
    """

    terms: Mapping[str, Term] = dataclasses.field(default_factory=dict)
    supervised_weight: float = 1.0
    label_smoothing: float = 0.0
    class_on_copies: bool = True
    forward: str = "together"
    average: float = 0.0
    average_every: str = "step"
    rotate: bool = False
    classes: int = 0
    view_names: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    steps_per_epoch: float = 1.0

    def __post_init__(self) -> None:
        check_fractions(label_smoothing=self.label_smoothing, average=self.average)
        for name, value, valid in (
            ("forward", self.forward, FORWARDS),
            ("average_every", self.average_every, AVERAGES),
        ):
            if value not in valid:
                raise UserError(f"method.{name}={value!r}: valid are {', '.join(valid)}")
        if self.supervised_weight < 0 or self.average == 1 or self.label_smoothing == 1:
            raise UserError(
                "method.supervised_weight must be at least 0, method.average and method.label_smoothing less than 1"
            )

    @functools.cached_property
    def classifier(self) -> models.Network:
        """The linear layer on the features."""
        return models.linear(self.classes, kernel_init="normal")

    @property
    def sharded(self) -> tuple[str, ...]:
        return tuple(name for term in self.terms.values() for name in term.sharded)

    def collapse_causes(self) -> tuple[str, ...]:
        return tuple(suspect for term in self.terms.values() for suspect in term.collapse_causes())

    def check(self, batch: Batch) -> None:
        if "labeled" not in batch:
            raise UserError("S4L learns from labels: set data.labeled.batch_size and data.labeled.views")
        for term in self.terms.values():
            term.check(batch, self.view_names)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = batch["labeled"]["views"][0]
        encoder, stats = self.encoder.init(rng.derive(key, "encoder"), images)
        features = self.encoder.apply(encoder, stats, images, train=False)[0]
        classifier, _ = self.classifier.init(rng.derive(key, "classifier"), features)
        shared = {"encoder": encoder, "classifier": classifier}
        params: Params = {**shared, "terms": {}}
        state: State = {"stats": {"encoder": stats}, "terms": {}}
        for name, term in self.terms.items():
            pictures = [self.picture(batch, picture) for picture in term.needs(self.view_names)]
            own = {**batch, "unlabeled": {**batch["unlabeled"], "views": tuple(pictures)}}
            start = Start(features, self.classes, own, shared)
            params["terms"][name], state["terms"][name] = term.init(rng.derive(key, f"term/{name}"), start)
        if self.average:
            state["average"] = jax.tree.map(jnp.copy, shared)
        return params, state

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        shared = {name: params[name] for name in ("encoder", "classifier")}
        images = {picture: self.picture(batch, picture) for picture in self.wanted}
        seen, stats = self.look(shared, state["stats"]["encoder"], images, ctx.key)
        value, metrics = self.class_loss(seen, batch["labeled"])
        first = seen[self.labeled[0]]
        states = {}
        for name, term in self.terms.items():
            own = ctx._replace(key=rng.derive(ctx.key, f"term/{name}"))
            needs = {picture: self.picture(batch, picture) for picture in term.needs(self.view_names)}
            classify = functools.partial(self.classify, shared, stats, own.key)
            scene = Scene(seen, needs, batch, classify, shared, stats, own)
            found = term.loss(params["terms"][name], state["terms"][name], scene)
            value = value + term.factor(ctx) * found.value
            states[name], stats = found.state, stats if found.stats is None else found.stats
            metrics |= {
                f"{name}/loss": found.value,
                **{f"{name}/{key}": x for key, x in found.metrics.items()},
            }
        metrics = jax.lax.stop_gradient({**health(first.features), **metrics})
        state = {**state, "stats": {"encoder": stats}, "terms": states}
        return value, Output(state, metrics, first.features, batch["labeled"]["label"])

    def class_loss(self, seen: Mapping[Picture, Seen], stream: Mapping[str, Array]) -> tuple[Array, Metrics]:
        """Weighted cross entropy of the labelled pictures, and what is logged of it.

        Where labels are pseudo-labels, the stream has a `target` float32[B, C] and a `weight` float32[B].
        """
        labels = stream["label"]
        target, weight = stream.get("target", labels), stream.get("weight")
        pictures = [picture for picture in seen if picture.stream == "labeled"]
        pictures = pictures if self.class_on_copies else list(self.labeled[:1])
        each = [losses.cross_entropy(seen[p].logits, target, weight, self.label_smoothing) for p in pictures]
        value = jnp.mean(jnp.stack(each))
        right = jnp.mean(jnp.argmax(seen[self.labeled[0]].logits, axis=-1) == labels)
        return self.supervised_weight * value, {"class/loss": value, "class/top1": right}

    @property
    def labeled(self) -> tuple[Picture, ...]:
        """Every view of the labelled stream."""
        names = self.view_names["labeled"]
        return tuple(Picture("labeled", name, names[:place].count(name)) for place, name in enumerate(names))

    @property
    def wanted(self) -> tuple[Picture, ...]:
        """What passes the network for all: the labelled views, and what terms ask for, each once."""
        asked = (picture for term in self.terms.values() for picture in term.pictures(self.view_names))
        return tuple(dict.fromkeys((*self.labeled, *asked)))

    def picture(self, batch: Batch, picture: Picture) -> Array:
        """The images that a picture means, float32[N, H, W, C]."""
        place = self.view_names[picture.stream].index(picture.view) + picture.copy
        return jnp.rot90(batch[picture.stream]["views"][place], picture.quarters, axes=(1, 2))

    def look(
        self, shared: Params, stats: State, images: Mapping[Picture, Array], key: Array
    ) -> tuple[dict[Picture, Seen], State]:
        """One pass over all pictures of one size, or one for each stream; and the encoder's new statistics."""
        groups: dict[tuple[object, ...], list[Picture]] = {}
        for picture, x in images.items():
            stream = picture.stream if self.forward == "separate" else ""
            groups.setdefault((stream, x.shape[1:]), []).append(picture)
        seen: dict[Picture, Seen] = {}
        for number, pictures in enumerate(groups.values()):
            packed = pack([images[picture] for picture in pictures])
            own = rng.derive(key, "pass", number)
            features, stats = self.encoder.apply(shared["encoder"], stats, packed, train=True, key=own)
            logits = self.classifier.apply(shared["classifier"], {}, features, train=True)[0]
            rows = [len(images[picture]) for picture in pictures]
            found = zip(unpack(features, rows), unpack(logits, rows))
            seen |= {picture: Seen(*parts) for picture, parts in zip(pictures, found)}
        return {picture: seen[picture] for picture in images}, stats

    def classify(
        self, shared: Params, stats: State, key: Array, images: Array, params: Params | None = None
    ) -> Array:
        """See `Scene.classify`."""
        params = shared if params is None else params
        features, _ = self.encoder.apply(params["encoder"], stats, images, train=True, key=key)
        return self.classifier.apply(params["classifier"], {}, features, train=True)[0]

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        shared = {name: params[name] for name in ("encoder", "classifier")}
        stats = state["stats"]["encoder"]
        terms = {
            name: term.after_update(params["terms"][name], state["terms"][name], shared, stats, ctx)
            for name, term in self.terms.items()
        }
        state = {**state, "terms": terms}
        if not self.average:
            return state
        steps = self.steps_per_epoch if self.average_every == "epoch" else 1.0
        decay = early(math.pow(self.average, 1 / steps), ctx.step)
        return {**state, "average": ema(state["average"], shared, decay)}

    def seen_weights(self, params: Params, state: State) -> Params:
        """Encoder and classifier that evaluators see: averaged, if there is an average."""
        return state["average"] if self.average else params

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        return self.seen_weights(params, state)["encoder"], state["stats"]["encoder"]

    def logits(self, params: Params, state: State, images: Array) -> Array:
        """Class scores float32[B, classes]; with `rotate` the logarithm of the mean probability over four turns."""
        head = self.seen_weights(params, state)["classifier"]

        def scores(quarters: int) -> Array:
            features = self.features(params, state, jnp.rot90(images, quarters, axes=(1, 2)))
            return self.classifier.apply(head, {}, features, train=False)[0]

        if not self.rotate:
            return scores(0)
        turned = jnp.stack([jax.nn.log_softmax(scores(quarters)) for quarters in range(4)])
        return jax.nn.logsumexp(turned, axis=0) - math.log(4)


def pack(arrays: Iterable[Array]) -> Array:
    """One batch of several, of different numbers of rows; where rows are split over devices none has to move.

    As many rows of each lie side by side as their numbers' greatest common divisor allows.
    """
    arrays = list(arrays)
    runs = math.gcd(*(len(x) for x in arrays))
    return jnp.concatenate([x.reshape(runs, -1, *x.shape[1:]) for x in arrays], axis=1).reshape(
        -1, *arrays[0].shape[1:]
    )


def unpack(x: Array, rows: Iterable[int]) -> list[Array]:
    """What `pack` put into one, given how many rows each had."""
    rows = list(rows)
    runs = math.gcd(*rows)
    x = x.reshape(runs, -1, *x.shape[1:])
    ends = [sum(rows[: i + 1]) // runs for i in range(len(rows))]
    return [x[:, end - n // runs : end].reshape(n, *x.shape[2:]) for n, end in zip(rows, ends)]
