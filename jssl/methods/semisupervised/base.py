"""The contract of a term: a part of a semi-supervised loss."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jssl.errors import UserError, unknown
from jssl.methods.base import Context
from jssl.models import Network
from jssl.schedules import linear_warmup
from jssl.types import Array, Batch, Metrics, Params, State

ViewNames = Mapping[str, tuple[str, ...]]  # of every stream, in the order of its views


class Picture(NamedTuple):
    """Which images: one for every row of a stream.

    Attributes:
      stream: 'unlabeled' or 'labeled'.
      view: its name.
      copy: which of the copies that the view has.
      quarters: by how many quarters of a circle it is turned.
    """

    stream: str
    view: str
    copy: int = 0
    quarters: int = 0


class Seen(NamedTuple):
    """What the classifier makes of them.

    Attributes:
      features: float32[N, D].
      logits: float32[N, C].
    """

    features: Array
    logits: Array


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a term's loss may look at.

    Attributes:
      seen: what the pass that all terms share found, of the pictures that the term asked for and of others.
      images: the pictures that the term needs, in its order, float32[N, H, W, C].
      batch: as the method got it.
      classify: images float32[N, H, W, C] to logits, in training mode: the batch statistics are those of the images,
        and the running ones do not move. A second argument, if given, are other parameters than the shared ones.
      shared: parameters of 'encoder' and 'classifier'.
      stats: running statistics of the encoder.
      ctx: with a key of the term's own.
    """

    seen: Mapping[Picture, Seen]
    images: Mapping[Picture, Array]
    batch: Batch
    classify: Callable[..., Array]
    shared: Params
    stats: State
    ctx: Context


class Start(NamedTuple):
    """What a term is begun with; arrays give shapes only, but for the parameters.

    Attributes:
      features: float32[N, D].
      classes: how many.
      batch: as a loss gets it.
      shared: fresh parameters of 'encoder' and 'classifier'.
    """

    features: Array
    classes: int
    batch: Batch
    shared: Params


class TermOutput(NamedTuple):
    """What a term's loss returns: its value before the weight, its new state, scalars to log, and the encoder's
    statistics where the term moved them (else None)."""

    value: Array
    state: State
    metrics: Metrics
    stats: State | None = None


@dataclasses.dataclass(frozen=True)
class Term(abc.ABC):
    """A part of a semi-supervised loss. Its parameters and its state are its own; encoder and classifier are shared.

    Attributes:
      weight: factor of the term in the sum, at least 0.
      ramp: part of training, in [0, 1], in which the weight grows linearly from 0.
    """

    weight: float = 1.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if not self.weight >= 0 or not 0 <= self.ramp <= 1:
            raise UserError(
                f"{type(self).__name__}: weight={self.weight} must be at least 0 and ramp={self.ramp} in [0, 1]"
            )

    def factor(self, ctx: Context) -> Array | float:
        """The weight at this moment of training."""
        return linear_warmup(ctx.progress, 0.0, self.weight, self.ramp) if self.ramp else self.weight

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        """What the term wants to see in the pass that all terms share."""
        del names
        return ()

    def needs(self, names: ViewNames) -> tuple[Picture, ...]:
        """All pictures that the term looks at, whether it is the shared pass that sees them or not."""
        return self.pictures(names)

    @property
    def head(self) -> Network | None:
        """A network of its own on the features."""
        return None

    def init(self, key: Array, start: Start) -> tuple[Params, State]:
        """Fresh parameters and state of its own."""
        return ({} if self.head is None else self.head.init(key, start.features)[0]), {}

    @abc.abstractmethod
    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        """Its value before the weight, and the rest."""

    def after_update(self, params: Params, state: State, shared: Params, stats: State, ctx: Context) -> State:
        """Its state after the optimiser's update; `shared` and `stats` as in `Scene`."""
        del params, shared, stats, ctx
        return state

    @property
    def sharded(self) -> tuple[str, ...]:
        """As `Method.sharded`."""
        return ()

    def collapse_causes(self) -> tuple[str, ...]:
        """As `Method.collapse_causes`."""
        return ()

    def check(self, batch: Batch, names: ViewNames) -> None:
        """Raises UserError if the streams lack something that the term needs."""
        if "unlabeled" not in names:
            raise UserError(
                f"{type(self).__name__} needs images without labels: set data.unlabeled.batch_size"
            )
        for picture in self.needs(names):
            if picture.stream not in names:
                raise UserError(
                    f"{type(self).__name__} needs images with labels: set data.{picture.stream}.batch_size"
                )
            if picture.view not in names[picture.stream]:
                raise unknown(
                    f"view of data.{picture.stream}.views, which {type(self).__name__} needs,",
                    picture.view,
                    names[picture.stream],
                )


def copies(names: ViewNames, stream: str, view: str) -> tuple[Picture, ...]:
    """A picture of every copy of a view; one picture if the stream does not have it, which `check` tells."""
    count = names.get(stream, ()).count(view)
    return tuple(Picture(stream, view, copy) for copy in range(max(1, count)))


def options(term: type[Any]) -> set[str]:
    """The fields that a config may set."""
    return {field.name for field in dataclasses.fields(term) if field.init}
