"""Images of the test set that train has, too: what they are worth is memory, not generalisation."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np
from absl import logging
from etils import epath

from jssl import settings
from jssl.data.sources import Source
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import extract_source, jit_pixels
from jssl.metrics.retrieval import unit_rows

if TYPE_CHECKING:
    from jssl.evaluation.base import Drawing

SIDE = 16  # pixels to which images are shrunk
BLOCK = 1024
NAMED, SHOWN = 5, 8
SHOWN_SIDE = 96  # pixels of images of mixed size in the picture


@dataclasses.dataclass(frozen=True)
class Duplicates(Evaluator):
    """The part of the images to be scored that have a near-duplicate among those that train; some are named and drawn.

    Images are shrunk to 16 x 16 pixels, their mean is taken off, and pixels are compared by their cosine: a measure of
    the data, whatever the model. The same picture in another size or another JPEG is found, a mirrored one is not.

    Attributes:
      above: the cosine from which on two images are one.
    """

    name = "duplicates"
    during = False
    possible_baselines = ()

    enabled: bool = False
    above: float = settings.within(0.99, -1, 1)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None:
            return Evaluation()
        train, query = data.labeled or data.unlabeled, data.query
        apply = jit_pixels(ctx.mesh, SIDE)
        banks, queries = (extract_source(ctx.program, apply, source) for source in (train, query))
        cosines, nearest = most_alike(queries.x, banks.x)
        found = np.flatnonzero(cosines >= self.above)
        found = found[np.argsort(-cosines[found], kind="stable")]
        pairs = [(int(queries.index[row]), int(banks.index[nearest[row]])) for row in found.tolist()]
        if pairs:
            names = [f"{query.filename(own)} as {train.filename(other)}" for own, other in pairs[:NAMED]]
            logging.warning(
                "%d of %d images of %s are in %s, too: %s%s",
                *(len(pairs), len(queries.x), query.name, train.name, ", ".join(names)),
                ", ..." if len(pairs) > NAMED else "",
            )
        figures: dict[str, Drawing] = {}
        if pairs:
            figures["pairs"] = functools.partial(draw, train=train, query=query, pairs=pairs[:SHOWN])
        return Evaluation({"fraction": len(pairs) / len(queries.x)}, figures)


def most_alike(x: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest cosine of every row with any of others, each without its mean: float[N], and whose it is, int[N].

    Args:
      x: float[N, D].
      others: float[M, D].
    """
    x, others = (unit_rows(each - each.mean(axis=1, keepdims=True)) for each in (x, others))
    best, where = np.empty(len(x)), np.empty(len(x), np.int64)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        cosines = x[rows] @ others.T
        where[rows] = cosines.argmax(axis=1)
        best[rows] = cosines.max(axis=1)
    return best, where


def draw(path: epath.Path, train: Source, query: Source, pairs: list[tuple[int, int]]) -> None:
    """Pairs of images, one above the other.

    Args:
      path: PNG to write.
      train, query: of the two rows.
      pairs: positions in query and in train.
    """
    from jssl.data.pipeline import EvalBatches
    from jssl.report import pictures

    grid = pictures.Grid(2, len(pairs))
    for row, (source, places) in enumerate(zip((query, train), zip(*pairs))):
        crop = None if source.image_shape else SHOWN_SIDE
        batches = EvalBatches(source.take(places), len(places), crop, process=0, processes=1)
        for column, image in enumerate(batches[0]["image"]):
            grid.show(row, column, image)
    grid.save(path, "to be scored (above), and in train (below)")
