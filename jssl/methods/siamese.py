"""What methods of several views share: a chain of networks, and targets that follow it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jssl import losses, ring, rng
from jssl.errors import UserError
from jssl.evaluation import diagnostics
from jssl.methods.base import Context, Method, Output
from jssl.models import Network
from jssl.state import cosine, ema
from jssl.types import Array, Batch, Metrics, Params, State

Outputs = dict[str, Array]  # of every network of the chain, by its name


@dataclasses.dataclass(frozen=True)
class Siamese(Method):
    """An encoder and the heads on top of it, one after the other.

    params  {'encoder': ..., and each head by its name}
    state   {'stats': {the same names}}

    Attributes:
      dtype: of the heads' matrix products.
    """

    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Subclasses check their fields here."""

    @property
    @abc.abstractmethod
    def heads(self) -> Mapping[str, Network]:
        """The networks after the encoder, in order; 'projector' gives the embedding."""

    @property
    def networks(self) -> dict[str, Network]:
        """The whole chain."""
        return {"encoder": self.encoder, **self.heads}

    def check(self, batch: Batch) -> None:
        name, views = type(self).__name__, batch["unlabeled"]["views"]
        if len(views) != 2:
            raise UserError(f"{name} takes two views of every image, data.unlabeled.views gives {len(views)}")
        check_views(name, views)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        x, params, stats = batch["unlabeled"]["views"][0], {}, {}
        for name, network in self.networks.items():
            params[name], stats[name] = network.init(rng.derive(key, name), x)
            x, _ = network.apply(params[name], stats[name], x, train=False)
        return params, {"stats": stats}

    def forward(
        self,
        params: Params,
        stats: State,
        x: Array,
        names: Iterable[str] | None = None,
        key: Array | None = None,
        train: bool = True,
    ) -> tuple[Outputs, State]:
        """The output of every network named (default: all), and the new statistics; no key, no drop-path."""
        outputs, stats = {}, dict(stats)
        for name in self.networks if names is None else names:
            network = self.networks[name]
            own = None if key is None else rng.derive(key, name)
            network = network.without_drop_path() if own is None else network
            x, stats[name] = network.apply(params[name], stats[name], x, train=train, key=own)
            outputs[name] = x
        return outputs, stats

    def each_view(
        self, params: Params, stats: State, views: Sequence[Array], key: Array | None = None
    ) -> tuple[list[Outputs], State]:
        """`forward` of one view after the other: each has batch statistics of its own.

        The networks are those of which there are parameters, so that it serves targets too.
        """
        names = [name for name in self.networks if name in params]
        outputs = []
        for number, view in enumerate(views):
            own = None if key is None else rng.derive(key, "view", number)
            found, stats = self.forward(params, stats, view, names, own)
            outputs.append(found)
        return outputs, stats

    def crops(
        self, params: Params, stats: State, views: Sequence[Array], key: Array | None = None
    ) -> tuple[list[Outputs], State]:
        """Crops of one size in one batch through the encoder, then all of them together through the heads.

        As SwAV and DINO do it; a head's batch statistics are those of all crops.
        """
        encoded: list[Array] = []
        for number, (first, last) in enumerate(runs_of_one_size(views)):
            own = None if key is None else rng.derive(key, "size", number)
            found, stats = self.forward(params, stats, together(views[first:last]), ["encoder"], own)
            encoded += apart(found["encoder"], last - first)
        h = together(encoded)
        own = None if key is None else rng.derive(key, "heads")
        heads = [name for name in self.heads if name in params]
        found, stats = self.forward(params, stats, h, heads, own)
        split = {name: apart(x, len(views)) for name, x in {"encoder": h, **found}.items()}
        return [{name: parts[i] for name, parts in split.items()} for i in range(len(views))], stats

    def embed(self, params: Params, state: State, images: Array) -> Array:
        names = ("encoder", "projector")
        return self.forward(params, state["stats"], images, names, train=False)[0]["projector"]

    def output(self, state: State, batch: Batch, outputs: Outputs, metrics: Metrics | None = None) -> Output:
        """What a loss returns: the metrics, and the health and the features of one view."""
        metrics = {**health(outputs["projector"]), **(metrics or {})}
        h, labels = outputs["encoder"], batch["unlabeled"]["label"]
        return Output(state, jax.lax.stop_gradient(metrics), h, labels)


