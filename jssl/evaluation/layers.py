"""Linear accuracy layer by layer: what pretext tasks teach is often best before the last block."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jssl import settings
from jssl.errors import UserError, unknown
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import extract_source
from jssl.evaluation.linear import linear, valid_penalties
from jssl.train import progress
from jssl.types import Array, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.evaluation.base import Drawing
    from jssl.train.program import Program


@dataclasses.dataclass(frozen=True)
class Layers(Evaluator):
    """Linear accuracy of every layer of the encoder: logistic regression on its average-pooled map; see `linear`.

    Values are those of `linear` for every layer, 'block1/top1' and so on, and 'best/top1' of the layer with the best
    accuracy on a held-out fifth of the training images ('block1/held_out'), with its 'best/depth', 1 for the first that
    is measured. The test set chooses nothing. Where a class has a single image nothing is held out, and none is best.

    The images are passed once for every layer, as far as that layer, and its maps are pooled on the device: the host
    holds the features of one layer at a time.

    Attributes:
      names: of the layers, such as ('block3', 'block4'); () for all.
      max_dim: each map is averaged over the finest grid of s x s cells with at most so many numbers, or over all of it.
      l2: penalties to choose from on a fifth of the training images.
      max_iterations: most iterations of L-BFGS.

    References:
      Goyal et al., Scaling and Benchmarking Self-Supervised Visual Representation Learning, 2019, section 6.
      https://arxiv.org/abs/1905.01235
      Kolesnikov et al., Revisiting Self-Supervised Visual Representation Learning, 2019.
      https://arxiv.org/abs/1901.09005
    """

    name = "layers"
    needs = frozenset({"labels"})
    during = False
    possible_baselines = ("untrained",)

    enabled: bool = False
    baselines: tuple[str, ...] = ("untrained",)
    names: tuple[str, ...] = ()
    max_dim: int = settings.size(9216)
    l2: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    max_iterations: int = settings.size(100)

    def check(self) -> None:
        self.require("l2", valid_penalties(self.l2), "must be one or more numbers that are not negative")

    def check_run(self, program: Program, data: Data) -> None:
        if not program.layer_names:
            module = type(program.method.encoder.module).__name__
            raise UserError(f"evals.layers.enabled: {module} records no layers; see jssl.models.record")
        for name in self.names:
            if name not in program.layer_names:
                raise unknown("layer in evals.layers.names", name, program.layer_names)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        names = [name for name in ctx.program.layer_names if name in self.names or not self.names]
        found = {}
        for name in names:
            with progress.doing(f"evaluating layer {name}" + (f" of {ctx.baseline}" if ctx.baseline else "")):
                found[name] = self._of_layer(name, data, ctx)
        values = {f"{name}/{key}": value for name, each in found.items() for key, value in each.items()}
        curves = ctx.cache.setdefault("layers/curves", {})
        curves[ctx.baseline] = {name: each["top1"] for name, each in found.items()}
        # Drawn at the end of the run, when the curve of the untrained encoder is there, too.
        drawing: Drawing = functools.partial(draw, curves=curves)
        return Evaluation(values | best_layer(found), {} if ctx.baseline else {"accuracy": drawing})

    def _of_layer(self, name: str, data: EvalData, ctx: EvalContext) -> dict[str, float]:
        """Linear accuracy of one layer."""
        assert data.labeled is not None
        assert data.query is not None
        assert ctx.state is not None
        apply = ctx.cache.setdefault(f"layers/{name}", layer_features(ctx.program, name, self.max_dim))
        arrays = (ctx.state.params, ctx.state.method_state)
        train, query = (
            extract_source(ctx.program, lambda images: apply(*arrays, images), source)
            for source in (data.labeled, data.query)
        )
        return linear(
            *(train.x, train.labels, query.x, query.labels),
            classes=data.classes,
            mesh=ctx.mesh,
            l2=self.l2,
            max_iterations=self.max_iterations,
            held_out=True,
        )


def best_layer(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The layer with the best accuracy on the held-out part of train, the first of equal ones.

    Args:
      found: by layer, in order of depth: 'top1', and 'held_out' unless nothing was held out.

    Returns:
      {'best/top1', 'best/depth'}, or nothing.
    """
    scores = [each.get("held_out", -1.0) for each in found.values()]
    if max(scores) < 0:
        return {}
    depth = int(np.argmax(scores))
    return {"best/top1": [*found.values()][depth]["top1"], "best/depth": depth + 1.0}


def layer_features(program: Program, name: str, max_dim: int) -> Callable[[Params, State, Array], Array]:
    """The jitted features of a layer of integer images, float32[B, s * s * D], whole on every device."""
    method = program.method

    def features(params: Params, state: State, images: Array) -> Array:
        maps = method.encoder.layer_maps(*method.eval_encoder(params, state), images)
        return pool_map(maps[name], max_dim).reshape(len(images), -1)

    return program.of_images(features)


def pool_map(x: Array, max_dim: int) -> Array:
    """Means of a map over the finest grid of s x s cells that keeps at most `max_dim` numbers of an image.

    Cell i of s covers the rows from floor(i h / s) to ceil((i + 1) h / s): where s does not divide h, neighbours
    overlap by a row (adaptive average pooling).

    Args:
      x: float[B, h, w, D].
      max_dim: bound of s * s * D; where D alone exceeds it, s is 1.

    Returns:
      float32[B, s, s, D]; of a ResNet-50 at 224 pixels s is 12, 6, 4, 3 and 2 at a bound of 9216.

    Example:
      >>> import jax
      >>> from jssl import evaluation
      >>> evaluation.pool_map(jax.numpy.ones((2, 56, 56, 256)), 9216).shape
      (2, 6, 6, 256)
    """
    _, height, width, dim = x.shape
    side = max(1, min(math.isqrt(max_dim // dim), height, width))
    rows, cols = _cells(height, side), _cells(width, side)
    return jnp.einsum("bhwd,ih,jw->bijd", x, rows, cols, precision=jax.lax.Precision.HIGHEST)


def _cells(length: int, count: int) -> np.ndarray:
    """Weights that average a side over cells, float32[count, length]."""
    cell, place = np.arange(count)[:, None], np.arange(length)
    inside = (place >= cell * length // count) & (place < -(-(cell + 1) * length // count))
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def draw(path: epath.Path, curves: dict[str, dict[str, float]]) -> None:
    """Accuracy over depth, of the run and of the untrained encoder.

    Args:
      path: PNG to write.
      curves: accuracy in [0, 1] by layer, in order of depth; '' is the run, 'untrained' need not be there.
    """
    from matplotlib.figure import Figure

    from jssl.report import pictures

    figure = Figure(figsize=(max(4.5, 2 + 0.5 * len(curves[""])), 3.4))
    axes = figure.subplots()
    for title, style, key in (("this run", "-", ""), ("untrained encoder", ":", "untrained")):
        if key in curves:
            percent = [100 * top1 for top1 in curves[key].values()]
            axes.plot([*curves[key]], percent, style, marker="o", label=title)
    axes.set(title="linear accuracy by layer", ylabel="top-1 in %")
    axes.tick_params(axis="x", rotation=0 if len(curves[""]) <= 6 else 60)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    pictures.save(figure, path)
