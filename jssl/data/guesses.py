"""Guessed labels as a file beside a data set: what `data.guesses` names."""

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
