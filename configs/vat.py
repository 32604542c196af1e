"""Virtual adversarial training with entropy minimisation (Miyato et al., 2017). https://arxiv.org/abs/1704.03976

python -m jssl.main --config=configs/vat.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/vat.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/vat.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

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
    terms = {
        "vat": semi.term("vat", weight=0.3, size=6.0, ramp=0.4 if preset == "cifar10" else 0.0),
        "entropy_minimization": semi.term("entropy_minimization", weight=0.06),
    }
    return semi.build("vat", preset, terms)
