"""RotNet: by which multiple of 90 degrees is an image turned? (Gidaris et al., 2018) https://arxiv.org/abs/1803.07728

python -m jssl.main --config=configs/rotation.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/rotation.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/rotation.py:cifar10     ResNet-18 on CIFAR-10 (TFDS), the paper's schedule
python -m jssl.main --config=configs/rotation.py:imagenet    ResNet-50, 192 images in four turns each, 50 epochs
python -m jssl.main --config=configs/rotation.py:folder --config.data.name=FOLDER   your own images

No label is used: all four turns of every image are in the batch. The paper's networks are NIN and AlexNet. Digits look
alike when turned (6 and 9), so the task teaches little there.

preset    hardware       time           result
digits    not measured   not measured   not measured
small     1 CPU core     3 epochs       docs/benchmarks.md has the table of methods
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, presets, view
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("rotation"))
    config.data.unlabeled.views = {"weak": view(8, translate=0.1, noise_std=0.05)}
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("rotation"))
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5, pad=4)}
    return config


def cifar10() -> ml_collections.ConfigDict:
    config = recipes.cifar10(defaults("rotation"))
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5, pad=4)}
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 200.0
    recipes.rotnet_cifar10(config)
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = recipes.imagenet(defaults("rotation"), batch_size=192, epochs=50.0)
    config.data.unlabeled.views = {
        "weak": view(224, crop_area_min=0.08, flip_prob=0.5, interpolation="bilinear")
    }
    config.optim.update(
        {"name": "sgd", "lr": 0.01, "lr_scaling": "none", "nesterov": True, "weight_decay": 5e-4}
    )
    config.optim.update({"schedule": "step", "step_at": (0.3, 0.6, 0.9), "decay_all": True})
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("rotation"))
    config.data.unlabeled.views = {"weak": view(96, crop_area_min=0.2, flip_prob=0.5)}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
