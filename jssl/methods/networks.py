"""What most methods share: an encoder with heads, and the forward passes of views."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
from jax.sharding import Mesh

from jssl import losses, metrics, rng, settings
from jssl.errors import UserError
from jssl.losses import ring
from jssl.methods.base import Method, Output
from jssl.methods.batching import deinterleave, interleave, runs_of_one_size
from jssl.methods.validation import check_pair
from jssl.models import Network
from jssl.types import Array, Batch, Metrics, Params, PyTree, State

MEASURED = 8192  # numbers of an embedding that are looked at

Outputs = dict[str, Array]  # of every network of the chain, by its name


@dataclasses.dataclass(frozen=True)
class EncoderWithHeads(Method):
    """An encoder and the heads on top of it, one after the other, on views of unlabelled images.

    params  {'encoder': ..., and each head by its name}
    state   {'stats': {the same names}}

    Attributes:
      dtype: of the heads' matrix products.
      views: names of the unlabelled stream's views that are compared, in this order; copies of a view follow each
        other.
    """

    dtype: str = "float32"
    views: tuple[str, ...] = ("first", "second")

    def __post_init__(self) -> None:
        settings.check(self)

    @property
    @abc.abstractmethod
    def heads(self) -> Mapping[str, Network]:
        """The networks after the encoder, in order; 'projector' gives the embedding."""

    @property
    def networks(self) -> dict[str, Network]:
        """The encoder and the heads, by name, in order."""
        return {"encoder": self.encoder, **self.heads}

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return {"unlabeled": self.views}

    def get_views(self, batch: Batch) -> list[Array]:
        """The views that are compared, float32[B, H, W, C] each."""
        return views_of(batch, self.views)

    def check(self, batch: Batch) -> None:
        super().check(batch)
        name, found = type(self).__name__, self.get_views(batch)
        if len(found) != 2:
            raise UserError(
                f"{name} takes two views of every image, method.views={self.views} are {len(found)}: name two of "
                f"data.unlabeled.views ({', '.join(batch['unlabeled']['views'])}), or one with two copies"
            )
        check_pair(name, found, f"data.unlabeled.views.{self.views[0]}.size")

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        x, params, stats = self.get_views(batch)[0], {}, {}
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

    def forward_multicrop(
        self, params: Params, stats: State, views: Sequence[Array], key: Array | None = None
    ) -> tuple[list[Outputs], State]:
        """Passes crops of one size through the encoder in one batch, then all crops together through the heads.

        As SwAV and DINO do it; a head's batch statistics are those of all crops.
        """
        encoded: list[Array] = []
        for number, (first, last) in enumerate(runs_of_one_size(views)):
            own = None if key is None else rng.derive(key, "size", number)
            found, stats = self.forward(params, stats, interleave(views[first:last]), ["encoder"], own)
            encoded += deinterleave(found["encoder"], [len(view) for view in views[first:last]])
        h, rows = interleave(encoded), [len(view) for view in views]
        own = None if key is None else rng.derive(key, "heads")
        heads = [name for name in self.heads if name in params]
        found, stats = self.forward(params, stats, h, heads, own)
        split = {name: deinterleave(x, rows) for name, x in {"encoder": h, **found}.items()}
        return [{name: parts[i] for name, parts in split.items()} for i in range(len(views))], stats

    def eval_networks(self, params: Params, state: State) -> tuple[Params, State]:
        """Parameters and statistics, by network, of what evaluators see."""
        return params, state["stats"]

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        params, stats = self.eval_networks(params, state)
        return params["encoder"], stats["encoder"]

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        names = [name for name in ("encoder", "projector", "prototypes") if name in self.networks]
        found, _ = self.forward(*self.eval_networks(params, state), inputs, names, train=False)
        outputs = {"features": found["encoder"], "embedding": embedding_of(found)}
        return outputs | self.more_outputs(state, found)

    def more_outputs(self, state: State, found: Outputs) -> dict[str, Array]:
        """Further entries of `outputs`, from those of the networks."""
        del state, found
        return {}

    def output(self, state: State, batch: Batch, outputs: Outputs, metrics: Metrics | None = None) -> Output:
        """The `Output` of a loss: the metrics, and the health and the features of one view."""
        metrics = {**health(embedding_of(outputs)), **(metrics or {})}
        h, labels = outputs["encoder"], batch["unlabeled"].get("label")
        return Output(state, jax.lax.stop_gradient(metrics), h, labels)


@dataclasses.dataclass(frozen=True)
class MultiCrop(EncoderWithHeads):
    """A method that compares global crops with one another and with smaller, local ones.

    Attributes:
      views: names of the views of the unlabelled stream that are global crops; two with their copies, of one size.
      local_views: names of those that are local crops; () for none.
    """

    views: tuple[str, ...] = ("global",)
    local_views: tuple[str, ...] = ("local",)

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return {"unlabeled": (*self.views, *self.local_views)}

    def get_views(self, batch: Batch) -> list[Array]:
        """The global crops, then the local ones."""
        return views_of(batch, (*self.views, *self.local_views))

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        name = type(self).__name__
        number = len(views_of(batch, self.views))
        if number != 2:
            raise UserError(
                f"{name} takes two global crops and any number of local ones: method.views={self.views} are {number}"
            )
        crops = self.get_views(batch)
        check_pair(name, crops, f"data.unlabeled.views.{self.views[0]}.size")
        if any(crop.shape[1] > crops[0].shape[1] for crop in crops):
            sizes = ", ".join(str(crop.shape[1]) for crop in crops)
            raise UserError(f"{name}: local crops must not be larger than global ones ({sizes} pixels)")


@dataclasses.dataclass(frozen=True)
class InBatchContrastive(EncoderWithHeads):
    """A method that compares every image of the global batch with every other.

    Attributes:
      similarity: how similarities within the batch are computed: 'dense' holds a device's rows of them, 'ring' passes
        the embeddings from device to device, 'blockwise' holds some rows at a time, 'auto' decides by size. The loss
        and its gradient are the same.
      block_size: rows held at a time in a block, or in a device's part of the ring; 0 chooses.
      mesh: the program knows it.
    """

    similarity: str = settings.choice("auto", ring.FORMS)
    block_size: int = settings.count(0)
    mesh: Mesh | None = None

    def similarity_form(self, rows: int) -> losses.Similarity:
        """The form in which so many rows are compared with as many."""
        return ring.choose(self.similarity, rows, rows, self.block_size, self.mesh)


def embedding_of(outputs: Outputs) -> Array:
    """What the loss compares: the output of the projector, or of the encoder where there is none."""
    return outputs.get("projector", outputs["encoder"])


def views_of(batch: Batch, names: Sequence[str]) -> list[Array]:
    """Views of the unlabelled stream by name, copies one after the other."""
    return [view for name in names for view in batch["unlabeled"]["views"][name]]


def replace_network(
    tree: PyTree, name: str, params: Params, stats: State, within_stats: bool = False
) -> PyTree:
    """Puts parameters, or below 'stats' the statistics, in the place of every entry of a name, targets too."""
    if not isinstance(tree, dict):
        return tree
    found = {}
    for key, part in tree.items():
        within = within_stats or key == "stats"
        own = stats if within else params
        found[key] = own if key == name else replace_network(part, name, params, stats, within)
    return found


def encoder_with_head(method: Method, params: Params, state: State, layers: int) -> tuple[Params, State]:
    """The encoder that evaluators see, and its statistics, with so many layers of the method's projector on top.

    Raises:
      UserError: if there is no such projector.
    """
    encoder, stats = method.eval_encoder(params, state)
    if not layers:
        return encoder, stats
    head, head_stats = params.get("projector", {}), state.get("stats", {}).get("projector", {})
    names = [f"{kind}{layer}" for layer in range(layers) for kind in ("dense", "bn")]
    if any(name not in head for name in names) or f"dense{layers}" not in head:
        raise UserError(
            f"head_layers asks for {layers} layers of a projector with batch norm below its last one: "
            f"{type(method).__name__} has {', '.join(head) or 'no projector'}"
        )
    top = {name: head[name] for name in names}
    means = {name: head_stats[name] for name in names if name in head_stats}
    return {"base": encoder, "head": top}, {"base": stats, "head": means}


def health(z: Array) -> Metrics:
    """Diagnostics of the embedding that every method logs at every step; the collapse alarm reads them.

    Of embeddings of more than 8,192 numbers, maps and predictions of pixels, say, evenly spaced ones.
    """
    z = z[:, :: -(-z.shape[1] // MEASURED)]
    return {
        "embedding/std": metrics.relative_std(z),
        "embedding/effective_rank": metrics.participation_ratio(z),
    }


def teacher_health(probabilities: Array) -> Metrics:
    """Diagnostics of target distributions over prototypes, float[N, K]."""
    return {
        "teacher/entropy": metrics.entropy(probabilities),
        "teacher/kl_from_uniform": metrics.kl_from_uniform(probabilities),
        "teacher/mutual_information": metrics.mutual_information(probabilities),
    }
