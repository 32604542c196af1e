"""DeepCluster and DeeperCluster."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jssl import clustering, losses, models, rng, settings
from jssl.methods.base import Context, Extract, Method, Output, Refreshed, image_keys
from jssl.methods.clustering.labels import (
    SelfLabeled,
    assignment_metrics,
    cluster_weights,
    fresh,
    labels_of,
    no_labels,
    on_host,
    seed_of,
    with_labels,
)
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class DeepCluster(SelfLabeled):
    """DeepCluster: k-means on the features of all images gives them labels, which a new classifier learns.

    Features are those before the last ReLU, in evaluation mode, whitened on their first principal components and of
    length 1. Every cluster counts alike in the loss, by weights; the official code draws images of each alike, which is
    the same in expectation. The classifier and its part of the optimiser's state begin anew with the labels.

    Attributes:
      clusters: how many.
      pca_dim: principal components; all, if there are fewer.
      iterations: of k-means.
      balanced: whether all clusters count alike; without, one that is large takes all.
      proj_hidden_dim: width of the hidden layer on top of the encoder.
      proj_dim: width of the features that are clustered.

    References:
      Caron et al., Deep Clustering for Unsupervised Learning of Visual Features, 2018.
      https://arxiv.org/abs/1807.05520
    """

    clusters: int = settings.size(10000, at_least=2)
    pca_dim: int = settings.size(256)
    iterations: int = settings.size(20)
    balanced: bool = True
    proj_hidden_dim: int = settings.size(4096)
    proj_dim: int = settings.size(4096)

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        projector = models.mlp((self.proj_hidden_dim, self.proj_dim), dtype=self.dtype)
        return {"projector": projector, **self.classifiers}

    @functools.cached_property
    def classifiers(self) -> dict[str, models.Network]:
        """The linear layers that begin anew with the labels."""
        return {"clusters": models.linear(self.clusters, kernel_init="normal")}

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        self.check_clusters("clusters", self.clusters)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        images = self.get_views(batch)[0]
        params, stats = {}, {}
        params["encoder"], stats["encoder"] = self.encoder.init(rng.derive(key, "encoder"), images)
        h = self.encoder.apply(params["encoder"], stats["encoder"], images, train=False)[0]
        projector = self.networks["projector"]
        params["projector"], stats["projector"] = projector.init(rng.derive(key, "projector"), h)
        z = projector.apply(params["projector"], stats["projector"], h, train=False)[0]
        for name, network in self.classifiers.items():
            params[name], stats[name] = network.init(rng.derive(key, name), z)
        return params, {"stats": stats, **self.init_labels()}

    def init_labels(self) -> State:
        """The part of the state that holds labels."""
        weights = jnp.ones(self.clusters)
        return {"assignments": no_labels(self.num_examples, 1), "weights": weights}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images, labels = self.get_views(batch)[0], labels_of(state, batch)[:, 0]
        found, stats = self._forward(params, state, images, ctx)
        logits = self._classify("clusters", params, found["projector"])
        weight = state["weights"][labels] if self.balanced else None
        value = losses.cross_entropy(logits, labels, weight)
        right = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        return value, self.output({**state, "stats": stats}, batch, found, {"clusters/top1": right})

    def _forward(
        self, params: Params, state: State, images: Array, ctx: Context
    ) -> tuple[dict[str, Array], State]:
        return self.forward(params, state["stats"], images, ("encoder", "projector"), ctx.key)

    def _classify(self, name: str, params: Params, z: Array) -> Array:
        """Scores of the classifier of a name, of what is clustered."""
        return self.networks[name].apply(params[name], {}, jax.nn.relu(z), train=True)[0]

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        found, seed = extract(params, state, "embedding"), seed_of(key)
        clusters = self._k_means(self._whitened(found.x), self.clusters, seed)
        before = on_host(state["assignments"], self.mesh)
        metrics = assignment_metrics(before[found.index, 0], clusters, found.labels, self.clusters)
        after = with_labels(before, found.index, [clusters])
        weights = cluster_weights(clusters, self.clusters)
        state = {**state, "assignments": after, "weights": weights}
        params = {**params, "clusters": fresh(self, "clusters", key, params)}
        return Refreshed(params, state, ("clusters",), metrics)

    def _whitened(self, x: np.ndarray) -> np.ndarray:
        dim = min(self.pca_dim, x.shape[1], len(x) - 1)
        return clustering.pca_whitening(x, dim, mesh=self.mesh)(x, mesh=self.mesh)

    def _k_means(self, x: np.ndarray, clusters: int, seed: int) -> np.ndarray:
        """Labels int32[N]."""
        few = min(clusters, len(x))  # images that cannot be read are not among them
        return clustering.k_means(x, few, seed=seed, iterations=self.iterations, mesh=self.mesh).labels

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        found = super().outputs(params, state, inputs, modality)
        first, *_ = self.classifiers
        scores = self._classify(first, params, found["embedding"])
        return {**found, "assignments": jax.nn.softmax(scores)}

    def collapse_causes(self) -> tuple[str, ...]:
        return () if self.balanced else ("method.balanced=False: a large cluster takes all images",)


@dataclasses.dataclass(frozen=True)
class DeeperCluster(DeepCluster):
    """DeeperCluster: super-classes are clusters times rotations, each of which has clusters of its own.

    Clusters are of upright images, training turns each by a random multiple of 90 degrees. The loss is the cross
    entropy of the super-class, and that of the sub-cluster among those of its own super-class.

    Attributes:
      super_clusters: how many clusters the images are divided into at first; times four turns they are super-classes.
      clusters: sub-clusters of each super-cluster.

    References:
      Caron et al., Unsupervised Pre-Training of Image Features on Non-Curated Data, 2019.
      https://arxiv.org/abs/1905.01278
    """

    reassign_every: str = "3 epochs"
    super_clusters: int = settings.size(4, at_least=2)
    clusters: int = settings.size(80000, at_least=2)
    pca_dim: int = settings.size(4096)
    iterations: int = settings.size(10)

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("assignments", "sub")

    @functools.cached_property
    def classifiers(self) -> dict[str, models.Network]:
        classes = 4 * self.super_clusters
        sub = models.linear(classes * self.clusters, kernel_init="normal")
        return {"super": models.linear(classes, kernel_init="normal"), "sub": sub}

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        self.check_clusters("super_clusters times method.clusters", self.super_clusters * self.clusters)

    def init_labels(self) -> State:
        return {"assignments": no_labels(self.num_examples, 2)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images, labels = self.get_views(batch)[0], labels_of(state, batch)
        keys = image_keys(rng.derive(ctx.key, "turns"), batch["unlabeled"])
        turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)
        found, stats = self._forward(params, state, turned(images, turns), ctx)
        known = labels[:, 0] >= 0
        super_class = jnp.where(known, 4 * labels[:, 0] + turns, -1)
        of_super = self._classify("super", params, found["projector"])
        of_sub = self._classify("sub", params, found["projector"])
        of_sub = of_sub.reshape(len(images), 4 * self.super_clusters, self.clusters)
        own = jnp.take_along_axis(of_sub, jnp.maximum(super_class, 0)[:, None, None], axis=1)[:, 0]
        super_loss = losses.cross_entropy(of_super, super_class)
        sub_loss = losses.cross_entropy(own, labels[:, 1])
        metrics = {
            "clusters/super_loss": super_loss,
            "clusters/super_top1": jnp.mean(jnp.argmax(of_super, axis=-1) == super_class),
            "clusters/top1": jnp.mean(jnp.argmax(own, axis=-1) == labels[:, 1]),
        }
        return super_loss + sub_loss, self.output({**state, "stats": stats}, batch, found, metrics)

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        found, seed = extract(params, state, "embedding"), seed_of(key)
        x = self._whitened(found.x)
        coarse = self._k_means(x, self.super_clusters, seed)
        fine = np.zeros_like(coarse)
        for number in range(self.super_clusters):
            (rows,) = np.nonzero(coarse == number)
            if len(rows):
                fine[rows] = self._k_means(x[rows], min(self.clusters, len(rows)), seed + number)
        whole = on_host(state["assignments"], self.mesh)
        before = whole[found.index]
        joint = [self.clusters * each[:, 0] + each[:, 1] for each in (before, np.stack([coarse, fine], 1))]
        joint[0] = np.where(before[:, 0] >= 0, joint[0], -1)
        clusters = self.super_clusters * self.clusters
        metrics = assignment_metrics(joint[0], joint[1], found.labels, clusters)
        assignments = with_labels(whole, found.index, [coarse, fine])
        heads = {name: fresh(self, name, key, params) for name in ("super", "sub")}
        return Refreshed(
            {**params, **heads}, {**state, "assignments": assignments}, ("super", "sub"), metrics
        )


def turned(images: Array, turns: Array) -> Array:
    """Images [B, S, S, C], each turned by its own multiple of 90 degrees, int[B]."""
    variants = jnp.stack([jnp.rot90(images, quarters, axes=(1, 2)) for quarters in range(4)])
    return variants[turns, jnp.arange(len(images))]
