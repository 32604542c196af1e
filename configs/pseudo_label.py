"""Pseudo-label (Lee, 2013), online and with a threshold; https://arxiv.org/abs/1908.02983 tells what goes wrong.

python -m jssl.main --config=configs/pseudo_label.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/pseudo_label.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/pseudo_label.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class

preset    hardware       time           result
digits    1 CPU core     1 to 2 minutes   top-1 90.8 %, one seed (2026-11-21)
tiny      1 CPU core     1 minute       docs/benchmarks.md, "Few labels"
cifar10   not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    terms = {"pseudo_label": semi.term("pseudo_label", ramp=0.4)}
    return semi.build("pseudo_label", preset, terms)
