"""Pi model (Laine and Aila, 2016). https://arxiv.org/abs/1610.02242

python -m jssl.main --config=configs/pi_model.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/pi_model.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/pi_model.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     2 to 3 minutes   top-1 91.1 %, one seed (2026-11-21)
tiny      not measured   not measured   not measured
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    terms = {"pi_model": semi.term("pi_model", weight=10.0, ramp=0.4)}
    return semi.build("pi_model", preset, terms)
