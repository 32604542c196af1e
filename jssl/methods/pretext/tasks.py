"""Self-supervised terms of S4L's paper, and any method of this library as a term."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses, models
from jssl.errors import UserError
from jssl.methods.base import Context, Method
from jssl.methods.batching import together
from jssl.methods.semisupervised.base import Picture, Scene, Start, Term, TermOutput, ViewNames, copies
from jssl.models import Network
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class Rotation(Term):
    """S4L-Rotation (Zhai et al., 2019): by how many quarters was an image turned? https://arxiv.org/abs/1905.03670

    All four turns of every image are in the batch; `method.class_on_copies` decides whether those of labelled images go
    into the class loss.

    Attributes:
      view: which is turned, of either stream.
      on_labeled: whether the labelled images are turned, too.
    """

    view: str = "weak"
    on_labeled: bool = True

    @property
    def head(self) -> Network:
        return models.linear(4, kernel_init="normal")

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        streams = ("unlabeled", "labeled") if self.on_labeled else ("unlabeled",)
        return tuple(Picture(s, self.view, 0, quarters) for s in streams for quarters in range(4))

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        pictures = self.pictures({})
        each = [self.head.apply(params, {}, scene.seen[p].features, train=True)[0] for p in pictures]
        logits = jnp.concatenate(each)
        turns = jnp.concatenate([jnp.full(len(scene.seen[p].features), p.quarters) for p in pictures])
        right = jnp.mean(jnp.argmax(logits, axis=-1) == turns)
        return TermOutput(losses.cross_entropy(logits, turns), state, {"top1": right})


@dataclasses.dataclass(frozen=True)
class Exemplar(Term):
    """S4L-Exemplar (Zhai et al., 2019): views of an image are nearer to one another than to those of others.

    Batch-hard triplets of Euclidean distances between unit embeddings, see `losses.batch_hard_triplet`.

    Attributes:
      view: whose copies (the paper's 8) are similarity_form, of either stream.
      on_labeled: whether those of labelled images are, too.
      proj_dim: width of the linear embedding.
    """

    view: str = "weak"
    on_labeled: bool = True
    proj_dim: int = 1000

    @property
    def head(self) -> Network:
        return models.linear(self.proj_dim, kernel_init="normal")

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        streams = ("unlabeled", "labeled") if self.on_labeled else ("unlabeled",)
        return tuple(picture for stream in streams for picture in copies(names, stream, self.view))

    def check(self, batch: Batch, names: ViewNames) -> None:
        super().check(batch, names)
        for stream in {picture.stream for picture in self.pictures(names)}:
            if names[stream].count(self.view) < 2:
                raise UserError(
                    f"Exemplar compares views of an image: set data.{stream}.views.{self.view}.copies to 2 or more (8)"
                )

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        z, labels, begin = [], [], 0
        for stream in ("unlabeled", "labeled") if self.on_labeled else ("unlabeled",):
            pictures = [picture for picture in scene.images if picture.stream == stream]
            features = together([scene.seen[picture].features for picture in pictures])
            z.append(losses.normalize(self.head.apply(params, {}, features, train=True)[0]))
            rows = len(features) // len(pictures)
            labels.append(begin + jnp.repeat(jnp.arange(rows), len(pictures)))
            begin += rows
        return TermOutput(losses.batch_hard_triplet(jnp.concatenate(z), jnp.concatenate(labels)), state, {})


@dataclasses.dataclass(frozen=True)
class OfMethod(Term):
    """Any method of jssl.methods as a term: S4L-SimCLR, S4L-BYOL, S4L-DINO. Its encoder is the shared one.

    Attributes:
      method: what it is; its settings stand beside the term's in the config.
      views: names of the unlabelled stream's views that are its own, in its order; () for all.
    """

    method: Method = None  # type: ignore[assignment]
    views: tuple[str, ...] = ()

    def needs(self, names: ViewNames) -> tuple[Picture, ...]:
        chosen = self.views or tuple(dict.fromkeys(names["unlabeled"]))
        return tuple(picture for view in chosen for picture in copies(names, "unlabeled", view))

    def check(self, batch: Batch, names: ViewNames) -> None:
        super().check(batch, names)
        views = batch["unlabeled"]["views"]
        taken = [views[names["unlabeled"].index(p.view) + p.copy] for p in self.needs(names)]
        self.method.check({"unlabeled": {**batch["unlabeled"], "views": tuple(taken)}})

    @property
    def sharded(self) -> tuple[str, ...]:
        return self.method.sharded

    def collapse_causes(self) -> tuple[str, ...]:
        return self.method.collapse_causes()

    def init(self, key: Array, start: Start) -> tuple[Params, State]:
        params, state = self.method.init(key, start.batch)
        target = state.get("target")
        if target is not None and "encoder" in target["params"]:
            copy = {**target["params"], "encoder": jax.tree.map(jnp.copy, start.shared["encoder"])}
            state = {**state, "target": {**target, "params": copy}}
        stats = {name: part for name, part in state["stats"].items() if name != "encoder"}
        return {name: part for name, part in params.items() if name != "encoder"}, {**state, "stats": stats}

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        stream = {**scene.batch["unlabeled"], "views": tuple(scene.images.values())}
        whole = self._whole(params, state, scene.shared, scene.stats)
        value, output = self.method.loss(*whole, {"unlabeled": stream}, scene.ctx)
        stats = dict(output.state["stats"])
        encoder = stats.pop("encoder")
        return TermOutput(value, {**output.state, "stats": stats}, output.metrics, encoder)

    def after_update(self, params: Params, state: State, shared: Params, stats: State, ctx: Context) -> State:
        state = self.method.after_update(*self._whole(params, state, shared, stats), ctx)
        return {**state, "stats": {name: part for name, part in state["stats"].items() if name != "encoder"}}

    @staticmethod
    def _whole(params: Params, state: State, shared: Params, stats: State) -> tuple[Params, State]:
        """What the method takes for its own."""
        whole = {**params, "encoder": shared["encoder"]}
        return whole, {**state, "stats": {**state["stats"], "encoder": stats}}
