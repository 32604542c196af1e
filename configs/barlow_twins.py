"""Barlow Twins (Zbontar et al., 2021). https://arxiv.org/abs/2103.03230

python -m jssl.main --config=configs/barlow_twins.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/barlow_twins.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/barlow_twins.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/barlow_twins.py:imagenet    ResNet-50, batch 2048, LARS, 1000 epochs
python -m jssl.main --config=configs/barlow_twins.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    not measured   not measured
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, group, presets
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("barlow_twins"))
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 256, "scale": 0.1})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("barlow_twins"))
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 512, "scale": 0.1})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 92.10 there after 1000 epochs."""
    config = recipes.cifar10(defaults("barlow_twins"))
    config.method.update({"proj_hidden_dim": 2048, "proj_dim": 2048, "scale": 0.1})
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", solarize=(0.0, 0.2))
    config.optim.update({"lr": 0.3, "weight_decay": 1e-4})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official code: biases and batch norm have a rate of their own, in the place of a factor of the loss."""
    config = recipes.imagenet(defaults("barlow_twins", scale=1.0), batch_size=2048, epochs=1000.0)
    recipes.probe(config, 0.3, 256, 100, 1e-6)
    config.encoder.resnet.zero_init_residual = True
    blur, solarize = (1.0, 0.1), (0.0, 0.2)
    config.data.unlabeled.views = recipes.pair(224, "asymmetric", (0.08, 1.0), blur, solarize)
    config.optim.update({"name": "lars", "lr": 0.2, "weight_decay": 1e-6, "lars_lr_first": False})
    config.optim.final_lr_factor = 1e-3
    config.optim.update(duration("warmup", epochs=10))
    config.optim.groups = {"biases": group(".*/(bias|scale)$", lr_factor=0.0048 / 0.2)}
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("barlow_twins"))
    config.method.update({"proj_hidden_dim": 2048, "proj_dim": 2048, "scale": 0.1})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
