"""Weighted k-nearest-neighbour classification: no training, so it tells what the features hold."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jssl import parallel, settings
from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import Features, num_classes
from jssl.metrics import accuracy
from jssl.types import Array

QUERY_BLOCK = 256
NORM_BLOCK = 16384  # rows
CHOSEN_ON = 10_000  # training images that k is chosen on, at most


@dataclasses.dataclass(frozen=True)
class KNN(Evaluator):
    """Weighted k-nearest-neighbour accuracy; see `knn`. Without a query set every labelled image is left out in turn.

    Attributes:
      k: number of neighbours; 0 for that of `candidates` with the best accuracy on training images, each left out in
        turn.
      candidates: numbers of neighbours, see `k`.
      temperature: temperature of the votes' weights.
      center: whether the training features' mean is taken off first; pixels are always centred, which favours them.
    """

    name = "knn"
    needs = frozenset({"labels"})
    on_sounds = True
    few_labels = ("top1", "top5")

    baselines: tuple[str, ...] = ("pixels", "untrained")
    k: int = settings.count(20)
    candidates: tuple[int, ...] = settings.sizes((1, 5, 20))
    temperature: float = settings.positive(0.1)
    center: bool = False

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        assert data.labeled is not None
        train = encode(data.labeled)
        query = None if data.query is None else encode(data.query)
        center = self.center or ctx.baseline == "pixels"
        ranked, k = self.predict(train, query, data.classes, ctx.mesh, center)
        values = accuracy(ranked, (query or train).labels)
        return Evaluation(values if self.k else {**values, "k": k})

    def predict(
        self, train: Features, query: Features | None, classes: int, mesh: Mesh, center: bool = False
    ) -> tuple[np.ndarray, int]:
        """The five likeliest classes of every query, int[M, <=5], and the number of neighbours that voted.

        Args:
          train: with labels.
          query: None for those of train, each left out in turn.
          classes: their number.
          mesh: the devices.
          center: as in `knn`.
        """
        ks = (self.k,) if self.k else self.candidates
        ranked = functools.partial(
            _ranked,
            ks=ks,
            classes=classes,
            mesh=mesh,
            temperature=self.temperature,
            center=center,
        )
        best = 0
        if len(ks) > 1:
            some = np.random.default_rng(0).permutation(len(train.x))[:CHOSEN_ON]
            x, labels = train.x[some], train.labels[some]
            best = int(
                np.argmax([accuracy(r, labels)["top1"] for r in ranked(x, labels, x, leave_one_out=True)])
            )
        x = train.x if query is None else query.x
        return ranked(train.x, train.labels, x, leave_one_out=query is None)[best], ks[best]


def knn(
    train_x: np.ndarray,
    train_labels: np.ndarray,
    test_x: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: int | None = None,
    mesh: Mesh | None = None,
    k: int = 20,
    temperature: float = 0.1,
    center: bool = False,
    leave_one_out: bool = False,
) -> dict[str, float]:
    """Weighted kNN accuracy: the k most similar train images vote with weight exp(cosine / temperature).

    The train features are sharded over the mesh; each device finds its own k nearest, and the best k of
    all are chosen from those. Queries go in blocks.

    Args:
      train_x, train_labels: float[N, D] and int[N] in [0, classes).
      test_x, test_labels: float[M, D] and int[M].
      classes: their number; if it is not given, one more than the largest label.
      mesh: the devices; all if they are not given.
      k: neighbours; cut to the number of train images.
      temperature: of the votes' weights.
      center: subtract the mean of train_x before normalising.
      leave_one_out: the test set is the train set, and an image does not vote on itself.

    Returns:
      See `metrics.accuracy`; top5 counts min(5, classes) predictions, and no class without a vote.

    Raises:
      UserError: if k or the temperature is not positive.

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, 2018, section 3.4.
      https://arxiv.org/abs/1805.01978

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> train_x, train_labels = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
      >>> test_x, test_labels = np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1])
      >>> evaluation.knn(train_x, train_labels, test_x, test_labels, k=1)
      {'top1': 0.5, 'top5': 0.5, 'balanced': 0.5, 'worst_class': 0.0, 'commonest_class': 0.5}
    """
    if k < 1 or not temperature > 0:
        raise UserError(f"knn: k={k} and temperature={temperature} must be positive")
    mesh = parallel.make_mesh() if mesh is None else mesh
    classes = num_classes(train_labels, test_labels) if classes is None else classes
    (ranked,) = _ranked(
        *(train_x, train_labels, test_x), (k,), classes, mesh, temperature, center, leave_one_out
    )
    return accuracy(ranked, test_labels)


def _ranked(
    train_x: np.ndarray,
    train_labels: np.ndarray,
    test_x: np.ndarray,
    ks: tuple[int, ...],
    classes: int,
    mesh: Mesh,
    temperature: float,
    center: bool,
    leave_one_out: bool,
) -> list[np.ndarray]:
    """The five classes with most votes, int[M, <=5], for each of several numbers of neighbours, of one search."""
    ks = tuple(min(k, len(train_x) - leave_one_out) for k in ks)
    offset = train_x.mean(axis=0, keepdims=True) if center else None
    bank, queries = _unit(train_x, offset, mesh.size), _unit(test_x, offset)
    own = np.arange(len(queries)) if leave_one_out else np.full(len(queries), -1)
    # Padding votes for no class.
    labels = np.pad(train_labels, (0, len(bank) - len(train_x)), constant_values=-1)
    bank_rows = parallel.put_rows(bank, mesh)
    label_rows = parallel.put_rows(labels.astype(np.int32), mesh)
    vote = _voter(mesh, ks, temperature, classes)
    predictions: list[list[np.ndarray]] = [[] for _ in ks]
    for start in range(0, len(queries), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        block = parallel.pad_rows(queries[rows], QUERY_BLOCK)  # whole blocks, so that one shape is compiled
        self_rows = parallel.pad_rows(own[rows].astype(np.int32), QUERY_BLOCK)
        put = parallel.put_replicated((block, self_rows), mesh)
        for found, answers in zip(predictions, vote(bank_rows, label_rows, *put)):
            found.append(np.asarray(answers))
    return [np.concatenate(found)[: len(queries)] for found in predictions]


@functools.lru_cache(maxsize=8)
def _voter(mesh: Mesh, ks: tuple[int, ...], temperature: float, classes: int):  # type: ignore[no-untyped-def]
    rows, whole = PartitionSpec(parallel.DATA_AXIS), PartitionSpec()

    def nearest(bank: Array, labels: Array, queries: Array, own: Array) -> tuple[Array, Array]:
        similarity = jnp.matmul(queries, bank.T, precision=jax.lax.Precision.HIGHEST)
        first = jax.lax.axis_index(parallel.DATA_AXIS) * len(bank)
        excluded = (labels < 0) | (first + jnp.arange(len(bank)) == own[:, None])
        similarity = jnp.where(excluded, -jnp.inf, similarity)
        best, where = jax.lax.top_k(similarity, min(max(ks), len(bank)))
        return best, labels[where]

    local = jax.shard_map(
        nearest,
        mesh=mesh,
        in_specs=(rows, rows, whole, whole),
        out_specs=PartitionSpec(None, parallel.DATA_AXIS),
    )

    def search(bank: Array, labels: Array, queries: Array, own: Array) -> list[Array]:
        best, best_labels = local(bank, labels, queries, own)
        best, where = jax.lax.top_k(best, max(ks))
        best_labels = jnp.take_along_axis(best_labels, where, axis=1)
        return [vote(best[:, :k], best_labels[:, :k]) for k in ks]

    def vote(best: Array, labels: Array) -> Array:
        k = best.shape[1]
        weight = jnp.exp((best - best[:, :1]) / temperature)  # a common factor changes no vote
        mine = jax.nn.one_hot(labels, classes)
        votes = jnp.sum(weight[..., None] * mine, axis=1)
        # Of classes with equal votes that of the nearer neighbour comes first; none without a vote is predicted.
        nearest_first = jnp.lexsort((-jnp.max(mine * jnp.arange(k, 0, -1)[:, None], axis=1), -votes))
        ranked = nearest_first[:, : min(5, classes)]
        return jnp.where(jnp.take_along_axis(votes, ranked, axis=1) > 0, ranked, -1)

    return jax.jit(search, out_shardings=parallel.replicated(mesh))


def _unit(x: np.ndarray, offset: np.ndarray | None, multiple: int = 1) -> np.ndarray:
    """Rows less an offset, of unit norm, then rows of zeros up to a multiple: one copy, a block of rows at a time."""
    unit = np.zeros((len(x) + -len(x) % multiple, x.shape[1]), np.float32)
    for start in range(0, len(x), NORM_BLOCK):
        block = x[start : start + NORM_BLOCK]
        block = block if offset is None else block - offset
        norms = np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
        np.divide(block, norms, out=unit[start : start + len(block)], casting="same_kind")
    return unit
