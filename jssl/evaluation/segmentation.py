"""Segmentation: the class of every pixel by a linear head on an encoder's map."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from etils import epath

from jssl import models, settings
from jssl.data.sources import Source
from jssl.data.squares import check_masks, stacked
from jssl.errors import UserError
from jssl.evaluation import dense
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation
from jssl.evaluation.dense_head import DenseHead, HeadTraining
from jssl.metrics.segmentation import confusion, overlaps
from jssl.types import Array

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.evaluation.base import Drawing
    from jssl.train.program import Program

IGNORED = (0.0, 0.0, 0.0)  # colour of pixels that are not scored


@dataclasses.dataclass(frozen=True)
class Segmentation(DenseHead):
    """Mean intersection over union of a linear head, batch norm and a 1 x 1 convolution, on maps of the encoder.

    The head's logits are interpolated to the masks; it learns by cross entropy. 'miou' and 'iou/CLASS' follow from the
    confusion of all pixels of the set together; 'pixel_accuracy' and 'mean_accuracy' stand beside, and
    'commonest_class', the accuracy of always naming that. Images without a mask are left out.

    Attributes:
      ignore: number in the masks of pixels without a class; -1 for none.

    References:
      Oquab et al., DINOv2, 2023, section 7.4. https://arxiv.org/abs/2304.07193
    """

    name = "segmentation"
    needs = frozenset({"masks"})
    annotated = "mask"

    ignore: int = settings.within(255, -1, 255)

    def check_run(self, program: Program, data: Data) -> None:
        super().check_run(program, data)
        for source in (data.train, data.test or data.val):
            if source is not None:
                check_masks(source)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None or data.train is None:
            return Evaluation()
        assert ctx.state is not None
        size = self.size or ctx.program.size
        train, query = (masked(source, size, self.ignore, ctx) for source in (data.train, data.query))
        classes = 1 + max(highest(masks, self.ignore) for _, masks in (train, query))
        key = f"segmentation/{classes}"
        if key not in ctx.cache:
            ctx.cache[key] = head_training(self, ctx.program, classes, size)
        training: HeadTraining = ctx.cache[key]
        encoder = ctx.program.method.eval_encoder(ctx.state.params, ctx.state.method_state)
        params, stats = training.train(*encoder, *train)
        apply = functools.partial(training.predict, params, stats)
        total, shown = np.zeros((classes, classes), np.int64), list[np.ndarray]()
        for predicted, index in dense.batches(ctx.program, apply, query[0]):
            total += confusion(query[1][index], predicted, classes, self.ignore)
            shown += list(predicted[: max(0, self.images - len(shown))])
        names = data.query.fields["mask"].classes or tuple(map(str, range(classes)))
        figures: dict[str, Drawing] = {}
        if shown and not ctx.baseline:
            count = len(shown)
            pixels = [query[0].decode(query[0].open(place), place) for place in range(count)]
            columns = (np.stack(pixels), query[1][:count], np.stack(shown))
            figures["predictions"] = functools.partial(draw, columns=columns, ignore=self.ignore)
        return Evaluation(values_of(total, names), figures)


def values_of(total: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """The values of a confusion, int64[C, C]; classes that do not occur have none."""
    found = overlaps(total)
    each: Any = found.pop("iou")
    means = {name: float(value) for name, value in found.items()}
    means["commonest_class"] = float(total.sum(axis=1).max() / total.sum())
    return means | {f"iou/{name}": float(x) for name, x in zip(names, each) if not np.isnan(x)}


def masked(source: Source, size: int, ignore: int, ctx: EvalContext) -> tuple[Source, np.ndarray]:
    """The images of a source that have masks, as squares, and these, uint8[n, size, size].

    Raises:
      UserError: if there are none.
    """
    key = f"segmentation/{id(source)}"
    if key not in ctx.cache:
        whole = dense.squares(source, size, ctx)
        masks = whole.masks()
        assert masks is not None, "check_run looked"
        there = [index for index, mask in enumerate(masks) if mask is not None]
        if not there:
            raise UserError(f"no image of {source.name} has a mask")
        if len(there) < len(source):
            logging.warning(
                "%s: %d images have no mask and are left out", source.name, len(source) - len(there)
            )
        ctx.cache[key] = (source, whole.take(there), stacked(masks, there))
    _, images, found = ctx.cache[key]
    return images, found


def highest(masks: np.ndarray, ignore: int) -> int:
    """The highest class in masks; raises UserError if all pixels are ignored."""
    there = np.unique(masks)
    there = there[there != ignore]
    if not len(there):
        raise UserError(f"evals.segmentation.ignore={ignore}: no pixel has another class")
    return int(there.max())


def head_training(recipe: Segmentation, program: Program, classes: int, size: int) -> HeadTraining:
    """The training of a linear head, whose targets are masks uint8[B, size, size]."""

    def loss(outputs: Array, masks: Array) -> Array:
        scored = masks != recipe.ignore
        each = optax.losses.softmax_cross_entropy_with_integer_labels(
            dense.resized(outputs, size, size), jnp.where(scored, masks, 0).astype(jnp.int32)
        )
        return jnp.sum(each * scored) / jnp.maximum(jnp.sum(scored), 1)

    def likeliest(outputs: Array) -> Array:
        return jnp.argmax(dense.resized(outputs, size, size), axis=-1).astype(jnp.uint8)

    head, flipped = models.normalized_linear(classes), functools.partial(jnp.flip, axis=2)
    return HeadTraining(recipe, program, head, size, loss, flipped, likeliest)


def draw(path: epath.Path, columns: tuple[np.ndarray, np.ndarray, np.ndarray], ignore: int) -> None:
    """Images beside their masks and what was predicted.

    Args:
      path: PNG to write.
      columns: images [n, S, S, C], masks and predictions uint8[n, S, S].
      ignore: number that is drawn black in both.
    """
    from jssl.report import pictures

    images, truth, predicted = columns
    unscored = (truth == ignore)[..., None]
    coloured = {
        "truth": np.where(unscored, IGNORED, palette()[truth]),
        "prediction": np.where(unscored, IGNORED, palette()[predicted]),
    }
    limits = pictures.contrast([images], images.dtype.name)
    grid = pictures.Grid(len(images), 3, limits)
    for row, image in enumerate(images):
        grid.show(row, 0, image, "image" if row == 0 else "")
        for column, (name, colours) in enumerate(coloured.items(), 1):
            grid.draw(row, column, colours[row], name if row == 0 else "", interpolation="nearest")
    grid.save(path, "Segmentation by a linear head (black: not scored)")


def palette() -> np.ndarray:
    """A colour for every number of a mask, float[256, 3]."""
    import matplotlib

    colours = np.array([matplotlib.colormaps["tab20"](number % 20)[:3] for number in range(256)])
    return np.concatenate([colours[::2][:10], colours[1::2][:10], colours[20:]])
