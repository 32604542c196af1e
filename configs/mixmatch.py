"""MixMatch (Berthelot et al., 2019). https://arxiv.org/abs/1905.02249

python -m jssl.main --config=configs/mixmatch.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/mixmatch.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/mixmatch.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     2 to 3 minutes   top-1 95.6 %, one seed (2026-11-21)
tiny      not measured   not measured   not measured
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    terms = {"mixmatch": semi.term("mixmatch")}
    return semi.build("mixmatch", preset, terms, supervised_weight=0.0)
