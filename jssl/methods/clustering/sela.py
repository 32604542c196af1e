"""SeLa: labels that divide the images equally."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from jssl import clustering, losses, models, parallel, rng, settings
from jssl.methods.base import Context, Extract, Method, Output, Refreshed
from jssl.methods.clustering.labels import (
    SelfLabeled,
    assignment_metrics,
    labels_of,
    mean_of,
    no_labels,
    on_host,
)
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class SeLa(SelfLabeled):
    """SeLa: several heads learn labels, each of which divides the images equally among its classes.

    The labels of a head are those that its own probabilities like best under that condition, by Sinkhorn-Knopp.
    Probabilities are those of one pass in training mode over the views of training.

    Attributes:
      clusters: classes of each head.
      num_heads: how many heads; the loss is the mean over them.
      heads_per_refresh: heads that are labelled anew at a time, in turn; 0 for all.
      sharpness: lambda of the paper: the larger, the closer are the sizes of classes to equal ones.
      tolerance: of Sinkhorn-Knopp.
      equal_sizes: whether classes must be of one size; without, all images get one label in the end.

    References:
      Asano et al., Self-Labelling via Simultaneous Clustering and Representation Learning, 2020.
      https://arxiv.org/abs/1911.05371
    """

    reassign_every: str = "100 times, quadratic"
    clusters: int = settings.size(3000, at_least=2)
    num_heads: int = settings.size(10)
    heads_per_refresh: int = settings.count(0)
    sharpness: float = settings.positive(25.0)
    tolerance: float = settings.positive(0.1)
    equal_sizes: bool = True

    @functools.cached_property
    def heads(self) -> dict[str, models.Network]:
        return {"clusters": models.linear(self.num_heads * self.clusters, kernel_init="normal")}

    def check(self, batch: Batch) -> None:
        Method.check(self, batch)
        self.check_clusters("clusters", self.clusters)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = super().init(key, batch)
        # Equal and random, as in the official code, for the heads that are not labelled at the first refresh.
        rows = jnp.arange(self.num_examples)
        columns = [
            jax.random.permutation(rng.derive(key, "labels", head), rows) % self.clusters
            for head in range(self.num_heads)
        ]
        labels = no_labels(self.num_examples, self.num_heads)
        labels = labels.at[: self.num_examples].set(jnp.stack(columns, axis=1))
        return params, {**state, "assignments": labels, "refreshed": jnp.zeros((), jnp.int32)}

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        images, labels = self.get_views(batch)[0], labels_of(state, batch)
        found, stats = self.forward(params, state["stats"], images, key=ctx.key)
        logits = found["clusters"].reshape(len(images) * self.num_heads, self.clusters)
        value = losses.cross_entropy(logits, labels.ravel())
        right = jnp.mean(jnp.argmax(logits, axis=-1) == labels.ravel())
        return value, self.output({**state, "stats": stats}, batch, found, {"clusters/top1": right})

    def training_features(self, params: Params, state: State, batch: Batch, key: Array) -> Array:
        """Features of the encoder in training mode, float32[B, D]."""
        images = self.get_views(batch)[0]
        return self.forward(params, state["stats"], images, ("encoder",), key)[0]["encoder"]

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        found = extract.training(params, state, self.training_features, key)
        number, many = int(state["refreshed"]), self.heads_per_refresh or self.num_heads
        assignments = on_host(state["assignments"], self.mesh)
        mesh = parallel.make_mesh(jax.devices()[:1]) if self.mesh is None else self.mesh
        x = parallel.put_rows(parallel.pad_rows(found.x, mesh.size), mesh)
        log_p_of = jax.jit(self.log_probabilities, out_shardings=parallel.batch_sharding(mesh))
        results, each = [], []
        for head in sorted({(number * many + i) % self.num_heads for i in range(many)}):
            log_p = log_p_of(params["clusters"], x, jnp.int32(head))[: len(found.x)]
            labels, objective, error = self._labels(log_p, mesh)
            before = assignments[found.index, head]
            each.append(assignment_metrics(before, labels, found.labels, self.clusters))
            results.append((objective, error))
            assignments[found.index, head] = labels
        unseen = np.setdiff1d(np.arange(len(assignments)), found.index)
        assignments[unseen] = -1
        metrics = mean_of(each)
        metrics["clusters/objective"], metrics["clusters/sinkhorn_error"] = map(
            float, np.mean(results, axis=0)
        )
        state = {**state, "assignments": assignments, "refreshed": state["refreshed"] + 1}
        return Refreshed(params, state, metrics=metrics)

    def log_probabilities(self, params: Params, x: Array, head: Array) -> Array:
        """Log-probabilities of the classes of a head, float32[N, K], of features."""
        kernel, bias = (
            jax.lax.dynamic_slice_in_dim(params["dense"][name], head * self.clusters, self.clusters, axis=-1)
            for name in ("kernel", "bias")
        )
        return jax.nn.log_softmax(jnp.matmul(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias)

    def _labels(self, log_p: Array, mesh: Mesh) -> tuple[np.ndarray, float, float]:
        """New labels int32[N], the mean of -log of their probabilities, and the error of Sinkhorn-Knopp."""
        if not self.equal_sizes:
            labels = jnp.argmax(log_p, axis=1).astype(jnp.int32)
            return parallel.whole(labels, mesh), float(-jnp.mean(jnp.max(log_p, axis=1))), 0.0
        found = clustering.optimal_assignment(
            log_p, sharpness=self.sharpness, tolerance=self.tolerance, mesh=mesh
        )
        if found.error > self.tolerance:
            logging.warning(
                "SeLa: after %d iterations the sizes of classes are not equal yet (error %.3g, method.tolerance=%g)",
                *(found.iterations, found.error, self.tolerance),
            )
        return found.labels, found.objective, found.error

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        found = super().outputs(params, state, inputs, modality)
        layer = self.networks["clusters"]
        scores = layer.apply(params["clusters"], {}, found["features"], train=False)[0]
        return {**found, "assignments": jax.nn.softmax(scores[:, : self.clusters])}

    def collapse_causes(self) -> tuple[str, ...]:
        return () if self.equal_sizes else ("method.equal_sizes=False: one class takes all images",)
