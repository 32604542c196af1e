"""FreeMatch (Wang et al., 2022). https://arxiv.org/abs/2205.07246

python -m jssl.main --config=configs/freematch.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/freematch.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/freematch.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     1 to 2 minutes   top-1 91.9 %, one seed (2026-11-21)
tiny      not measured   not measured   not measured
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    terms = {"freematch": semi.term("freematch", **({"fairness": 0.001} if preset == "cifar10" else {}))}
    return semi.build("freematch", preset, terms)
