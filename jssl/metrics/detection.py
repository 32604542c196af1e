"""Object detection: average precision of boxes as COCO defines it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from jssl.errors import UserError

MOST = 100  # boxes of an image that are scored, the surest
AT = {"ap50": 0, "ap75": 5}  # places among the overlaps, .5, .55, ...


def library() -> Any:
    """The package `pycocotools`; raises UserError where it is missing."""
    try:
        import pycocotools.coco
        import pycocotools.cocoeval
    except ImportError as error:
        raise UserError(
            "average precision of boxes needs the package pycocotools: python -m pip install pycocotools "
            "(or 'jssl[detection]')"
        ) from error
    return pycocotools


def box_precision(
    truth: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    classes: int,
) -> dict[str, float | np.ndarray]:
    """Average precision of boxes, COCO's: at 101 points of recall, averaged over overlaps from .5 to .95 and classes.

    Overlaps do not depend on the unit of either axis, so boxes may be parts of the sides of their images.

    Args:
      truth: of every image boxes float[n, 4] (y0, x0, y1, x1), labels int[n], and bool[n], which are crowds or
        uncertain and so count neither way.
      found: of every image boxes float[m, 4], labels int[m] and scores float[m]; the 100 surest are scored.
      classes: their number.

    Returns:
      'ap'; 'ap50' and 'ap75' at one overlap; 'recall', the average one; 'of_class' float[classes], the 'ap' of each,
      NaN of those that do not occur.

    Raises:
      UserError: without pycocotools, if there is another number of images, or no box to be found.

    References:
      Lin et al., Microsoft COCO, 2014. https://arxiv.org/abs/1405.0312

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])
      >>> truth = [(boxes, np.array([0, 1]), np.array([False, False]))]
      >>> values = metrics.box_precision(truth, [(boxes[:1], np.array([0]), np.array([0.9]))], classes=2)
      >>> round(values["ap50"], 3), values["of_class"].round(3).tolist()
      (0.5, [1.0, 0.0])
    """
    package = library()
    if len(truth) != len(found):
        raise UserError(f"boxes of {len(truth)} images and predictions of {len(found)}: give both of each")
    if not sum(int(np.sum(~np.asarray(crowds, bool))) for _, _, crowds in truth):
        raise UserError("there is no box to be found")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = package.cocoeval.COCOeval(
            _indexed(package, [_annotations(*each, "iscrowd") for each in truth], classes),
            _indexed(package, [_annotations(*each, "score") for each in found], classes),
            "bbox",
        )
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0].mean(axis=1)  # of overlaps and classes
    occurs = precision[0] >= 0  # -1 of those that do not
    values = {name: float(precision[place, occurs].mean()) for name, place in AT.items()}
    values["recall"] = float(evaluation.eval["recall"][:, occurs, 0, 0].mean())
    of_class = np.where(occurs, precision.mean(axis=0), np.nan)
    return {"ap": float(precision[:, occurs].mean()), **values, "of_class": of_class}


def _annotations(
    boxes: np.ndarray, labels: np.ndarray, values: np.ndarray, name: str
) -> list[dict[str, Any]]:
    """The boxes of one image as COCO writes them, with one more value each."""
    rows = np.asarray(boxes, np.float64).reshape(-1, 4)
    return [
        {"bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": int(label), "iscrowd": 0, name: value}
        for (y0, x0, y1, x1), label, value in zip(rows.tolist(), labels, np.asarray(values).tolist())
    ]


def _indexed(package: Any, images: list[list[dict[str, Any]]], classes: int) -> Any:
    """A data set of pycocotools."""
    coco = package.coco.COCO()
    each = [{**box, "image_id": number} for number, boxes in enumerate(images) for box in boxes]
    coco.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": [
            {**box, "id": number, "area": box["bbox"][2] * box["bbox"][3]}
            for number, box in enumerate(each, 1)
        ],
    }
    coco.createIndex()
    return coco
