"""Linear evaluation, exact: multinomial logistic regression on frozen features, to convergence."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jssl import parallel, settings
from jssl.data import splits
from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import num_classes
from jssl.metrics.classification import accuracy
from jssl.types import Array

HELD_OUT = 0.2  # of the train features, to choose the L2 penalty
SMALLEST = 256  # rows to which fewer are padded
TOLERANCE = 1e-4  # of the gradient's largest element


@dataclasses.dataclass(frozen=True)
class Linear(Evaluator):
    """Accuracy of logistic regression on frozen features; see `linear`.

    Attributes:
      l2: penalties to choose from on a fifth of the training images.
      max_iterations: most iterations of L-BFGS.
    """

    name = "linear"
    needs = frozenset({"labels"})
    on_sounds = True
    few_labels = ("top1", "top5")

    baselines: tuple[str, ...] = ("pixels", "untrained")
    l2: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    max_iterations: int = settings.size(100)

    def check(self) -> None:
        self.require("l2", valid_penalties(self.l2), "must be one or more numbers that are not negative")

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        assert data.labeled is not None
        train, query = encode(data.labeled), encode(data.query)
        values = linear(
            *(train.x, train.labels, query.x, query.labels),
            classes=data.classes,
            mesh=ctx.mesh,
            l2=self.l2,
            max_iterations=self.max_iterations,
        )
        return Evaluation(values)


def linear(
    train_x: np.ndarray,
    train_labels: np.ndarray,
    test_x: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: int | None = None,
    mesh: Mesh | None = None,
    l2: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2),
    max_iterations: int = 100,
    held_out: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Linear accuracy: logistic regression on frozen features, whose penalty is chosen on a held-out part of train.

    L-BFGS on standardised features minimises mean cross entropy + l2 / 2 * |W|^2. Features are sharded over the mesh.

    Args:
      train_x, train_labels: float[N, D] and int[N] in [0, classes).
      test_x, test_labels: float[M, D] and int[M].
      classes: their number; if it is not given, one more than the largest label.
      mesh: the devices; all if they are not given.
      l2: penalties to choose from; with one, or classes too small to hold a fifth of each out, the first is used.
      max_iterations: of L-BFGS; it stops when no element of the gradient exceeds 1e-4.
      held_out: also return the top-1 accuracy on the held-out part, with the chosen penalty, by which features can be
        chosen, too; it is left out where classes are too small.

    Returns:
      {'top1', 'top5', ..., 'l2'} and 'held_out' if it is asked for; accuracies in [0, 1].

    Raises:
      UserError: if l2 is empty or negative, or max_iterations less than 1.

    Example:
      >>> import numpy as np
      >>> from jssl import evaluation
      >>> x, labels = np.array([[-1.0], [1.0]] * 4), np.array([0, 1] * 4)
      >>> evaluation.linear(x, labels, x, labels, l2=(0.01,))
      {'top1': 1.0, 'top5': 1.0, 'balanced': 1.0, 'worst_class': 1.0, 'commonest_class': 0.5, 'l2': 0.01}
    """
    if not valid_penalties(l2) or max_iterations < 1:
        raise UserError(
            f"linear: l2={tuple(l2)} must not be empty or negative, max_iterations={max_iterations} not 0"
        )
    mesh = parallel.make_mesh() if mesh is None else mesh
    classes = num_classes(train_labels, test_labels) if classes is None else classes
    train_x, test_x = standardized(train_x, test_x)
    fit = _fitter(mesh, classes, max_iterations)
    x, labels = shard(train_x, mesh), shard(train_labels.astype(np.int32), mesh)
    chosen, best = float(l2[0]), {}
    held = _held_out(train_labels, seed) if held_out or len(l2) > 1 else np.zeros(len(train_x), bool)
    if held.any():
        rows = shard(~held / np.float32(np.sum(~held)), mesh)
        weights = _zeros(train_x.shape[1], classes)
        penalties, scores = sorted(l2, reverse=True), []
        for penalty in penalties:  # from strong to weak, each starting where the last one ended
            weights = fit(x, labels, rows, penalty, weights)
            scores.append(accuracy(_rank(weights, train_x[held]), train_labels[held])["top1"])
        chosen = float(penalties[int(np.argmax(scores))])
        best = {"held_out": max(scores)} if held_out else {}
    rows = shard(np.full(len(train_x), 1 / len(train_x), np.float32), mesh)
    weights = fit(x, labels, rows, chosen, _zeros(train_x.shape[1], classes))
    return {**accuracy(_rank(weights, test_x), test_labels), "l2": chosen, **best}


def valid_penalties(l2: Sequence[float]) -> bool:
    """Whether there are penalties, and none is negative."""
    return bool(l2) and min(l2) >= 0


def standardized(train_x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features with mean 0 and standard deviation 1 on train, float32; those that are constant there are 0."""
    mean, std = train_x.mean(axis=0), train_x.std(axis=0)
    scale = 1 / np.where(std > 1e-6 * max(float(std.max()), 1e-12), std, np.inf)
    train_x, test_x = ((x - mean) * scale for x in (train_x, test_x))
    return train_x.astype(np.float32, copy=False), test_x.astype(np.float32, copy=False)


def _held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Which rows choose the penalty, bool[N]; none if some class has a single example."""
    held = np.zeros(len(labels), bool)
    if np.unique(labels, return_counts=True)[1].min() > 1:
        held[splits.holdout(len(labels), labels, HELD_OUT, seed)[1]] = True
    return held


def shard(x: np.ndarray, mesh: Mesh) -> Array:
    """Rows over the devices, padded with zeros to one of few lengths, so that few shapes are compiled."""
    grain = max(SMALLEST, 2 ** (len(x).bit_length() - 3))
    return parallel.put_rows(parallel.pad_rows(x, math.lcm(grain, mesh.size)), mesh)


def _rank(weights: tuple[Array, Array], x: np.ndarray) -> np.ndarray:
    """Classes by falling score, int[M, classes]."""
    w, b = jax.tree.map(np.asarray, weights)
    return np.argsort(-(x @ w + b), axis=1, kind="stable")


def _zeros(dim: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((dim, classes), np.float32), np.zeros(classes, np.float32)


@functools.lru_cache(maxsize=8)
def _fitter(mesh: Mesh, classes: int, max_iterations: int):  # type: ignore[no-untyped-def]
    solver = optax.lbfgs(memory_size=10)

    def fit(
        x: Array, labels: Array, rows: Array, l2: Array, start: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        def objective(weights: tuple[Array, Array]) -> Array:
            logits = jnp.matmul(x, weights[0], precision=jax.lax.Precision.HIGHEST) + weights[1]
            each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.sum(rows * each) + l2 / 2 * jnp.sum(jnp.square(weights[0]))

        value_and_grad = optax.value_and_grad_from_state(objective)

        def unfinished(carry):  # type: ignore[no-untyped-def]
            _, state, count = carry
            grad = optax.tree_utils.tree_get(state, "grad")
            steep = jnp.max(jnp.asarray([jnp.max(jnp.abs(g)) for g in grad])) > TOLERANCE
            return (count == 0) | ((count < max_iterations) & steep)

        def iterate(carry):  # type: ignore[no-untyped-def]
            weights, state, count = carry
            value, grad = value_and_grad(weights, state=state)
            updates, state = solver.update(grad, state, weights, value=value, grad=grad, value_fn=objective)
            return optax.apply_updates(weights, updates), state, count + 1

        return jax.lax.while_loop(unfinished, iterate, (start, solver.init(start), 0))[0]

    return jax.jit(fit, out_shardings=parallel.replicated(mesh))
