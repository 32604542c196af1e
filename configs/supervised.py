"""The supervised control: the labelled images alone. Every semi-supervised result should stand beside it.

python -m jssl.main --config=configs/supervised.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/supervised.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/supervised.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     1 to 2 minutes   top-1 87.8 %, one seed (2026-11-21)
tiny      not measured   not measured   not measured
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    return semi.build("supervised", preset, {})
