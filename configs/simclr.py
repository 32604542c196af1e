"""SimCLR (Chen et al., 2020). https://arxiv.org/abs/2002.05709

python -m jssl.main --config=configs/simclr.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/simclr.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/simclr.py:imagenet    ResNet-50, batch 4096, LARS: the paper's recipe
python -m jssl.main --config=configs/simclr.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (top-1, docs/benchmarks.md has the baselines)
digits    2 CPU cores    1 minute       linear 99.2 %, kNN 96.7 % (2026-11-21)
cifar10   not measured   not measured   not measured; with encoder.name=convnet, 20 epochs, 2 CPU cores: kNN 51.7 %
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from configs import common


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    presets = {"digits": digits, "cifar10": cifar10, "imagenet": imagenet, "folder": folder}
    return common.choose(presets, preset)


def simclr(preset: str) -> ml_collections.ConfigDict:
    """What the presets share."""
    config = common.base(f"simclr_{preset}")
    config.method = {
        "name": "simclr",
        "version": 1,
        "hidden": 2048,
        "out": 128,
        "temperature": 0.1,
        "block_size": 0,
        "head_batch_norm": True,
    }
    return config


def digits() -> ml_collections.ConfigDict:
    """8x8 grey digits: small shifts, turns and noise make the views; flips would make other digits."""
    config = simclr("digits")
    config.data.name = "digits"
    config.total_epochs = 100.0
    config.encoder.name = "convnet"
    config.encoder.convnet.strides = (1, 2, 1, 2)
    config.method.hidden = 256
    view = common.view(
        8,
        degrees=15.0,
        translate=0.15,
        scale_min=0.8,
        scale_max=1.2,
        shear=15.0,
        brightness=0.4,
        contrast=0.4,
        noise_std=0.1,
    )
    config.data.unlabeled.views = {"first": view, "second": dict(view)}
    config.evals.sgd.view = dict(view)
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "none"})
    config.optim.update(common.duration("warmup", percent=5))
    config.evals.per_class = (1, 10)
    config.evals.linear.l2 = (1e-4, 1e-3, 1e-2, 1e-1)
    return config


def crops(size: int, area_min: float, jitter: float, blur: float) -> dict[str, dict]:
    """The paper's two views: crop, flip, colour jitter of a strength, grey, blur."""
    view = common.view(
        size,
        crop_area_min=area_min,
        flip_prob=0.5,
        jitter_prob=0.8,
        brightness=0.8 * jitter,
        contrast=0.8 * jitter,
        saturation=0.8 * jitter,
        hue=0.2 * jitter,
        gray_prob=0.2,
        blur_prob=blur,
    )
    return {"first": view, "second": dict(view)}


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 90.74 there after 1000 epochs."""
    config = simclr("cifar10")
    config.data.name = "cifar10"
    config.data.mean, config.data.std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    config.total_epochs = 1000.0
    config.encoder.resnet.stem = "cifar"
    config.method.update({"out": 256, "temperature": 0.2, "head_batch_norm": False})
    config.data.unlabeled.views = crops(32, 0.08, jitter=1.0, blur=0.0)
    config.optim.update({"name": "lars", "lr": 0.4, "weight_decay": 1e-5, "trust_coefficient": 0.02})
    config.optim.update(common.duration("warmup", percent=1))
    config.evals.knn.k = 200
    config.evals.sgd.view = common.view(32, crop_area_min=0.08, flip_prob=0.5)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """Appendix B.9 and section 2.2 of the paper: batch 4096, LARS, 100 epochs."""
    config = simclr("imagenet")
    config.data.name = "imagenet2012"
    config.data.test = "validation"
    config.data.holdout = 0.01
    config.total_epochs = 100.0
    config.encoder.name = "resnet50"
    config.data.unlabeled.batch_size = 4096
    config.data.workers = 8
    config.data.unlabeled.views = crops(224, 0.08, jitter=1.0, blur=0.5)
    config.optim.update({"name": "lars", "lr": 0.3, "weight_decay": 1e-6})
    config.optim.update(common.duration("warmup", percent=10))
    config.checkpoint.update(common.duration("every", epochs=1))
    config.evals.update(common.duration("every", epochs=10))
    config.evals.batch_size = 1024
    config.evals.knn.k = 200
    config.evals.linear.enabled = False
    config.evals.sgd.enabled = True
    config.evals.sgd.batch_size = 4096
    config.evals.sgd.view = common.view(224, crop_area_min=0.08, flip_prob=0.5)
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs of any size, without labels or with one sub-folder a class."""
    config = simclr("folder")
    config.data.test = "test"
    config.data.holdout = 0.0
    config.total_epochs = 100.0
    config.method.update({"version": 2, "temperature": 0.2})
    config.data.unlabeled.batch_size = 128
    config.data.unlabeled.views = crops(96, 0.2, jitter=0.5, blur=0.0)
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "sqrt", "weight_decay": 1e-4})
    config.optim.update(common.duration("warmup", percent=5))
    config.evals.batch_size = 128
    config.evals.sgd.view = common.view(96, crop_area_min=0.2, flip_prob=0.5)
    return config
