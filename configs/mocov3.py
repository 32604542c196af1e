"""MoCo v3 (Chen et al., 2021). https://arxiv.org/abs/2104.02057

python -m jssl.main --config=configs/mocov3.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/mocov3.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/mocov3.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/mocov3.py:imagenet    ResNet-50, batch 4096, LARS, 100 epochs
python -m jssl.main --config=configs/mocov3.py:folder --config.data.name=FOLDER   your own images
python -m jssl.main --config=configs/mocov3.py:imagenet_vit   ViT-S/16, frozen patch embedding

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
    config = recipes.digits(defaults("mocov3"))
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64, "temperature": 0.2})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("mocov3"))
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 128, "temperature": 0.2})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """The recipe with which solo-learn announced 93.10 after 1000 epochs; its views are others today."""
    config = recipes.cifar10(defaults("mocov3"))
    config.method.temperature = 0.2
    config.data.unlabeled.views = recipes.pair(32, "weak", (0.2, 1.0), (1.0, 0.1), (0.0, 0.2))
    config.optim.update({"lr": 0.3, "weight_decay": 1e-6, "lars_clip": False})
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = recipes.imagenet(defaults("mocov3"), batch_size=4096, epochs=100.0)
    recipes.probe(config, 0.1, 1024, 90)
    config.encoder.resnet.zero_init_residual = True
    area, blur, solarize = (0.2, 1.0), (1.0, 0.1), (0.0, 0.2)
    config.data.unlabeled.views = recipes.pair(224, "asymmetric", area, blur, solarize, "bilinear")
    config.optim.update({"name": "lars", "lr": 0.6, "weight_decay": 1e-6, "lars_lr_first": False})
    config.optim.update(duration("warmup", epochs=10))
    return config


def imagenet_vit() -> ml_collections.ConfigDict:
    """ViT-S/16 of 12 heads, AdamW, 300 epochs; the random patch embedding is never trained."""
    config = imagenet()
    config.name = "mocov3_imagenet_vit"
    config.total_epochs = 300.0
    config.encoder.name = "vit_s"
    config.encoder.vit.update({"positions": "sincos2d", "heads": 12, "cls_std": 1e-6})
    config.evals.sgd.lr = 3.0
    config.method.update({"layers": 3, "predictor_last_batch_norm": True, "temperature": 0.2})
    for each in config.data.unlabeled.views.values():
        each.crop_area_min = 0.08
    config.optim.update({"name": "adamw", "lr": 1.5e-4, "weight_decay": 0.1, "decay_all": True})
    config.optim.update(duration("warmup", epochs=40))
    config.optim.groups = {"patches": group("encoder/patches", lr_factor=0.0)}
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("mocov3"))
    config.method.update({"proj_hidden_dim": 2048, "temperature": 0.2})
    return config


get_config = presets(digits, small, cifar10, imagenet, imagenet_vit, folder)
