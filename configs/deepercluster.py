"""DeeperCluster: clusters of clusters, and rotations, as one hierarchy of labels (Caron et al., 2019)
https://arxiv.org/abs/1905.01278

python -m jssl.main --config=configs/deepercluster.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/deepercluster.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/deepercluster.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/deepercluster.py:imagenet    ResNet-50, 4 x 2,500 clusters, 100 epochs
python -m jssl.main --config=configs/deepercluster.py:folder --config.data.name=FOLDER   your own images

No label is used. The loss is that of 16 super-classes (4 clusters in 4 turns; it begins at log 16) and of
sub-clusters. The paper's network is VGG-16, its data are 96 million photographs.

preset    hardware       time           result
digits    2 CPU cores    65 s           linear 97.5 %, kNN 98.1 % (untrained 96.1, 96.7; 2026-11-27)
small     1 CPU core     3 epochs       docs/benchmarks.md has the table of methods
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, presets, view
from jssl.configs import recipes
from jssl.configs.deepcluster import constant


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(
        defaults(
            "deepercluster",
            clusters=15,
            pca_dim=32,
            reassign_every="10 epochs",
            proj_hidden_dim=512,
            proj_dim=128,
        )
    )
    config.data.unlabeled.views = {"first": recipes.digit()}
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(
        defaults(
            "deepercluster",
            clusters=64,
            pca_dim=64,
            reassign_every="1 epoch",
            proj_hidden_dim=512,
            proj_dim=128,
        )
    )
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0))}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe."""
    config = recipes.cifar10(
        defaults("deepercluster", clusters=250, pca_dim=256, proj_hidden_dim=2048, proj_dim=512)
    )
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0))}
    config.total_epochs = 400.0
    constant(config, lr=0.1)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official recipe but for its 80,000 sub-clusters of 25 million photographs each, and its VGG-16."""
    config = recipes.imagenet(defaults("deepercluster", clusters=2500), batch_size=3072, epochs=100.0)
    config.data.unlabeled.views = {
        "first": view(224, crop_area_min=0.08, flip_prob=0.5, interpolation="bilinear")
    }
    config.encoder.sobel = True
    constant(config, lr=0.1)
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(
        defaults("deepercluster", clusters=25, pca_dim=128, proj_hidden_dim=1024, proj_dim=256)
    )
    config.data.unlabeled.views = {"first": recipes.crop(96, "weak", (0.2, 1.0))}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
