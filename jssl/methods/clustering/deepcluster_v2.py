"""DeepCluster v2."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl import clustering, losses, models, settings
from jssl.methods.base import Context, Extract, Output, Refreshed
from jssl.methods.clustering.labels import (
    Reassigned,
    assignment_metrics,
    labels_of,
    mean_of,
    no_labels,
    on_host,
    seed_of,
    with_labels,
)
from jssl.methods.memory import padded_rows
from jssl.methods.networks import MultiCrop, Outputs
from jssl.types import Array, Batch, Params, State

GLOBAL_CROPS = 2


@dataclasses.dataclass(frozen=True)
class DeepClusterV2(Reassigned, MultiCrop):
    """DeepCluster v2: every crop predicts the cluster of its image among centroids of unit length.

    A bank holds the embeddings of the last epoch's global crops, in training mode; spherical k-means on those of one
    of them, in turn for several heads, gives centroids and labels. Centroids are not trained. Before the first step
    one pass fills the bank.

    Attributes:
      clusters: centroids of each head.
      num_heads: clusterings with other draws; the loss is the mean over them.
      iterations: of k-means.
      temperature: of the predictions.
      proj_hidden_dim: width of the projector's hidden layer.
      proj_dim: width of the embedding.

    References:
      Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, 2020, section 4.1.
      https://arxiv.org/abs/2006.09882
    """

    clusters: int = settings.size(3000, at_least=2)
    num_heads: int = settings.size(3)
    iterations: int = settings.size(10)
    temperature: float = settings.positive(0.1)
    proj_hidden_dim: int = settings.size(2048)
    proj_dim: int = settings.size(128)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"projector": models.mlp((self.proj_hidden_dim, self.proj_dim), dtype=self.dtype)}

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("assignments", "bank")

    def check(self, batch: Batch) -> None:
        super().check(batch)
        self.check_clusters("clusters", self.clusters)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        rows = padded_rows(self.num_examples)
        return params, {
            **state,
            "assignments": no_labels(self.num_examples, self.num_heads),
            "centroids": jnp.zeros((self.num_heads, self.clusters, self.proj_dim)),
            "bank": jnp.zeros((rows, GLOBAL_CROPS, self.proj_dim)),
            "filled": jnp.zeros((), jnp.int32),
        }

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        labels, index = labels_of(state, batch), batch["unlabeled"]["index"]
        found, stats = self.forward_multicrop(params, state["stats"], self.get_views(batch), ctx.key)
        z = jnp.stack([losses.normalize(each["projector"]) for each in found], axis=1)  # [B, crops, D]
        scores = self.scores(state, z) / self.temperature  # [B, crops, heads, K]
        target = jnp.broadcast_to(labels[:, None], scores.shape[:-1])
        value = losses.cross_entropy(scores.reshape(-1, self.clusters), target.ravel())
        right = jnp.mean(jnp.argmax(scores, axis=-1) == target)
        bank = state["bank"].at[index].set(jax.lax.stop_gradient(z[:, :GLOBAL_CROPS]))
        state = {**state, "stats": stats, "bank": bank}
        return value, self.output(state, batch, found[0], {"clusters/top1": right})

    def scores(self, state: State, z: Array) -> Array:
        """Cosines of unit embeddings float32[..., D] with the centroids, float32[..., heads, K]."""
        return jnp.einsum("...d,hkd->...hk", z, state["centroids"])

    def embedding_of_crop(self, crop: int, params: Params, state: State, batch: Batch, key: Array) -> Array:
        """Unit embeddings of a global crop in training mode, float32[B, D]."""
        view = self.get_views(batch)[crop]
        found, _ = self.forward(params, state["stats"], view, key=key)
        return losses.normalize(found["projector"])

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        bank, before = (on_host(state[name], self.mesh) for name in ("bank", "assignments"))
        if not int(state["filled"]):
            for crop in range(GLOBAL_CROPS):
                found = extract.training(params, state, functools.partial(self.embedding_of_crop, crop), key)
                bank[found.index, crop] = found.x
        (index,) = np.nonzero(np.any(bank[:, 0] != 0, axis=1))  # images that were never read have none
        columns, centroids = [], []
        for head in range(self.num_heads):
            each = clustering.k_means(
                bank[index, head % GLOBAL_CROPS],
                min(self.clusters, len(index)),
                seed=seed_of(jax.random.fold_in(key, head)),
                iterations=self.iterations,
                spherical=True,
                mesh=self.mesh,
            )
            columns.append(each.labels)
            missing = self.clusters - len(each.centroids)
            centroids.append(np.pad(each.centroids, ((0, missing), (0, 0))))
        metrics = mean_of(
            [
                assignment_metrics(before[index, head], column, extract.labels[index], self.clusters)
                for head, column in enumerate(columns)
            ]
        )
        state = {
            **state,
            "bank": bank,
            "centroids": np.stack(centroids),
            "assignments": with_labels(before, index, columns),
            "filled": state["filled"] + 1,
        }
        return Refreshed(params, state, metrics=metrics)

    def more_outputs(self, state: State, found: Outputs) -> dict[str, Array]:
        scores = self.scores(state, losses.normalize(found["projector"]))[..., 0, :]
        return {"assignments": jax.nn.softmax(scores / self.temperature)}
