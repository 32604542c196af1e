"""Object detection: boxes and their classes by a small head without anchors on an encoder's map."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jssl import losses, models, settings
from jssl.data.sources import Boxes, Source
from jssl.errors import UserError
from jssl.evaluation import dense
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation
from jssl.evaluation.dense_head import DenseHead, HeadTraining
from jssl.metrics import detection
from jssl.types import Array

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.evaluation.base import Drawing
    from jssl.train.program import Program

COLUMNS = 6  # of a target: the box, its class, whether it is certain
AT_FIRST = 0.125  # how far sides are from their centre, as a part of the image's, before anything is learnt
FARTHEST = 3.0  # logarithm of how many times farther they may get
Scored = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Detection(DenseHead):
    """Average precision of boxes that a small head without anchors finds on maps of the encoder.

    The head, batch norm, a 3 x 3 convolution and a linear map, learns the centres of objects by a focal loss, and the
    boxes of the cells around them by generalised intersection over union. 'ap' is COCO's, the mean over overlaps from
    .5 to .95 and over the classes that the scored set shows, 'ap50' and 'ap75' are of one overlap, 'ap/CLASS' of one
    class; 'recall' is the part of boxes that are among the 100 surest of their image. Crowds and what VOC calls
    difficult count neither way.

    Attributes:
      width: channels of the head's convolution.
      box_weight: of the loss of boxes, beside that of centres.
      least_score: of the boxes in the picture.

    References:
      Zhou et al., Objects as Points, 2019. https://arxiv.org/abs/1904.07850
      Liu et al., Training-Time-Friendly Network, 2019. https://arxiv.org/abs/1909.00700
    """

    name = "detection"
    needs = frozenset({"boxes"})
    annotated = "boxes"

    width: int = settings.size(64)
    box_weight: float = settings.weight(5.0)
    least_score: float = settings.fraction(0.3)

    def check_run(self, program: Program, data: Data) -> None:
        super().check_run(program, data)
        detection.library()
        train, query = data.train, data.test or data.val
        assert query is not None, "super looked"
        dense.check_same_classes("evals.detection", train, query)
        for source in (train, query):
            check_boxes(source)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None or data.train is None:
            return Evaluation()
        assert ctx.state is not None
        size, names = self.size or ctx.program.size, data.train.fields["boxes"].classes or ()
        train, query = (dense.squares(source, size, ctx) for source in (data.train, data.query))
        if self.name not in ctx.cache:
            ctx.cache[self.name] = head_training(self, ctx.program, len(names), size)
        training: HeadTraining = ctx.cache[self.name]
        encoder = ctx.program.method.eval_encoder(ctx.state.params, ctx.state.method_state)
        params, stats = training.train(*encoder, train, padded(boxes_of(train)))
        apply = functools.partial(training.predict, params, stats)
        truth, found, places = list[Scored](), list[Scored](), list[int]()
        for rows, index in dense.batches(ctx.program, apply, query):
            places += index.tolist()
            truth += [(each.where, each.labels, each.uncertain) for each in boxes_of(query.take(index))]
            found += [(row[:, :4], row[:, 4].astype(int), row[:, 5]) for row in rows]
        values = detection.box_precision(truth, found, len(names))
        each = np.asarray(values.pop("of_class"))
        of_class = {f"ap/{name}": float(x) for name, x in zip(names, each) if not np.isnan(x)}
        figures: dict[str, Drawing] = {}
        if self.images and not ctx.baseline:
            shown = places[: self.images]
            pixels = np.stack([query.decode(query.open(place), place) for place in shown])
            columns = (pixels, truth[: len(shown)], found[: len(shown)])
            figures["predictions"] = functools.partial(
                draw, columns=columns, names=names, least=self.least_score
            )
        return Evaluation({**{name: float(x) for name, x in values.items()}, **of_class}, figures)


def check_boxes(source: Source) -> None:
    """Warns of boxes without an area.

    Raises:
      UserError: if there is no box that can be learnt or found.
    """
    boxes = source.boxes()
    assert boxes is not None, "check_annotated looked"
    empty = sum(int(np.sum(~_has_area(each))) for each in boxes)
    if not any(np.any(_has_area(each) & ~each.uncertain) for each in boxes):
        raise UserError(
            f"evals.detection: none of {len(boxes)} images of {source.name} has a box with an area"
        )
    if empty:
        logging.warning("%s: %d boxes have no area and are left out", source.name, empty)


def _has_area(boxes: Boxes) -> np.ndarray:
    return np.all(boxes.where[:, 2:] > boxes.where[:, :2], axis=1)


def boxes_of(source: Source) -> list[Boxes]:
    """The boxes of every image that have an area."""
    boxes = source.boxes()
    assert boxes is not None, "check_run looked"
    kept = [_has_area(each) for each in boxes]
    return [Boxes(each.where[own], each.labels[own], each.uncertain[own]) for each, own in zip(boxes, kept)]


def padded(boxes: Sequence[Boxes]) -> np.ndarray:
    """The boxes of images as one array.

    Returns:
      float32[N, most boxes of an image, 6]: y0, x0, y1, x1, the class, whether it is certain; the class is -1 where an
      image has no more.
    """
    most = max(len(each.labels) for each in boxes)
    found = np.zeros((len(boxes), most, COLUMNS), np.float32)
    found[..., 4] = -1
    for row, each in zip(found, boxes):
        row[: len(each.labels)] = np.column_stack([each.where, each.labels, ~each.uncertain])
    return found


def flipped(targets: Array) -> Array:
    """Targets, see `padded`, of the images flipped horizontally."""
    return targets.at[..., 1].set(1 - targets[..., 3]).at[..., 3].set(1 - targets[..., 1])


def head_training(recipe: Detection, program: Program, classes: int, size: int) -> HeadTraining:
    """The training of a head for centres and boxes, whose targets are those of `padded`."""

    def loss(outputs: Array, targets: Array) -> Array:
        logits, where = outputs[..., :-4], boxes_from(outputs[..., -4:])
        _, height, width, _ = outputs.shape
        labels, certain = targets[..., 4].astype(jnp.int32), targets[..., 5] > 0
        wanted = losses.center_targets(targets[..., :4], labels, certain, classes, (height, width))
        apart = 1 - losses.generalized_iou(where, wanted["boxes"])
        weight = wanted["weight"]
        box = jnp.sum(apart * weight) / jnp.maximum(1, jnp.sum(weight))
        return losses.heat_map_focal(logits, wanted["heat"], wanted["scored"]) + recipe.box_weight * box

    head = models.center_head(classes, recipe.width)
    return HeadTraining(recipe, program, head, size, loss, flipped, surest)


def boxes_from(outputs: Array) -> Array:
    """Boxes from how far their sides are from the middle of each cell.

    Args:
      outputs: float[B, h, w, 4], logarithms of the distances up, left, down and right.

    Returns:
      float[B, h, w, 4], y0, x0, y1, x1 as parts of the image's sides, perhaps beyond them.
    """
    height, width = outputs.shape[1:3]
    rows, columns = (jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width
    middle = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1)
    distance = AT_FIRST * jnp.exp(jnp.minimum(outputs, FARTHEST))
    return jnp.concatenate([middle - distance[..., :2], middle + distance[..., 2:]], axis=-1)


def surest(outputs: Array) -> Array:
    """The surest boxes of images: cells whose score is the largest of their class among the 3 x 3 around them.

    Args:
      outputs: of the head, float[B, h, w, classes + 4].

    Returns:
      float32[B, n, 6] by falling score, n at most 100: y0, x0, y1, x1 in [0, 1], the class, the score.
    """
    scores, where = jax.nn.sigmoid(outputs[..., :-4]), jnp.clip(boxes_from(outputs[..., -4:]), 0, 1)
    images, height, width, classes = scores.shape
    around = jax.lax.reduce_window(scores, 0.0, jax.lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    peaks = jnp.where(scores == around, scores, 0).reshape(images, -1)
    best, places = jax.lax.top_k(peaks, min(detection.MOST, height * width * classes))
    cells = jnp.take_along_axis(where.reshape(images, -1, 4), (places // classes)[..., None], axis=1)
    return jnp.concatenate([cells, (places % classes)[..., None], best[..., None]], axis=-1)


def draw(
    path: epath.Path,
    columns: tuple[np.ndarray, Sequence[Scored], Sequence[Scored]],
    names: Sequence[str],
    least: float,
) -> None:
    """Images with their boxes beside those that were found.

    Args:
      path: PNG to write.
      columns: images [n, S, S, C], and of each its boxes, labels and which are crowds; and boxes, labels and scores.
      names: of the classes.
      least: score of the boxes that are drawn.
    """
    from jssl.report import pictures

    images, truth, found = columns
    grid = pictures.Grid(len(images), 2, pictures.contrast([images], images.dtype.name))
    for row, image in enumerate(images):
        sure = found[row][2] >= least
        for column, (title, boxes, labels) in enumerate(
            (("truth", *truth[row][:2]), ("found", found[row][0][sure], found[row][1][sure]))
        ):
            grid.show(row, column, image, title if row == 0 else "")
            for box, label in zip(boxes, labels):
                grid.box(row, column, image, box, names[label][:12], f"C{label % 10}")
    grid.save(path, f"Boxes of a head without anchors, of score {least:g} and above")
