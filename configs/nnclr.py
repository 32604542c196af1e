"""NNCLR (Dwibedi et al., 2021). https://arxiv.org/abs/2104.14548

python -m jssl.main --config=configs/nnclr.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/nnclr.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/nnclr.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/nnclr.py:imagenet    ResNet-50, batch 4096, LARS, 1000 epochs
python -m jssl.main --config=configs/nnclr.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    not measured   not measured
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("nnclr"))
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64, "pred_hidden_dim": 256, "queue_size": 1024})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("nnclr"))
    config.method.update(
        {"proj_hidden_dim": 512, "proj_dim": 128, "pred_hidden_dim": 512, "queue_size": 4096}
    )
    config.method.temperature = 0.2
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 91.88 there after 1000 epochs."""
    config = recipes.cifar10(defaults("nnclr"))
    config.method.update({"temperature": 0.2, "queue_size": 65536})
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", solarize=(0.0, 0.2))
    config.optim.update({"lr": 0.4, "weight_decay": 1e-5})
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = recipes.imagenet(defaults("nnclr"), batch_size=4096, epochs=1000.0)
    config.data.unlabeled.views = recipes.pair(224, "strong", blur=(0.5, 0.5))
    config.optim.update({"name": "lars", "lr": 0.3, "weight_decay": 1e-6})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("nnclr"))
    config.method.update({"temperature": 0.2, "queue_size": 4096})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
