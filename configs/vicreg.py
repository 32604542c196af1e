"""VICReg (Bardes et al., 2022). https://arxiv.org/abs/2105.04906

python -m jssl.main --config=configs/vicreg.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/vicreg.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/vicreg.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/vicreg.py:imagenet    ResNet-50, batch 2048, LARS, 1000 epochs
python -m jssl.main --config=configs/vicreg.py:folder --config.data.name=FOLDER   your own images

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
    config = recipes.digits(defaults("vicreg"))
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 256})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("vicreg"))
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 512})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 92.07 there after 1000 epochs; its hinge is not halved, so weighs 50 here."""
    config = recipes.cifar10(defaults("vicreg"))
    config.method.update({"proj_hidden_dim": 2048, "proj_dim": 2048, "variance": 50.0})
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", (0.2, 1.0), solarize=(0.1, 0.1))
    config.optim.update({"lr": 0.3, "weight_decay": 1e-4})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official code, whose views are BYOL's; the paper's are blurred half of the time, solarised a tenth."""
    config = recipes.imagenet(defaults("vicreg"), batch_size=2048, epochs=1000.0)
    recipes.probe(config, 0.02, 256, 100, 1e-6)
    config.encoder.resnet.zero_init_residual = True
    blur, solarize = (1.0, 0.1), (0.0, 0.2)
    config.data.unlabeled.views = recipes.pair(224, "asymmetric", (0.08, 1.0), blur, solarize)
    config.optim.update({"name": "lars", "lr": 0.2, "weight_decay": 1e-6, "lars_lr_first": False})
    config.optim.final_lr_factor = 1e-3
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("vicreg"))
    config.method.update({"proj_hidden_dim": 2048, "proj_dim": 2048})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
