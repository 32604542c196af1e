"""The supervised baseline: the labelled images alone. Every semi-supervised result should stand beside it.

python -m jssl.main --config=configs/supervised.py            digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/supervised.py:tiny       CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/supervised.py:cifar10    WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class
python -m jssl.main --config=configs/supervised.py:imagenet   S4L's baseline: ResNet-50v2, 10 % of ImageNet's labels

S4L's baseline on 1 %: --config.data.labels='13 per class' --config.optim.lr=.01 --config.optim.weight_decay=1e-2
--config.total_epochs=1000 --config.optim.warmup_epochs=10 --config.data.labeled.views.weak.hsv_prob=1.0

preset    hardware       time           result
digits    1 CPU core     1 to 2 minutes   top-1 87.8 %, one seed (2026-11-21)
tiny      1 CPU core     1 minute       docs/benchmarks.md, "Few labels"
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import s4l, semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    return semi.build("supervised", preset, {}, {**semi.PRESETS, "imagenet": s4l.imagenet})
