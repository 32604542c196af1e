"""BYOL (Grill et al., 2020). https://arxiv.org/abs/2006.07733

python -m jssl.main --config=configs/byol.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/byol.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/byol.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/byol.py:imagenet    ResNet-50, batch 4096, LARS, 100 epochs
python -m jssl.main --config=configs/byol.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    1 CPU core     2 minutes      linear 98.1 %, kNN 94.4 % with k = 20 (2026-11-21)
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import recipes


def byol() -> ml_collections.ConfigDict:
    """What the presets share."""
    return defaults("byol", momentum=0.99)


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(byol())
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(byol())
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 128})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 92.58 there after 1000 epochs."""
    config = recipes.cifar10(byol())
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", solarize=(0.0, 0.2))
    config.optim.update({"lr": 1.0, "weight_decay": 1e-5})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The paper's recipe for 100 epochs; for 300, 1000: lr .3, .2, momentum .99, .996, decay 1e-6, 1.5e-6."""
    config = recipes.imagenet(byol(), batch_size=4096, epochs=100.0)
    recipes.probe(config, 0.2, 4096, 80, interpolation="bicubic", nesterov=True)
    config.encoder.resnet.zero_init_residual = (
        True  # as in the released code; the paper's results are without
    )
    blur, solarize = (1.0, 0.1), (0.0, 0.2)
    config.data.unlabeled.views = recipes.pair(224, "asymmetric", (0.08, 1.0), blur, solarize)
    config.optim.update({"name": "lars", "lr": 0.45, "weight_decay": 1e-6, "lars_lr_first": False})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(byol())
    config.method.update({"proj_hidden_dim": 2048})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
