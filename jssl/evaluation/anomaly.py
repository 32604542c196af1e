"""Anomaly detection: what differs from normal images, and where, by distances of features from theirs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jssl import settings
from jssl.data.sources import Source
from jssl.data.squares import check_masks, nearest
from jssl.errors import UserError, unknown
from jssl.evaluation import dense
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.ood import nearness
from jssl.metrics import ood
from jssl.types import Array, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.evaluation.base import Drawing
    from jssl.train.program import Program

PROJECTED = 128  # numbers in which the coreset is looked for
SIGMA_SIDE = 224  # pixels a side of the images whose maps `sigma` is of


@dataclasses.dataclass(frozen=True)
class Anomaly(Evaluator):
    """Area under the ROC curve of images, and of pixels, that differ from the normal images of train.

    'knn/auroc' is of the mean cosine with the nearest normal images, 'mahalanobis/auroc' of the distance from their
    mean under a shrunk covariance (Ledoit and Wolf), both of pooled features. 'patchcore/auroc' is of the largest
    distance of any place of the image from its nearest in a memory of places of normal images, whose maps are averaged
    over 3 x 3 neighbours; 'patchcore/pixel_auroc', where there are masks, of the map of these distances, interpolated
    and smoothed. .5 is chance. Images are whole, as squares; those of train that are not normal are not looked at.

    Attributes:
      normal: classes that are normal, ('good',) of MVTec. All of train counts as normal where it has no classes.
      layers: whose maps are laid side by side, such as ('block2', 'block3'); () for the feature map.
      size: side of the images; 0 for that which evaluators see.
      k: number of neighbours of the pooled features.
      patches: at most so many places of train are candidates for the memory, as many of every image, drawn at random.
      coreset: part of them that the memory keeps, chosen so that none is far from it.
      max_coreset: at most so many.
      sigma: of the Gaussian that smooths maps, in pixels of an image of 224 a side.
      images: in the picture.

    References:
      Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022. https://arxiv.org/abs/2106.08265
      Rippel et al., Modeling the Distribution of Normal Data, 2020 (Mahalanobis). https://arxiv.org/abs/2005.14140
    """

    name = "anomaly"
    during = False

    enabled: bool = False
    baselines: tuple[str, ...] = ("pixels", "untrained")
    normal: tuple[str, ...] = ("good",)
    layers: tuple[str, ...] = ()
    size: int = settings.count(0)
    k: int = settings.size(5)
    patches: int = settings.size(50_000)
    coreset: float = settings.part_above(0.1)
    max_coreset: int = settings.size(2000)
    sigma: float = settings.weight(4.0)
    images: int = settings.count(6)

    def check(self) -> None:
        self.require("normal", bool(self.normal), "must name the classes that are normal, such as ('good',)")

    def check_run(self, program: Program, data: Data) -> None:
        query = data.test or data.val
        if query is None:
            raise UserError(
                "evals.anomaly.enabled: there is nothing to be scored: set data.test or data.holdout"
            )
        if query.class_names is None:
            raise UserError(f"evals.anomaly.enabled: the images of {query.name} have no classes to be told")
        for name in self.normal:
            if name not in query.class_names:
                raise unknown("class in evals.anomaly.normal", name, query.class_names)
        dense.check_maps(self.layers, self.size or program.size, "evals.anomaly", program)
        normal = normal_of(query, self.normal)
        for there, words in (
            (normal_of(data.train, self.normal).any(), f"{data.train.name} has no images to train on"),
            (normal.any(), f"what is scored of {query.name} has none"),
            ((~normal).any(), f"what is scored of {query.name} has no other class"),
        ):
            if not there:
                raise UserError(f"evals.anomaly.normal={self.normal!r}: {words}")
        if "mask" in query.fields:
            check_masks(query)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None or data.train is None:
            return Evaluation()
        key, size = "anomaly/train", self.size or ctx.program.size
        if key not in ctx.cache:
            ctx.cache[key] = data.train.take(np.flatnonzero(normal_of(data.train, self.normal)))
        train, query, normal = ctx.cache[key], data.query, normal_of(data.query, self.normal)
        bank, found = (dense.features(source, size, ctx) for source in (train, query))
        own = normal[found.index]
        values = {
            "knn/auroc": auroc(-nearness(found.x, bank.x, self.k), own),
            "mahalanobis/auroc": auroc(mahalanobis(bank.x, found.x), own),
        }
        if ctx.state is None:
            return Evaluation(values)
        own_squares, squares = (dense.squares(source, size, ctx) for source in (train, query))
        distances, index = self._distances(own_squares, squares, size, ctx)
        values["patchcore/auroc"] = auroc(distances.max(axis=(1, 2)), normal[index])
        heat = smoothed(distances, size, self.sigma * size / SIGMA_SIDE)
        truth = truth_of(query, index, normal, size)
        values |= pixel_values(heat, truth)
        figures: dict[str, Drawing] = {}
        if self.images and not ctx.baseline:
            rows = shown_rows(normal[index], self.images)
            pixels = [squares.decode(squares.open(place), place) for place in index[rows].tolist()]
            figures["heat"] = functools.partial(
                draw,
                images=np.stack(pixels),
                heat=heat[rows],
                truth=[truth[row] for row in rows.tolist()],
                normal=normal[index][rows],
            )
        return Evaluation(values, figures)

    def _distances(
        self, train: Source, query: Source, size: int, ctx: EvalContext
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances of all places of squares to be scored from the memory, float32[N, h, w], and their positions."""
        if "anomaly/functions" not in ctx.cache:
            near = functools.partial(nearest_distances, ctx.program, self.layers)
            own = functools.partial(dense.maps, ctx.program, self.layers, each=neighbourhood_mean)
            functions = [dense.of_squares(ctx.program, size, function) for function in (own, near)]
            ctx.cache["anomaly/functions"] = functions
        own, near = ctx.cache["anomaly/functions"]
        assert ctx.state is not None
        encoder = ctx.program.method.eval_encoder(ctx.state.params, ctx.state.method_state)
        rng, places = np.random.default_rng(0), []
        for maps, _ in dense.batches(ctx.program, functools.partial(own, *encoder), train):
            each = max(1, self.patches // len(train))
            places += [drawn(row.reshape(-1, row.shape[-1]), each, rng) for row in maps]
        candidates = np.concatenate(places)
        count = min(self.max_coreset, max(1, round(self.coreset * len(candidates))))
        memory = candidates[coreset(candidates, count)]
        found = list(dense.batches(ctx.program, functools.partial(near, *encoder, memory), query))
        return np.concatenate([row for row, _ in found]), np.concatenate([index for _, index in found])


def normal_of(source: Source, normal: Sequence[str]) -> np.ndarray:
    """Which images of a source are of a normal class, bool[N]; all where it has no classes."""
    labels, names = source.labels(), source.class_names
    if labels is None or names is None:
        return np.ones(len(source), bool)
    return np.isin(labels, [place for place, name in enumerate(names) if name in normal])


def auroc(scores: np.ndarray, normal: np.ndarray) -> float:
    """How often an anomaly has a higher score than a normal image.

    Args:
      scores: float[N].
      normal: bool[N].
    """
    return ood.auroc(-scores[normal], -scores[~normal])


def mahalanobis(train_x: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Squared distances from the mean of train under its covariance, shrunk as Ledoit and Wolf do, float[M].

    Args:
      train_x: float[N, D].
      x: float[M, D].
    """
    from sklearn.covariance import LedoitWolf

    found: np.ndarray = LedoitWolf().fit(train_x.astype(np.float64)).mahalanobis(x.astype(np.float64))
    return found


def neighbourhood_mean(x: Array) -> Array:
    """The mean of every place of a map and those around it that there are, float32[B, h, w, D]."""
    window = (1, 3, 3, 1)

    def total(values: Array) -> Array:
        return jax.lax.reduce_window(values, 0.0, jax.lax.add, window, (1, 1, 1, 1), "SAME")

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def nearest_distances(
    program: Program, layers: Sequence[str], params: Params, stats: State, memory: Array, images: Array
) -> Array:
    """The distance of every place of images from its nearest in a memory, float32[B, h, w].

    Args:
      program, layers, params, stats, images: see `dense.maps`.
      memory: float32[M, D].
    """
    maps = dense.maps(program, layers, params, stats, images, each=neighbourhood_mean)
    lengths = jnp.sum(jnp.square(memory), axis=-1)

    def of_image(x: Array) -> Array:  # one at a time: their distances from all of the memory are many
        products = jnp.matmul(x, memory.T, precision=jax.lax.Precision.HIGHEST)
        squares = jnp.sum(jnp.square(x), axis=-1) + jnp.min(lengths - 2 * products, axis=-1)
        return jnp.sqrt(jnp.maximum(squares, 0.0))

    return jax.lax.map(of_image, maps)


def drawn(x: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many rows, drawn at random."""
    return x if len(x) <= most else x[rng.permutation(len(x))[:most]]


def coreset(x: np.ndarray, size: int, dim: int = PROJECTED, seed: int = 0) -> np.ndarray:
    """Positions of rows such that every row is near one of them, int[size]: greedily the farthest from those before.

    The largest distance of a row from them is at most twice the least that so many can have (Gonzalez, 1985).

    Args:
      x: float[N, D].
      size: at most N.
      dim: distances are of a random projection to so many numbers, if rows have more.
      seed: of the projection and of the first row.

    Example:
      >>> import numpy as np
      >>> from jssl.evaluation.anomaly import coreset
      >>> x = np.array([[0.0], [0.1], [5.0], [9.9], [10.0]])
      >>> sorted(np.round(x[coreset(x, 3)]).ravel().tolist())
      [0.0, 5.0, 10.0]
    """
    if not 1 <= size <= len(x):
        raise UserError(f"coreset: size={size} must be from 1 to the {len(x)} rows")
    rng = np.random.default_rng(seed)
    if x.shape[1] > dim:
        x = x @ (rng.normal(size=(x.shape[1], dim)) / np.sqrt(dim)).astype(x.dtype)
    x = x - x.mean(axis=0)  # lengths that cancel would cost digits
    lengths, far = np.square(x).sum(axis=1), np.full(len(x), np.inf)
    found = np.empty(size, np.int64)
    found[0] = rng.integers(len(x))
    for number in range(1, size):
        last = found[number - 1]
        far = np.minimum(far, lengths - 2 * (x @ x[last]) + lengths[last])
        far[last] = -np.inf
        found[number] = np.argmax(far)
    return found


def smoothed(distances: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Maps of distances [N, h, w], interpolated to squares and smoothed by a Gaussian, float32[N, size, size]."""
    from scipy.ndimage import gaussian_filter

    maps = [np.asarray(dense.resized(each[None, ..., None], size, size))[0, ..., 0] for each in distances]
    return np.stack([gaussian_filter(each, sigma) if sigma else each for each in maps])


def truth_of(source: Source, index: np.ndarray, normal: np.ndarray, size: int) -> list[np.ndarray | None]:
    """Which pixels of images are anomalous, bool[size, size] each: none of a normal one; None where it is unknown."""
    masks, nothing = source.masks(), np.zeros((size, size), bool)

    def of(place: int) -> np.ndarray | None:
        mask = None if masks is None else masks[place]
        if normal[place]:
            return None if masks is None else nothing
        return None if mask is None else nearest(mask, size) > 0

    return [of(place) for place in index.tolist()]


def pixel_values(heat: np.ndarray, truth: Sequence[np.ndarray | None]) -> dict[str, float]:
    """The AUROC of pixels, if it is known of some that they are anomalous."""
    known = [(row, each) for row, each in enumerate(truth) if each is not None]
    anomalous = np.stack([each for _, each in known]).ravel() if known else np.zeros(0, bool)
    if not anomalous.any() or anomalous.all():
        return {}
    return {"patchcore/pixel_auroc": auroc(heat[[row for row, _ in known]].ravel(), ~anomalous)}


def shown_rows(normal: np.ndarray, count: int) -> np.ndarray:
    """Rows to be drawn: two normal images, and anomalies evenly spaced."""
    own, others = np.flatnonzero(normal)[: min(2, count - 1)], np.flatnonzero(~normal)
    spread = np.linspace(0, len(others) - 1, min(len(others), count - len(own))).astype(int)
    return np.concatenate([own, others[spread]])


def draw(
    path: epath.Path,
    images: np.ndarray,
    heat: np.ndarray,
    truth: Sequence[np.ndarray | None],
    normal: np.ndarray,
) -> None:
    """Images above their maps of distances, on one scale, with the outline of what is anomalous where it is known.

    Args:
      path: PNG to write.
      images: [n, S, S, C].
      heat: float[n, S, S].
      truth: bool[S, S] each, or None.
      normal: which images are, bool[n].
    """
    from jssl.report import pictures

    grid = pictures.Grid(2, len(images), pictures.contrast([images], images.dtype.name))
    low, high = float(heat.min()), float(heat.max())
    for column, (image, each, mask) in enumerate(zip(images, heat, truth)):
        grid.show(0, column, image, "normal" if normal[column] else "anomaly")
        grid.draw(1, column, each, cmap="inferno", vmin=low, vmax=high)
        if mask is not None and mask.any():
            grid.outline(1, column, mask)
    grid.save(path, "Distance from normal images (bright: far; line: the anomaly)")
