"""The contract of a method: pure functions of explicit state."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jssl import rng
from jssl.data.augment.tiles import Tiles, cut
from jssl.errors import UserError, unknown
from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, State


class ViewRef(NamedTuple):
    """A reference to the images of one view of one stream, float32[B, H, W, C].

    Attributes:
      stream: 'unlabeled' or 'labeled'.
      view: its name.
      copy: which of the copies that the view has.
      quarter_turns: by how many quarters of a circle the images are turned.
      tiles: which the images are cut into, so that there are more rows, see `augment.tiles.cut`; None for not.
    """

    stream: str
    view: str
    copy: int = 0
    quarter_turns: int = 0
    tiles: Tiles | None = None


class Predictions(NamedTuple):
    """The outputs of encoder and classifier for one view.

    Attributes:
      features: float32[B, D].
      logits: float32[B, C]; C = 0 where there is no classifier.
    """

    features: Array
    logits: Array


class Context(NamedTuple):
    """The context of a step: what a loss is given besides parameters, state and batch.

    Attributes:
      key: this step's random key.
      step: number of finished updates, int32[].
      progress: step over total steps, float32[] in [0, 1].
      steps_per_epoch: of the run, float32[].
      predictions: of the views that a term of a semi-supervised loss asked for, from one pass for all terms; None for
        a method that runs alone.
    """

    key: Array
    step: Array
    progress: Array
    predictions: Mapping[ViewRef, Predictions] | None = None
    steps_per_epoch: Array | float = 1.0

    @property
    def epoch(self) -> Array:
        """Finished updates in epochs, float32[]."""
        return self.step / self.steps_per_epoch


class Output(NamedTuple):
    """The output of a loss besides its value.

    Attributes:
      state: the new method state.
      metrics: scalars to log, float32[].
      features: encoder outputs of some rows of the batch, float32[n, D], for probes; None where there are none.
      labels: int32[n], the labels of those rows, -1 for none.
    """

    state: State
    metrics: Metrics
    features: Array | None = None
    labels: Array | None = None


class Refreshed(NamedTuple):
    """The result of `Method.refresh`.

    Attributes:
      params, state: the new ones, of the same shapes.
      reset: top-level entries of the parameters whose optimiser state begins anew.
      metrics: numbers to log.
    """

    params: Params
    state: State
    reset: tuple[str, ...] = ()
    metrics: Mapping[str, float] = {}


class Extract(Protocol):
    """Outputs for all images of the unlabelled stream, which the loop gives `Method.refresh`.

    Both give `jssl.evaluation.extract.Features`: x float32[N, D] of the readable images, their labels and their index.
    """

    @property
    def labels(self) -> np.ndarray:
        """int32[all images], their classes, -1 where they are not known: to look at, never to learn from."""

    def __call__(self, params: Params, state: State, output: str = "features") -> Any:
        """An entry of `Method.outputs`: in evaluation mode, of the images as evaluators see them."""

    def training(
        self,
        params: Params,
        state: State,
        function: Callable[[Params, State, Batch, Array], Array],
        key: Array,
    ) -> Any:
        """A function of augmented batches and keys, float32[B, D], of one pass over the views that training sees."""


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """A method: a loss and its state. Hyper-parameters are fields, with the paper's values as defaults.

    params   pytree trained by gradient; `params['encoder']` is what the user keeps, the rest is thrown away
    state    pytree not trained by gradient; `state['stats'][name]` are the running statistics of a network
    batch    dict of streams, 'unlabeled' and/or 'labeled'; a stream has `views` {name: (float32[B, H, W, C], ...)},
             a copy each, and, for methods that look at them, `index` int32[B] and `label` int32[B] (-1: unknown)
    """

    encoder: Network

    @property
    def sharded(self) -> tuple[str, ...]:
        """Names of what is split over the devices: entries of the state by rows (queues, banks), networks by columns.

        A network's targets and its part of the optimiser's state are split with it: prototypes, say.
        """
        return ()

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Entries of the parameters, by their paths, that are players of their own (a probe, a discriminator).

        Their gradients count neither for clipping by the global norm nor for the logged `grad_norm`.
        """
        return ()

    @property
    def refresh_every(self) -> str:
        """How often `refresh` is called: '1 epoch', '500 steps', '100 times', '100 times, quadratic'; '' for never."""
        return ""

    @abc.abstractmethod
    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        """Fresh parameters and state; the batch gives shapes only."""

    @abc.abstractmethod
    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        """The scalar to minimise, and the rest."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """Entries of the parameters that no update moves, weight decay included."""
        return ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What `outputs` takes: 'image', and 'text' where there is a tower for tokens."""
        return ("image",)

    def constrained(self, params: Params) -> Params:
        """The parameters within their bounds, after the optimiser's update."""
        return params

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        """EMA targets and the like, after the optimiser's update."""
        del params, ctx
        return state

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        """Between steps, before the first one too: clusters the data set anew and the like. Runs on the host.

        Args:
          extract: gives features of all images of the unlabelled stream.
          key: random key of this refresh.
        """
        raise NotImplementedError(f"{type(self).__name__} has refresh_every, but no refresh")

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        """Parameters and statistics of the encoder that evaluators see and users keep."""
        return params["encoder"], state["stats"]["encoder"]

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """The outputs that evaluators and diagnostics see, in evaluation mode; what a method lacks is not there.

        Under jit only what is used of it is computed, and `jax.eval_shape` tells what there is.

        Args:
          inputs: a batch, float32[B, H, W, C] for images.
          modality: of the inputs; text is tokens int32[B, N], see `modalities`.

        Returns:
          'features' float32[B, D], always; and, where there are any, 'embedding' float32[B, E] (what the loss compares,
          before it is normalised), 'assignments' float32[B, K] (target distributions over prototypes), 'logits'
          float32[B, classes].
        """
        del modality
        return {"features": self.encoder.apply(*self.eval_encoder(params, state), inputs, train=False)[0]}

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        """Names of the views that the loss uses, by stream; `check` requires them, and no others may be there."""
        del batch
        return {}

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        """Views whose predictions the loss takes from `ctx.predictions`, where it is a term beside others."""
        del batch
        return ()

    def collapse_causes(self) -> tuple[str, ...]:
        """Settings that would explain a collapse, likeliest first; for the collapse alarm."""
        return ()

    def check(self, batch: Batch) -> None:
        """Raises UserError if the batch (or its shapes) is not what the method needs; called before training."""
        for stream, names in self.view_names(batch).items():
            check_has_views(type(self).__name__, batch, stream, names)


