"""Exemplar-CNN: every image is a class of its own (Dosovitskiy et al., 2014)
https://arxiv.org/abs/1406.6909

python -m jssl.main --config=configs/exemplar_cnn.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/exemplar_cnn.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/exemplar_cnn.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/exemplar_cnn.py:imagenet    ResNet-50; a softmax over a million classes
python -m jssl.main --config=configs/exemplar_cnn.py:folder --config.data.name=FOLDER   your own images

No label is used. The paper takes 8,000 to 16,000 classes; with more, `instdisc` and `exemplar` have the same aim.

preset    hardware       time           result
digits    not measured   not measured   not measured
small     1 CPU core     37.5 epochs, 172 s   linear 42.3 %, kNN 36.7 % (two seeds; untrained 31.1, 26.4; 2026-11-27)
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, presets, view
from jssl.configs import recipes

TURNS = {"degrees": 20.0, "translate": 0.2, "scale_min": 0.7, "scale_max": 1.4}  # the paper's


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("exemplar_cnn"))
    config.data.unlabeled.views = {"first": recipes.digit()}
    return config


def small() -> ml_collections.ConfigDict:
    """4,000 classes: of 14,400 that are each seen three times it learns nothing (docs/benchmarks.md)."""
    config = recipes.small(defaults("exemplar_cnn"))
    config.data.train = "train[:4000]"
    config.total_epochs = 60.0
    config.data.unlabeled.views = {"first": exemplar(32)}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """The paper's number of classes and transformations; the schedule is RotNet's."""
    config = recipes.cifar10(defaults("exemplar_cnn"))
    config.data.train = "train[:16000]"
    config.data.unlabeled.views = {"first": exemplar(32)}
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 200.0
    recipes.rotnet_cifar10(config)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """A million classes: no paper's recipe."""
    config = recipes.imagenet(defaults("exemplar_cnn"), batch_size=256, epochs=100.0)
    config.data.unlabeled.views = {"first": recipes.crop(224, "weak", (0.2, 1.0), interpolation="bilinear")}
    config.optim.update({"name": "sgd", "lr": 0.03})
    return config


def exemplar(size: int) -> dict[str, object]:
    """Shift, scale, turn, contrast and colours, in about the paper's ranges."""
    return view(
        size, **TURNS, brightness=0.4, contrast=0.6, saturation=0.6, hue=0.1, jitter_prob=1.0, flip_prob=0.5
    )


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(defaults("exemplar_cnn"))
    config.data.unlabeled.views = {"first": recipes.crop(96, "weak", (0.2, 1.0))}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
