"""DeepCluster: k-means gives labels, which the network learns, epoch by epoch (Caron et al., 2018)
https://arxiv.org/abs/1807.05520

python -m jssl.main --config=configs/deepcluster.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/deepcluster.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/deepcluster.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/deepcluster.py:imagenet    ResNet-50, 10,000 clusters, 200 epochs
python -m jssl.main --config=configs/deepcluster.py:folder --config.data.name=FOLDER   your own images

No label is used. Watch clusters/nmi_previous rise and clusters/entropy stay near 1 in metrics.jsonl. The paper's
networks are AlexNet and VGG-16 on Sobel filters; `encoder.sobel` puts those before any encoder.

preset    hardware       time           result
digits    2 CPU cores    42 s           linear 98.6 %, kNN 98.9 % (untrained 96.1, 96.7; 2026-11-27)
small     1 CPU core     3 epochs       docs/benchmarks.md has the table of methods
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(
        defaults(
            "deepcluster",
            clusters=50,
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
        defaults("deepcluster", clusters=256, pca_dim=64, proj_hidden_dim=512, proj_dim=128)
    )
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0))}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe."""
    config = recipes.cifar10(defaults("deepcluster", clusters=1000, proj_hidden_dim=2048, proj_dim=512))
    config.data.unlabeled.views = {"first": recipes.crop(32, "weak", (0.2, 1.0))}
    config.total_epochs = 400.0
    constant(config)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The paper's clustering and optimiser, for the ResNet-50 and the 200 epochs of mmselfsup."""
    config = recipes.imagenet(defaults("deepcluster"), batch_size=256, epochs=200.0)
    config.data.unlabeled.views = {
        "first": view(224, crop_area_min=0.08, flip_prob=0.5, interpolation="bilinear")
    }
    config.encoder.sobel = True
    constant(config)
    return config


def constant(config: ml_collections.ConfigDict, lr: float = 0.05) -> None:
    """SGD at a constant rate; everything decays."""
    config.optim.update({"name": "sgd", "lr": lr, "lr_scaling": "none", "weight_decay": 1e-5})
    config.optim.update({"schedule": "constant", "decay_all": True})
    config.optim.update(duration("warmup"))


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(
        defaults("deepcluster", clusters=100, pca_dim=128, proj_hidden_dim=1024, proj_dim=256)
    )
    config.data.unlabeled.views = {"first": recipes.crop(96, "weak", (0.2, 1.0))}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