def get_view(batch: Batch, ref: ViewRef, key: Array | None = None) -> Array:
    """The images that a reference names, float32[B, H, W, C].

    Args:
      batch: with that view.
      ref: which.
      key: of the step, for tiles, whose places are random; what is drawn for an image depends on its index alone.
    """
    images = batch[ref.stream]["views"][ref.view][ref.copy]
    if ref.tiles is not None:
        keys = image_keys(rng.root(0) if key is None else key, batch[ref.stream])
        images = cut(keys, images, ref.tiles)
    return jnp.rot90(images, ref.quarter_turns, axes=(1, 2)) if ref.quarter_turns else images


def features_of_images(ref: ViewRef, predictions: Mapping[ViewRef, Predictions]) -> Array:
    """Features of the images of a view, float32[B, D]: of tiles their mean."""
    features = predictions[ref].features
    if ref.tiles is None:
        return features
    return jnp.mean(features.reshape(-1, ref.tiles.per_image, features.shape[-1]), axis=1)


def image_keys(key: Array, stream: Mapping[str, Any]) -> Array:
    """A random key for every image of a stream, [B], that depends on the image's index alone."""
    rows = len(jax.tree.leaves(stream["views"])[0])
    return jax.vmap(functools.partial(jax.random.fold_in, key))(stream.get("index", jnp.arange(rows)))


def view_copies(batch: Batch, stream: str, view: str) -> tuple[ViewRef, ...]:
    """A reference to every copy of a view."""
    return tuple(ViewRef(stream, view, copy) for copy in range(len(batch[stream]["views"][view])))


def some_images(batch: Batch) -> Array:
    """The images of any view: for shapes."""
    return jax.tree.leaves(next(iter(batch.values()))["views"])[0]


def check_has_views(name: str, batch: Batch, stream: str, views: tuple[str, ...]) -> None:
    """Raises UserError unless a stream is there and has the views of these names."""
    if stream not in batch:
        kind = "with" if stream == "labeled" else "without"
        raise UserError(f"{name} needs images {kind} labels: set data.{stream}.batch_size")
    for view in views:
        if view not in batch[stream]["views"]:
            raise unknown(f"view of data.{stream}.views, which {name} needs,", view, batch[stream]["views"])
