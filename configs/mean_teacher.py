"""Mean Teacher (Tarvainen and Valpola, 2017). https://arxiv.org/abs/1703.01780

python -m jssl.main --config=configs/mean_teacher.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/mean_teacher.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/mean_teacher.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     2 to 3 minutes   top-1 85.8 %, one seed (2026-11-21)
tiny      1 CPU core     1 minute       docs/benchmarks.md, "Few labels"
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    terms = {"mean_teacher": semi.term("mean_teacher", weight=50.0, ramp=0.4)}
    return semi.build("mean_teacher", preset, terms)
