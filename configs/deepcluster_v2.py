"""DeepCluster v2: crops predict their image's cluster among centroids of a bank (Caron et al., 2020)
https://arxiv.org/abs/2006.09882

python -m jssl.main --config=configs/deepcluster_v2.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/deepcluster_v2.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/deepcluster_v2.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/deepcluster_v2.py:imagenet    ResNet-50, batch 4,096, 400 epochs
python -m jssl.main --config=configs/deepcluster_v2.py:folder --config.data.name=FOLDER   your own images

No label is used. Two global crops and, where there are any, local ones; every crop learns the cluster of its image.

preset    hardware       time           result
digits    2 CPU cores    20 epochs, 154 s   linear 96.4 %, kNN 97.5 % (untrained 96.1, 96.7; 2026-11-27)
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
    config = recipes.digits(defaults("deepcluster_v2", clusters=50, proj_hidden_dim=256, proj_dim=64))
    config.data.unlabeled.views = {"global": recipes.digit(copies=2)}
    config.method.local_views = ()
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("deepcluster_v2", clusters=256, proj_hidden_dim=512))
    config.data.unlabeled.views = {
        "global": recipes.crop(32, "weak", (0.4, 1.0), copies=2),
        "local": recipes.crop(16, "weak", (0.1, 0.4), copies=2),
    }
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe."""
    config = recipes.cifar10(defaults("deepcluster_v2"))
    config.data.unlabeled.views = recipes.pair(32, "strong")
    config.method.update({"views": ("first", "second"), "local_views": ()})
    config.optim.update({"lr": 0.6, "weight_decay": 1e-6, "final_lr_factor": 1e-3})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official recipe, with two crops of 224 pixels."""
    config = recipes.imagenet(defaults("deepcluster_v2"), batch_size=4096, epochs=400.0)
    config.data.unlabeled.views = {
        "global": recipes.crop(224, "strong", (0.08, 1.0), 0.5, copies=2, interpolation="bilinear")
    }
    config.method.local_views = ()
    config.data.std = (0.228, 0.224, 0.225)  # as there, for training and evaluation
    config.encoder.resnet.batch_norm_groups = 8  # statistics of 512 images
    recipes.probe(config, 0.3, 256, 100, 1e-6)
    config.optim.update({"name": "lars", "lr": 4.8, "lr_scaling": "none", "weight_decay": 1e-6})
    config.optim.update({"final_lr_factor": 1e-3, "lars_lr_first": False})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    return recipes.multicrop(defaults("deepcluster_v2", clusters=200))


get_config = presets(digits, small, cifar10, imagenet, folder)
