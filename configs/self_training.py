"""Self-training, offline: a teacher learns from labels and pseudo-labels the other images; a student learns from both.

python -m jssl.main --config=configs/self_training.py:all            every pseudo-label (digits, two labels a class)
python -m jssl.main --config=configs/self_training.py:top_k,tiny     the most confident of every class (CIFAR-10)
python -m jssl.main --config=configs/self_training.py:weighted       every pseudo-label, weighted by its confidence

The student begins afresh: one that goes on confirms its own mistakes. `tiny`: docs/benchmarks.md; digits: not measured.
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi
from jssl.errors import unknown

RULES = {"all": "all", "top_k": "top_k_per_class", "weighted": "confidence_weighted"}
SUREST = {"digits": 50, "tiny": 1000, "cifar10": 1000}  # of every class


def get_config(preset: str = "all") -> ml_collections.ConfigDict:
    """A preset by name: RULE, SCALE, or RULE,SCALE."""
    rule, _, scale = preset.partition(",") if preset not in SUREST else ("all", "", preset)
    scale = scale or "digits"
    if rule not in RULES:
        raise unknown("preset (RULE, SCALE, or RULE,SCALE)", rule, (*RULES, *SUREST))
    if scale not in SUREST:
        raise unknown("preset", scale, SUREST)
    teacher, student = semi.supervised(scale), semi.supervised(scale)
    student.pseudo_labels.update({"teacher": "teacher", "rule": RULES[rule], "per_class": SUREST[scale]})
    return semi.staged(f"self_training_{rule}_{scale}", {"teacher": teacher, "student": student})
