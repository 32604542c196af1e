"""What methods share that learn labels which they give the images themselves, anew now and then."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jssl import metrics, parallel, rng
from jssl.errors import UserError
from jssl.methods.memory import padded_rows
from jssl.methods.networks import EncoderWithHeads
from jssl.types import Array, Batch, Params, State

UNKNOWN = -1  # the label of an image that has none: it could not be read


@dataclasses.dataclass(frozen=True)
class Reassigned:
    """A method that gives all images new labels between steps.

    Attributes:
      reassign_every: how often: '1 epoch', '100 times', '100 times, quadratic' (more often at first).
      num_examples: size of the data set; the program knows it.
      mesh: the program knows it.
    """

    reassign_every: str = "1 epoch"
    num_examples: int = 0
    mesh: Mesh | None = None

    @property
    def refresh_every(self) -> str:
        return self.reassign_every

    def check_clusters(self, name: str, clusters: int) -> None:
        """Raises UserError if there are more clusters than images, or labels are never given."""
        if not self.reassign_every:
            raise UserError(
                "method.reassign_every='': without labels there is nothing to learn; write '1 epoch'"
            )
        if clusters > self.num_examples:
            raise UserError(
                f"method.{name}: {clusters} clusters are more than the {self.num_examples} images: set less"
            )


@dataclasses.dataclass(frozen=True)
class SelfLabeled(Reassigned, EncoderWithHeads):
    """A method of one view whose labels lie in the state, a row for every image."""

    views: tuple[str, ...] = ("first",)

    @property
    def sharded(self) -> tuple[str, ...]:
        return ("assignments",)


def no_labels(num_examples: int, columns: int) -> Array:
    """Labels before there are any, int32[M, columns], whose M rows split over any usual number of devices."""
    return jnp.full((padded_rows(num_examples), columns), UNKNOWN, jnp.int32)


def with_labels(before: np.ndarray, index: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
    """New labels of the images at some positions, a column each; the others have none.

    Args:
      before: int32[M, columns], of that shape.
      index: int[N].
      labels: columns of int[N].
    """
    after = np.full(before.shape, UNKNOWN, np.int32)
    after[index] = np.stack(labels, axis=1)
    return after


def labels_of(state: State, batch: Batch) -> Array:
    """The labels of a batch, int32[B, columns]."""
    return jnp.asarray(state["assignments"])[batch["unlabeled"]["index"]]


def on_host(x: Array, mesh: Mesh | None) -> np.ndarray:
    """A copy of a part of the state that may be split over devices and processes."""
    return np.array(parallel.whole(x, mesh))


def seed_of(key: Array) -> int:
    """A seed for NumPy, equal in all processes."""
    return int(jax.random.bits(rng.derive(key, "seed"))) >> 1


def cluster_weights(labels: np.ndarray, clusters: int) -> np.ndarray:
    """Weights float32[clusters] of images under which all clusters that are not empty count alike; their mean is 1.

    What DeepCluster's code does by drawing as many images of each cluster: equal in expectation.

    Args:
      labels: int[N]; those below 0 count for nothing.
      clusters: how many there are.

    Example:
      >>> import numpy as np
      >>> from jssl.methods.clustering import labels
      >>> labels.cluster_weights(np.array([0, 0, 2, 2]), 3).tolist()
      [1.0, 0.0, 1.0]
    """
    counts = np.bincount(labels[labels >= 0], minlength=clusters)
    weights = counts.sum() / (np.maximum(counts, 1) * max(1, np.count_nonzero(counts)))
    return np.where(counts > 0, weights, 0).astype(np.float32)


def assignment_metrics(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, clusters: int
) -> dict[str, float]:
    """What is logged of new labels.

    Args:
      before, after: int[N] labels of the same images.
      truth: int[N], their classes, -1 where they are not known: to look at, never to learn from.
      clusters: how many there are.

    Returns:
      'clusters/entropy' of their sizes (1 if all are equal), 'clusters/empty', 'clusters/largest_fraction'; where there
      were labels before, 'clusters/nmi_previous' and 'clusters/moved', the part of the images with another label (names
      of clusters are arbitrary for methods that cluster anew); where classes are known, 'clusters/nmi_classes'.
    """
    counts = np.bincount(after[after >= 0], minlength=clusters)
    p = counts[counts > 0] / counts.sum()
    found = {
        "clusters/entropy": float(-np.sum(p * np.log(p)) / np.log(max(2, clusters))),
        "clusters/empty": float(np.sum(counts == 0)),
        "clusters/largest_fraction": float(counts.max() / counts.sum()),
    }
    if np.any(before >= 0):
        found["clusters/nmi_previous"] = metrics.nmi(before, after)
        found["clusters/moved"] = float(np.mean(before != after))
    if np.any(truth >= 0):
        found["clusters/nmi_classes"] = metrics.nmi(after, truth)
    return found


def mean_of(each: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means of what is logged of several heads; of the largest fraction the largest, so that none hides."""
    found = {name: float(np.mean([one[name] for one in each if name in one])) for one in each for name in one}
    largest = "clusters/largest_fraction"
    return {**found, largest: max(one[largest] for one in each)}


def fresh(method: EncoderWithHeads, name: str, key: Array, params: Params) -> Params:
    """New parameters of a linear head in the place of the old ones."""
    kernel = params[name]["dense"]["kernel"]
    return method.networks[name].init(rng.derive(key, name), jnp.zeros((1, len(kernel))))[0]
