"""What models say of a data set, as files: guessed labels (`data.guesses`), images to keep (`data.unlabeled.keep`)."""

from __future__ import annotations

import dataclasses
import io
import zipfile

import numpy as np
from etils import epath

from jssl.errors import UserError


@dataclasses.dataclass(frozen=True)
class Guesses:
    """Labels that nobody gave but a model.

    Attributes:
      index: positions within train, int64[M]; one may occur several times.
      target: distributions over the classes, float32[M, C].
      weight: how much each counts, float32[M].
      confidence: the largest probability that the model gave, float32[M].
      mark: of the train that is meant, see `datasets.mark`.
    """

    index: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    mark: np.ndarray

    def without(self, visible: np.ndarray) -> Guesses:
        """Those of images whose true labels are not shown: a shown label counts, not a guess."""
        others = ~np.isin(self.index, visible)
        names = ("index", "target", "weight", "confidence")
        return dataclasses.replace(self, **{name: getattr(self, name)[others] for name in names})


def read(path: str, mark: np.ndarray, classes: int) -> Guesses:
    """Reads what a stage wrote: the fields of `Guesses` as a .npz.

    Raises:
      UserError: if there is no such file, it is broken, or it was made for other data.
    """
    names = tuple(field.name for field in dataclasses.fields(Guesses))
    guesses = Guesses(*_arrays("config.data.guesses", path, names))
    if not np.array_equal(guesses.mark, mark) or guesses.target.shape[1:] != (classes,):
        raise UserError(
            f"config.data.guesses={path} is for {guesses.mark[0]} other images of {guesses.target.shape[1]} classes, "
            f"not for these {mark[0]} of {classes}: keep data, holdout and split_seed the same from stage to stage"
        )
    return guesses


def read_kept(path: str, num_examples: int, mark: np.ndarray) -> np.ndarray:
    """Positions of an unlabelled stream of so many images that are no outliers, int64[M]; `index` of a .npz.

    Raises:
      UserError: if there is no such file, it is broken, or it was made for another stream.
    """
    index, made_for, of = _arrays("config.data.unlabeled.keep", path, ("index", "num_examples", "mark"))
    if made_for != num_examples or not np.array_equal(of, mark):
        raise UserError(
            f"config.data.unlabeled.keep={path} is for a stream of {made_for} other images, not for these "
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
