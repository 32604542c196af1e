"""What methods of several views share: a chain of networks, and targets that follow it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
from jax.sharding import Mesh

from jssl import losses, rng
from jssl.errors import UserError
from jssl.losses import ring
from jssl.methods.base import Method, Output
from jssl.methods.batching import apart, runs_of_one_size, together
from jssl.methods.validation import check_views
from jssl.metrics import embedding
from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, State

Outputs = dict[str, Array]  # of every network of the chain, by its name


@dataclasses.dataclass(frozen=True)
class EncoderWithHeads(Method):
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

    def forward_per_view(
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
class InBatchContrastive(EncoderWithHeads):
    """A EncoderWithHeads method that compares every image of the global batch with every other.

    Attributes:
      similarity: how similarities within the batch are computed: 'dense' holds a device's rows of them, 'ring'
        passes the
        embeddings from device to device, 'blockwise' holds some rows at a time, 'auto' decides by size. The loss
        and its gradient are the same.
      block_size: rows held at a time in a block, or in a device's part of the ring; 0 chooses.
      mesh: the program knows it.
    """

    similarity: str = "auto"
    block_size: int = 0
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ring.choose(self.similarity, 1, 1, 0, None)  # a typo is told now
        if self.block_size < 0:
            raise UserError(f"method.block_size={self.block_size} must be at least 0")

    def similarity_form(self, rows: int) -> losses.Similarity:
        """The form for so many rows with as many."""
        return ring.choose(self.similarity, rows, rows, self.block_size, self.mesh)


def health(z: Array) -> Metrics:
    """What every method logs of its embedding at every step; the collapse alarm reads it."""
    return {
        "embedding/std": embedding.relative_std(z),
        "embedding/effective_rank": embedding.participation_ratio(z),
    }


def teacher_health(probabilities: Array) -> Metrics:
    """The same of targets over prototypes, float[N, K]."""
    return {
        "teacher/entropy": embedding.entropy(probabilities),
        "teacher/kl_from_uniform": embedding.kl_from_uniform(probabilities),
        "teacher/mutual_information": embedding.mutual_information(probabilities),
    }
