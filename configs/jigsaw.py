"""Jigsaw puzzles: in which order are the tiles of an image? (Noroozi and Favaro, 2016) https://arxiv.org/abs/1603.09246

python -m jssl.main --config=configs/jigsaw.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/jigsaw.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/jigsaw.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/jigsaw.py:imagenet    ResNet-50, 2,000 permutations, 105 epochs (as VISSL)
python -m jssl.main --config=configs/jigsaw.py:folder --config.data.name=FOLDER   your own images

No label is used. Images of 32 pixels are cut into 2 x 2 tiles in all 24 orders; larger ones into 3 x 3. Look at
evals.layers: features are best before the last block.

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
    config = recipes.digits(
        defaults("jigsaw", grid=2, permutations=24, tile=3, jitter=0, proj_hidden_dim=128)
    )
    config.data.unlabeled.views = {"weak": view(8, noise_std=0.05)}
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(
        defaults("jigsaw", grid=2, permutations=24, tile=12, jitter=2, proj_hidden_dim=512)
    )
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5, gray_prob=0.3)}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe: the schedule is RotNet's."""
    config = recipes.cifar10(
        defaults("jigsaw", grid=2, permutations=24, tile=12, jitter=2, proj_hidden_dim=1024)
    )
    config.data.unlabeled.views = {"weak": view(32, flip_prob=0.5, gray_prob=0.3)}
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 200.0
    recipes.rotnet_cifar10(config)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """VISSL's optimiser and number of permutations; tiles, grey and standardisation as in Kolesnikov et al., 2019."""
    config = recipes.imagenet(defaults("jigsaw", permutations=2000), batch_size=256, epochs=105.0)
    config.data.unlabeled.views = {
        "weak": view(255, crop_area_min=0.5, flip_prob=0.5, gray_prob=0.66, interpolation="bilinear")
    }
    config.optim.update({"name": "sgd", "lr": 0.1, "weight_decay": 1e-4, "decay_all": True})
    config.optim.update({"schedule": "step", "step_at": (30 / 105, 60 / 105, 90 / 105, 100 / 105)})
    config.optim.update(duration("warmup", epochs=5))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, in tiles of 28 pixels."""
    config = recipes.folder(defaults("jigsaw", tile=28, jitter=2, proj_hidden_dim=1024))
    config.data.unlabeled.views = {"weak": view(96, crop_area_min=0.4, flip_prob=0.5, gray_prob=0.3)}
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
