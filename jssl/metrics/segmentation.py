"""Segmentation: the confusion of classes over all pixels, and the overlaps that follow from it."""

from __future__ import annotations

import numpy as np

from jssl.errors import UserError


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int, ignore: int = -1) -> np.ndarray:
    """How many pixels of every class (rows) are taken for every class (columns), int64[classes, classes].

    Those of several batches add up to that of a data set.

    Args:
      truth: int[...] in [0, classes), or `ignore`, whose pixels do not count.
      predicted: int of the same shape in [0, classes).
      classes: their number.
      ignore: see truth.

    Raises:
      UserError: if the shapes differ, or there is a class beyond those.

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> metrics.confusion(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1]), 2, ignore=255).tolist()
      [[1, 1], [0, 1]]
    """
    if truth.shape != predicted.shape:
        raise UserError(f"truth {list(truth.shape)} and prediction {list(predicted.shape)} differ in shape")
    scored = truth != ignore
    rows, columns = truth[scored].astype(np.int64), predicted[scored].astype(np.int64)
    for name, found in (("truth", rows), ("prediction", columns)):
        if found.size and not 0 <= found.min() <= found.max() < classes:
            raise UserError(f"{name} has classes {found.min()} to {found.max()}, not 0 to {classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def overlaps(confusion: np.ndarray) -> dict[str, float | np.ndarray]:
    """Intersection over union of every class, and means.

    Args:
      confusion: int[C, C], see `confusion`.

    Returns:
      'iou', float[C], NaN for a class that neither is nor is predicted; 'miou', the mean over the others;
      'pixel_accuracy', the part of pixels that are right; 'mean_accuracy', the mean of that over the classes that are.

    Raises:
      UserError: if no pixel was counted.

    Example:
      >>> import numpy as np
      >>> from jssl import metrics
      >>> found = metrics.overlaps(np.array([[3, 1], [0, 2]]))
      >>> found["iou"].round(3).tolist(), round(found["miou"], 3)
      ([0.75, 0.667], 0.708)
    """
    if not confusion.sum():
        raise UserError("no pixel has a class that is scored")
    right, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        iou, recall = right / (true + predicted - right), right / true
    return {
        "iou": iou,
        "miou": float(np.nanmean(iou)),
        "pixel_accuracy": float(right.sum() / confusion.sum()),
        "mean_accuracy": float(np.nanmean(recall)),
    }
