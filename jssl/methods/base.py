"""The contract of a method: pure functions of explicit state."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, State


class Context(NamedTuple):
    """What a step knows besides its data.

    Attributes:
      key: this step's random key.
      step: number of finished updates, int32[].
      progress: step over total steps, float32[] in [0, 1].
    """

    key: Array
    step: Array
    progress: Array


class Output(NamedTuple):
    """What a loss returns besides its value.

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


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """What a method computes. Hyper-parameters are fields, with the paper's values as defaults.

    params   pytree trained by gradient; `params['encoder']` is what the user keeps, the rest is thrown away
    state    pytree not trained by gradient; `state['stats'][name]` are the running statistics of a network
    batch    dict of streams, 'unlabeled' and/or 'labeled'; a stream has `views` (tuple of float32[B, H, W, C]),
             `label` int32[B] (-1: unknown), `index` int32[B]
    """

    encoder: Network

    @property
    def sharded(self) -> tuple[str, ...]:
        """What is split over the devices: entries of the state by rows (queues, banks), networks by columns.

        A network's targets and its part of the optimiser's state are split with it: prototypes, say.
        """
        return ()

    @abc.abstractmethod
    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        """Fresh parameters and state; the batch gives shapes only."""

    @abc.abstractmethod
    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        """The scalar to minimise, and the rest."""

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        """EMA targets and the like, after the optimiser's update."""
        del params, ctx
        return state

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        """Parameters and statistics of the encoder that evaluators see and users keep."""
        return params["encoder"], state["stats"]["encoder"]

    def features(self, params: Params, state: State, images: Array) -> Array:
        """Representations for evaluators, float32[B, D], in evaluation mode."""
        return self.encoder.apply(*self.eval_encoder(params, state), images, train=False)[0]

    def embed(self, params: Params, state: State, images: Array) -> Array:
        """What the loss compares (before it is normalised), float32[B, D], in evaluation mode."""
        return self.features(params, state, images)

    def assignments(self, params: Params, state: State, images: Array) -> Array | None:
        """The target distribution over prototypes, float32[B, K]; None where a method has none."""
        del params, state, images
        return None

    def collapse_causes(self) -> tuple[str, ...]:
        """What in the settings would explain a collapse, likeliest first; for the alarm."""
        return ()

    def logits(self, params: Params, state: State, images: Array) -> Array:
        """Class scores float32[B, classes]; only methods with a classifier have them."""
        raise TypeError(f"{type(self).__name__} has no classifier")

    def refresh(
        self, params: Params, state: State, extract: Callable[..., Any], key: Array
    ) -> tuple[Params, State]:
        """Between epochs: re-clustering and the like."""
        del extract, key
        return params, state

    def check(self, batch: Batch) -> None:
        """Raises UserError if the batch (or its shapes) is not what the method needs; called before training."""
        del batch
