"""SwAV (Caron et al., 2020). https://arxiv.org/abs/2006.09882

python -m jssl.main --config=configs/swav.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/swav.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/swav.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/swav.py:imagenet    ResNet-50, batch 4096, 2 global and 6 local crops, 400 epochs
python -m jssl.main --config=configs/swav.py:folder --config.data.name=FOLDER   your own images

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

from jssl.config import defaults, duration, group, presets
from jssl.configs import recipes


def swav() -> ml_collections.ConfigDict:
    """What the presets share."""
    return defaults("swav", queue_size=0)


def frozen_prototypes(config: ml_collections.ConfigDict, **until: Any) -> ml_collections.ConfigDict:
    """The prototypes wait for the first steps."""
    config.optim.groups = {"prototypes": group("prototypes", **until)}
    return config


def digits() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.digits(swav()), steps=10)
    config.data.unlabeled.views = {"global": recipes.digit(copies=2)}
    config.method.local_views = ()
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64, "prototypes": 100, "queue_size": 1024})
    return config


def small() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.small(swav()), steps=50)
    config.data.unlabeled.views = {
        "global": recipes.crop(32, "weak", (0.4, 1.0), copies=2),
        "local": recipes.crop(16, "weak", (0.1, 0.4), copies=2),
    }
    config.method.update({"proj_hidden_dim": 512, "prototypes": 128, "epsilon": 0.03, "queue_size": 1920})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe without local crops, which reaches 89.17 there after 1000 epochs."""
    config = frozen_prototypes(recipes.cifar10(swav()), epochs=2)
    config.data.unlabeled.views = recipes.pair(32, "strong")
    config.method.update({"views": ("first", "second"), "local_views": ()})
    config.method.update({"queue_size": 3840, "queue_start_epochs": 50.0})
    config.optim.update({"lr": 0.6, "weight_decay": 1e-6, "final_lr_factor": 1e-3})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official recipe for large batches.

    For 256 images: method.queue_size=3840, lr .6 without a warm-up, optim.groups.prototypes.freeze_steps=5005.
    """
    config = frozen_prototypes(recipes.imagenet(swav(), batch_size=4096, epochs=400.0), steps=313)
    config.data.unlabeled.views = {
        "global": recipes.crop(224, "strong", (0.14, 1.0), 0.5, copies=2, interpolation="bilinear"),
        "local": recipes.crop(96, "strong", (0.05, 0.14), 0.5, copies=6, interpolation="bilinear"),
    }
    config.data.std = (0.228, 0.224, 0.225)  # as there, for training and evaluation
    config.encoder.resnet.batch_norm_groups = 8  # statistics of 512 images
    recipes.probe(config, 0.3, 256, 100, 1e-6)
    config.optim.update({"name": "lars", "lr": 4.8, "lr_scaling": "none", "weight_decay": 1e-6})
    config.optim.update({"final_lr_factor": 1e-3, "lars_lr_first": False})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = frozen_prototypes(recipes.multicrop(swav()), epochs=1)
    config.method.update({"prototypes": 512, "queue_size": 1920, "queue_start_epochs": 5.0})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
