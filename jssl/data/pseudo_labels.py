"""Files of a model's predictions for a data set: pseudo-labels (`data.pseudo_labels`) and `unlabeled.inliers`."""

from __future__ import annotations

import dataclasses
import io
import zipfile

import numpy as np
from etils import epath

from jssl.errors import UserError


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Labels that a model predicted.

    Attributes:
      index: positions within train, int64[M]; one may occur several times.
      label: the likeliest class, int32[M].
      target: distributions over the classes, float32[M, C], of soft labels; [0, C] where the class alone counts.
      weight: how much each counts, float32[M].
      confidence: the largest probability that the model gave, float32[M].
      split_fingerprint: of the train that is meant, see `datasets.split_fingerprint`.
    """

    index: np.ndarray
    label: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    split_fingerprint: np.ndarray

    def without(self, labeled_indices: np.ndarray) -> PseudoLabels:
        """Those of images whose true labels are not shown: a true label takes precedence."""
        others = ~np.isin(self.index, labeled_indices)
        names = ("index", "label", "weight", "confidence", *(("target",) if self.soft else ()))
        return dataclasses.replace(self, **{name: getattr(self, name)[others] for name in names})

    @property
    def soft(self) -> bool:
        """Whether labels are distributions."""
        return len(self.target) > 0


@dataclasses.dataclass(frozen=True)
class Targets:
    """The distributions of a stream whose first rows have true labels and whose others have soft ones.

    Made row by row: those of all true labels would be a large array of zeros.

    Attributes:
      labels: the true ones, int32[N].
      soft: float32[M, C].
    """

    labels: np.ndarray
    soft: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        true = rows < len(self.labels)
        target = np.zeros((len(rows), self.soft.shape[1]), np.float32)
        target[true, self.labels[rows[true]]] = 1
        target[~true] = self.soft[rows[~true] - len(self.labels)]
        return target


Rows = np.ndarray | Targets  # that are asked for by their numbers


def read(path: str, split_fingerprint: np.ndarray, classes: int) -> PseudoLabels:
    """Reads what a stage wrote: the fields of `PseudoLabels` as a .npz.

    Raises:
      UserError: if there is no such file, it is broken, or it was made for other data.
    """
    names = tuple(field.name for field in dataclasses.fields(PseudoLabels))
    found = PseudoLabels(*_arrays("data.pseudo_labels", path, names))
    theirs = found.split_fingerprint
    if not np.array_equal(theirs, split_fingerprint) or found.target.shape[1:] != (classes,):
        raise UserError(
            f"data.pseudo_labels={path} is for {theirs[0]} other images of {found.target.shape[1]} classes, not "
            f"for these {split_fingerprint[0]} of {classes}: keep data, holdout and split_seed the same in all stages"
        )
    images, count = int(split_fingerprint[0]), len(found.index)
    valid = (
        len(found.label) == len(found.weight) == len(found.confidence) == count
        and len(found.target) in (0, count)
        and bool(((found.index >= 0) & (found.index < images)).all())
        and bool(((found.label >= 0) & (found.label < classes)).all())
        and bool((np.isfinite(found.weight) & (found.weight >= 0)).all())
        and bool(np.isfinite(found.target).all())
    )
    if not valid:
        raise UserError(
            f"data.pseudo_labels={path} is damaged: its positions, classes or weights cannot be; remove it, and its "
            "stage makes it anew"
        )
    return found


def read_inliers(path: str, num_examples: int, split_fingerprint: np.ndarray) -> np.ndarray:
    """Positions of an unlabelled stream of so many images that are no outliers, int64[M]; `index` of a .npz.

    Raises:
      UserError: if there is no such file, it is broken, or it was made for another stream.
    """
    index, made_for, of = _arrays(
        "data.unlabeled.inliers", path, ("index", "num_examples", "split_fingerprint")
    )
    if made_for != num_examples or not np.array_equal(of, split_fingerprint):
        raise UserError(
            f"data.unlabeled.inliers={path} is for a stream of {made_for} other images, not for these "
            f"{num_examples}: keep the data section the same from stage to stage"
        )
    return index


def _arrays(key: str, path: str, names: tuple[str, ...]) -> list[np.ndarray]:
    file = epath.Path(path)
    if not file.exists():
        raise UserError(f"{key}={path}: there is no such file")
    try:
        with np.load(io.BytesIO(file.read_bytes())) as arrays:
            return [arrays[name] for name in names]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{key}={path} cannot be read ({error}): it must hold {', '.join(names)}") from error