@dataclasses.dataclass(frozen=True)
class WithTarget(Siamese):
    """A Siamese method whose targets come from an exponential moving average of its own networks.

    state['target'] = {'params', 'stats'} of the networks `averaged`. The target runs in training mode and has
    batch statistics of its own, as in the official codes; only parameters are averaged.

    Attributes:
      ema: how much of the target an update keeps, in [0, 1], at the beginning.
      ema_end: the same at the end; a cosine leads there.
    """

    ema: float = 0.996
    ema_end: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(ema=self.ema, ema_end=self.ema_end)

    @property
    def averaged(self) -> tuple[str, ...]:
        """The networks that have a target."""
        return ("encoder", "projector")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        chosen = ({name: tree[name] for name in self.averaged} for tree in (params, state["stats"]))
        target = dict(zip(("params", "stats"), jax.tree.map(jnp.copy, tuple(chosen))))
        return params, {**state, "target": target} if self.averaged else state

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        if not self.averaged:
            return state
        decay = cosine(ctx.progress, self.ema, self.ema_end)
        online = {name: params[name] for name in self.averaged}
        return {
            **state,
            "target": {**state["target"], "params": ema(state["target"]["params"], online, decay)},
        }

    def suspects(self) -> tuple[str, ...]:
        moves = self.ema < 1 or not self.averaged
        return () if moves else (f"method.ema={self.ema}: the target never moves; try 0.99",)


@dataclasses.dataclass(frozen=True)
class Contrasting(Siamese):
    """A Siamese method that compares every image of the global batch with every other.

    Attributes:
      pairs: how similarities within the batch are computed: 'gathered' holds a device's rows of them, 'ring' passes the
        embeddings from device to device, 'blocks' holds some rows at a time, 'auto' decides by size. The loss
        and its gradient are the same.
      block_size: rows held at a time in a block, or in a device's part of the ring; 0 chooses.
      mesh: the program knows it.
    """

    pairs: str = "auto"
    block_size: int = 0
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ring.choose(self.pairs, 1, 1, 0, None)  # a typo is told now
        if self.block_size < 0:
            raise UserError(f"method.block_size={self.block_size} must be at least 0")

    def compared(self, rows: int) -> losses.Pairs:
        """The form for so many rows with as many."""
        return ring.choose(self.pairs, rows, rows, self.block_size, self.mesh)


def together(arrays: Sequence[Array]) -> Array:
    """One batch of several: row i of each, side by side. Where rows are split over devices none has to move."""
    return jnp.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])


def apart(x: Array, count: int) -> list[Array]:
    """What `together` put into one."""
    x = x.reshape(-1, count, *x.shape[1:])
    return [x[:, i] for i in range(count)]


def check_views(name: str, views: Sequence[Array]) -> None:
    """Raises UserError unless the first two views are of one size and the batch has two images at least."""
    if views[0].shape != views[1].shape:
        sizes = f"{views[0].shape[1]} and {views[1].shape[1]}"
        raise UserError(f"{name} takes views of one size, not {sizes} pixels")
    if len(views[0]) < 2:
        raise UserError(
            f"{name} compares the images of a batch: data.unlabeled.batch_size (over optim.accumulate) must be > 1"
        )


def check_crops(name: str, views: Sequence[Array]) -> None:
    """Raises UserError unless there are two global crops, of one size, before any local ones."""
    if len(views) < 2:
        raise UserError(f"{name} takes two global crops and any number of local ones, not {len(views)} view")
    check_views(name, views)
    if any(view.shape[1] > views[0].shape[1] for view in views):
        sizes = ", ".join(str(view.shape[1]) for view in views)
        raise UserError(
            f"{name} takes its global crops first, and local ones are not larger; the views, in the order of their "
            f"names, have {sizes} pixels"
        )


def check_sizes(**sizes: int) -> None:
    """Raises UserError for a field of a method that must be positive and is not."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"method.{name}={size} must be at least 1")


def check_above_zero(**values: float) -> None:
    """Raises UserError for a field of a method that must be more than 0 and is not."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"method.{name}={value} must be positive")


def check_fractions(**values: float) -> None:
    """Raises UserError for a field of a method that must be in [0, 1] and is not."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"method.{name}={value} must be in [0, 1]")


def unusual_temperature(value: float, low: float, high: float) -> tuple[str, ...]:
    """What the alarm says of a temperature outside of the range that the field uses."""
    return () if low <= value <= high else (f"method.temperature={value}: try {low} to {high}",)


def runs_of_one_size(views: Sequence[Array]) -> list[tuple[int, int]]:
    """(first, last + 1) of the runs of neighbouring views of one shape."""
    starts = [i for i, x in enumerate(views) if i == 0 or x.shape != views[i - 1].shape]
    return list(zip(starts, [*starts[1:], len(views)]))


def health(z: Array) -> Metrics:
    """What every method logs of its embedding at every step; the collapse alarm reads it."""
    return {
        "embedding/std": diagnostics.relative_std(z),
        "embedding/effective_rank": diagnostics.participation_ratio(z),
    }


def teacher_health(probabilities: Array) -> Metrics:
    """The same of targets over prototypes, float[N, K]."""
    return {
        "teacher/entropy": diagnostics.entropy(probabilities),
        "teacher/kl_from_uniform": diagnostics.kl_from_uniform(probabilities),
        "teacher/mutual_information": diagnostics.mutual_information(probabilities),
    }
