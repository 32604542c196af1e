"""SimSiam (Chen and He, 2021). https://arxiv.org/abs/2011.10566

python -m jssl.main --config=configs/simsiam.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/simsiam.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/simsiam.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/simsiam.py:imagenet    ResNet-50, batch 512, SGD, 100 epochs
python -m jssl.main --config=configs/simsiam.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    not measured   not measured
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, group, presets
from jssl.configs import recipes


def constant_predictor(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The learning rate of the predictor does not decay."""
    config.optim.groups = {"predictor": group("predictor", constant_lr=True)}
    return config


def digits() -> ml_collections.ConfigDict:
    config = constant_predictor(recipes.digits(defaults("simsiam")))
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 256, "pred_hidden_dim": 64})
    return config


def small() -> ml_collections.ConfigDict:
    config = constant_predictor(recipes.small(defaults("simsiam")))
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 512, "pred_hidden_dim": 128})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 90.51 there after 1000 epochs."""
    config = constant_predictor(recipes.cifar10(defaults("simsiam")))
    config.encoder.resnet.zero_init_residual = True
    config.data.unlabeled.views = recipes.pair(32, "weak")
    config.optim.update({"name": "sgd", "lr": 0.5, "weight_decay": 1e-5, "decay_all": True})
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = constant_predictor(recipes.imagenet(defaults("simsiam"), batch_size=512, epochs=100.0))
    config.encoder.resnet.zero_init_residual = True
    recipes.probe(config, 0.1, 4096, 90, trust_coefficient=0.001)
    config.data.unlabeled.views = recipes.pair(
        224, "weak", (0.2, 1.0), blur=(0.5, 0.5), interpolation="bilinear"
    )
    config.optim.update({"name": "sgd", "lr": 0.05, "weight_decay": 1e-4, "decay_all": True})
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = constant_predictor(recipes.folder(defaults("simsiam")))
    config.encoder.resnet.zero_init_residual = True
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
