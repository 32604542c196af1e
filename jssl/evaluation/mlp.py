"""Accuracy of a classifier with one hidden layer on frozen features, to be read beside the linear one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jssl import models, parallel, rng, settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import num_classes
from jssl.evaluation.linear import shard, standardized
from jssl.metrics.classification import accuracy
from jssl.types import Array, Params


@dataclasses.dataclass(frozen=True)
class MLP(Evaluator):
    """Accuracy of a classifier with one hidden layer on frozen features; see `mlp`.

    On an untrained convolutional network it is far above chance: the closing table has both beside the run's.

    Attributes:
      hidden_dim: size of the hidden layer.
      steps: of training, each on all labelled images.
      lr: learning rate at first; it falls to 0 along a cosine.
      weight_decay: of the kernels, as AdamW's.

    References:
      Noroozi and Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, 2016.
      https://arxiv.org/abs/1603.09246
      Caron et al., Deep Clustering for Unsupervised Learning of Visual Features, 2018. https://arxiv.org/abs/1807.05520
    """

    name = "mlp"
    needs = frozenset({"labels"})
    on_sounds = True
    during = False

    enabled: bool = False
    baselines: tuple[str, ...] = ("pixels", "untrained")
    hidden_dim: int = settings.size(512)
    steps: int = settings.size(300)
    lr: float = settings.positive(0.01)
    weight_decay: float = settings.weight(0.01)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        assert data.labeled is not None
        train, query = encode(data.labeled), encode(data.query)
        values = mlp(
            *(train.x, train.labels, query.x, query.labels),
            classes=data.classes,
            mesh=ctx.mesh,
            hidden_dim=self.hidden_dim,
            steps=self.steps,
            lr=self.lr,
            weight_decay=self.weight_decay,
        )
        return Evaluation(values)


def mlp(
    train_x: np.ndarray,
    train_labels: np.ndarray,
    test_x: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: int | None = None,
    mesh: Mesh | None = None,
    hidden_dim: int = 512,
    steps: int = 300,
    lr: float = 0.01,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy of a classifier with one hidden layer of ReLUs, trained by AdamW on all features in every step.

    Features are standardised and sharded over the mesh; the same seed gives the same classifier.

    Args:
      train_x, train_labels: float[N, D] and int[N] in [0, classes).
      test_x, test_labels: float[M, D] and int[M].
      classes: their number; if it is not given, one more than the largest label.
      mesh: the devices; all if they are not given.
      hidden_dim, steps, lr, weight_decay: see `MLP`.
      seed: of the weights at first.

    Returns:
      The accuracies of `metrics.accuracy`, in [0, 1].

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
      >>> exclusive_or = np.array([0, 1, 1, 0])  # which no linear classifier tells
      >>> evaluation.mlp(x, exclusive_or, x, exclusive_or, hidden_dim=32, steps=50)["top1"]
      1.0
    """
    mesh = parallel.make_mesh() if mesh is None else mesh
    classes = num_classes(train_labels, test_labels) if classes is None else classes
    train_x, test_x = standardized(train_x, test_x)
    arrays = [train_x, train_labels.astype(np.int32), np.full(len(train_x), 1 / len(train_x), np.float32)]
    score = _scorer(hidden_dim, classes, steps, lr, weight_decay, mesh)
    scores = np.asarray(score(rng.root(seed), *(shard(x, mesh) for x in (*arrays, test_x))))
    return accuracy(np.argsort(-scores[: len(test_x)], axis=1, kind="stable"), test_labels)


@functools.lru_cache(maxsize=8)
def _scorer(
    hidden_dim: int, classes: int, steps: int, lr: float, weight_decay: float, mesh: Mesh
) -> Callable[..., Array]:
    """A jitted function that trains a classifier and gives its logits of other features."""
    network = models.mlp((hidden_dim, classes), batch_norm=False)
    optimizer = optax.adamw(optax.cosine_decay_schedule(lr, steps), weight_decay=weight_decay)

    def score(key: Array, x: Array, labels: Array, rows: Array, other: Array) -> Array:
        def loss(params: Params) -> Array:
            logits, _ = network.apply(params, {}, x, train=True)
            each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.sum(rows * each)

        def step(carry: tuple[Params, optax.OptState], _: None) -> tuple[tuple[Params, optax.OptState], None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        params, _ = network.init(key, x)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
        return network.apply(params, {}, other, train=False)[0]

    return jax.jit(score, out_shardings=parallel.replicated(mesh))
