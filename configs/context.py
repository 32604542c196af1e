"""Context prediction: where does a patch lie, seen from another one? (Doersch et al., 2015)
https://arxiv.org/abs/1505.05192

python -m jssl.main --config=configs/context.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/context.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/context.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/context.py:imagenet    ResNet-50, patches of 96 pixels
python -m jssl.main --config=configs/context.py:folder --config.data.name=FOLDER   your own images

No label is used. All eight neighbours of the central patch are in the batch, in both orders. Of photographs one
channel stays (method.colour), for lenses shift colours towards the border and tell where a patch was.

preset    hardware       time           result
digits    not measured   not measured   not measured
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
    config = recipes.digits(defaults("context", tile=3, jitter=0, shrink_prob=0.0, proj_hidden_dim=128))
    config.data.unlabeled.views = {"weak": view(12, noise_std=0.05)}
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(
        defaults("context", tile=8, jitter=1, colour="", shrink_prob=0.0, proj_hidden_dim=512)
    )
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5)}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe: the schedule is RotNet's. So small pictures have no chromatic aberration."""
    config = recipes.cifar10(
        defaults("context", tile=8, jitter=1, colour="", shrink_prob=0.0, proj_hidden_dim=1024)
    )
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5)}
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 200.0
    recipes.rotnet_cifar10(config)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The paper's patches, gap, jitter and colours; optimiser and length are those of Kolesnikov et al., 2019."""
    config = recipes.imagenet(defaults("context"), batch_size=256, epochs=35.0)
    config.data.unlabeled.views = {"weak": view(432, crop_area_min=0.5, interpolation="bilinear")}
    config.optim.update({"name": "sgd", "lr": 0.1, "weight_decay": 1e-4, "decay_all": True})
    config.optim.update({"schedule": "step", "step_at": (15 / 35, 25 / 35)})
    config.optim.update(duration("warmup", epochs=5))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, in patches of 24 pixels."""
    config = recipes.folder(defaults("context", tile=24, jitter=2, proj_hidden_dim=1024))
    config.data.unlabeled.views = {"weak": view(96, crop_area_min=0.4, flip_prob=0.5)}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
