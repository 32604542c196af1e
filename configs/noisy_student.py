"""Noisy Student (Xie et al., 2019): students under noise learn from clean teachers. https://arxiv.org/abs/1911.04252

python -m jssl.main --config=configs/noisy_student.py             digits, two labels of each class, two rounds
python -m jssl.main --config=configs/noisy_student.py:tiny,3     CIFAR-10, three rounds

Only the student is noised (strong views, smoothed labels); the teacher predicts from clean images. Pseudo-labels are
soft, of confidence .3 at least, and rare classes are repeated. Not measured.
"""

from __future__ import annotations

import re

import ml_collections

from jssl.configs import semi
from jssl.errors import UserError


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name: SCALE, or SCALE,ROUNDS."""
    scale, _, rounds = preset.partition(",")
    if not re.fullmatch("[1-9][0-9]*", rounds or "2"):
        raise UserError(f"{preset!r}: how many rounds? Write {scale},3 for three")
    stages = {"teacher": semi.supervised(scale)}
    for number in range(1, int(rounds or 2) + 1):
        student = semi.supervised(scale, label_smoothing=0.1)
        student.data.labeled.views = {"strong": semi.STRONG[scale]()}
        student.pseudo_labels.update(
            {"teacher": [*stages][-1], "rule": "threshold", "threshold": 0.3, "soft": True, "balance": True}
        )
        stages[f"student{number}"] = student
    return semi.staged(f"noisy_student_{scale}", stages)
