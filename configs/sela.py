"""SeLa: labels that divide the images equally, by optimal transport (Asano et al., 2020)
https://arxiv.org/abs/1911.05371

python -m jssl.main --config=configs/sela.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/sela.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/sela.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/sela.py:imagenet    ResNet-50, 10 heads of 3,000 classes, 400 epochs
python -m jssl.main --config=configs/sela.py:folder --config.data.name=FOLDER   your own images

No label is used. Before the first step and then again and again one pass in training mode gives every image new labels,
which use all classes equally. Watch clusters/objective fall at each of them.

preset    hardware       time           result
digits    2 CPU cores    42 s           linear 96.7 %, kNN 93.9 % (untrained 96.1, 96.7; 2026-11-27)
small     1 CPU core     3 epochs       docs/benchmarks.md has the table of methods
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(
        defaults("sela", clusters=30, num_heads=3, reassign_every="25 times, quadratic", sharpness=10.0)
    )
    config.data.unlabeled.views = {"first": recipes.digit()}
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(
        defaults(
            "sela",
            clusters=128,
            num_heads=4,
            reassign_every="8 times, quadratic",
            sharpness=10.0,
            tolerance=1.0,
        )
    )
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0))}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """The official code's clustering and schedule, whose network is an AlexNet on images of 224 pixels."""
    config = recipes.cifar10(
        defaults(
            "sela",
            clusters=128,
            reassign_every="400 times",
            heads_per_refresh=1,
            sharpness=10.0,
            tolerance=1e-2,
        )
    )
    config.data.std = (0.2023, 0.1994, 0.201)
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0), interpolation="bilinear")}
    config.data.unlabeled.views["first"].update({"jitter_prob": 1.0, "hue": 0.4})
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 400.0
    config.optim.update({"name": "sgd", "lr": 0.03, "lr_scaling": "none", "weight_decay": 5e-4})
    config.optim.update({"schedule": "step", "step_at": (0.6, 0.8), "decay_all": True})
    config.optim.update(duration("warmup"))
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official recipe."""
    config = recipes.imagenet(defaults("sela"), batch_size=256, epochs=400.0)
    config.data.unlabeled.views = {"first": recipes.crop(224, "weak", (0.08, 1.0), interpolation="bilinear")}
    config.data.unlabeled.views["first"].update({"jitter_prob": 1.0, "hue": 0.4})
    config.optim.update({"name": "sgd", "lr": 0.08, "lr_scaling": "none", "weight_decay": 1e-5})
    config.optim.update({"schedule": "step", "step_at": (0.375, 0.75, 0.875), "decay_all": True})
    config.optim.update(duration("warmup"))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(
        defaults("sela", clusters=50, num_heads=4, reassign_every="40 times, quadratic", sharpness=10.0)
    )
    config.data.unlabeled.views = {"first": recipes.crop(96, "weak", (0.2, 1.0))}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
