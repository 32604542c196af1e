"""What models say of a data set, as files: guessed labels (`data.guesses`), images to keep (`data.unlabeled.keep`)."""

from __future__ import annotations

import dataclasses
import io

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
      num_examples: size of the train that is meant.
    """

    index: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    num_examples: int


def read(path: str, num_examples: int, classes: int) -> Guesses:
    """Reads what `pseudo_labels.write` wrote.

    Raises:
      UserError: if there is no such file, or it was made for other data.
    """
    file = epath.Path(path)
    if not file.exists():
        raise UserError(f"config.data.guesses={path}: there is no such file")
    with np.load(io.BytesIO(file.read_bytes())) as arrays:
        guesses = Guesses(arrays["index"], arrays["target"], arrays["weight"], int(arrays["num_examples"]))
    if guesses.num_examples != num_examples or guesses.target.shape[1:] != (classes,):
        raise UserError(
            f"config.data.guesses={path} is for {guesses.num_examples} images of {guesses.target.shape[1]} classes, "
            f"not {num_examples} of {classes}: keep data, holdout and split_seed the same from stage to stage"
        )
    return guesses


def read_kept(path: str, num_examples: int) -> np.ndarray:
    """Positions of an unlabelled stream of so many images that are no outliers, int64[M]; `index` of a .npz.

    Raises:
      UserError: if there is no such file, or it was made for another stream.
    """
    file = epath.Path(path)
    if not file.exists():
        raise UserError(f"config.data.unlabeled.keep={path}: there is no such file")
    with np.load(io.BytesIO(file.read_bytes())) as arrays:
        index, made_for = arrays["index"], int(arrays["num_examples"])
    if made_for != num_examples:
        raise UserError(
            f"config.data.unlabeled.keep={path} is for a stream of {made_for} images, not {num_examples}: "
            "keep the data section the same from stage to stage"
        )
    return index
