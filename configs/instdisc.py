"""Instance discrimination with a memory bank (Wu et al., 2018). https://arxiv.org/abs/1805.01978

python -m jssl.main --config=configs/instdisc.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/instdisc.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/instdisc.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/instdisc.py:imagenet    ResNet-50, batch 256, 4096 negatives
python -m jssl.main --config=configs/instdisc.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    not measured   not measured
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("instdisc"))
    config.data.unlabeled.views = {"first": recipes.digit()}
    config.method.update({"temperature": 0.1, "negatives": 0})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("instdisc"))
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0), copies=1)}
    config.method.temperature = 0.1
    return config


def always_jittered(size: int, **options: Any) -> dict[str, Any]:
    """The official view: its jitter is .4 in hue, too, and of every image."""
    each = {"hue": 0.4, "jitter_prob": 1.0, **options}
    return {**recipes.crop(size, "weak", (0.2, 1.0), interpolation="bilinear"), **each}


def cifar10() -> ml_collections.ConfigDict:
    """The official CIFAR code: softmax over the whole bank, 200 epochs, batch 128."""
    config = recipes.cifar10(defaults("instdisc"))
    config.total_epochs = 200.0
    config.data.unlabeled.batch_size = 128
    config.data.std = (0.2023, 0.1994, 0.2010)
    config.data.unlabeled.views = {"first": always_jittered(32, flip_prob=0.0)}
    config.method.update({"temperature": 0.1, "negatives": 0})
    config.optim.update(
        {"name": "sgd", "lr": 0.03, "lr_scaling": "none", "weight_decay": 5e-4, "decay_all": True}
    )
    config.optim.update({"schedule": "step", **duration("warmup")})
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = recipes.imagenet(defaults("instdisc"), batch_size=256, epochs=200.0)
    config.data.unlabeled.views = {"first": always_jittered(224)}
    config.evals.knn.temperature = 0.07
    config.optim.update(
        {"name": "sgd", "lr": 0.03, "schedule": "step", "weight_decay": 1e-4, "decay_all": True}
    )
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("instdisc"))
    config.data.unlabeled.views = {"first": recipes.crop(96, "weak", (0.2, 1.0))}
    config.method.update({"temperature": 0.1, "negatives": 0})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
