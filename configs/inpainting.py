"""Context encoders: holes are filled in (Pathak et al., 2016). https://arxiv.org/abs/1604.07379

python -m jssl.main --config=configs/inpainting.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/inpainting.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/inpainting.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/inpainting.py:imagenet    ResNet-50, 128 pixels
python -m jssl.main --config=configs/inpainting.py:folder --config.data.name=FOLDER   your own images

No label is used. --config.method.mask is center, blocks or free_form. A discriminator that learns beside it has a
rate of its own; --config.method.adversarial_weight=0 --config.optim.groups.discriminator.pattern= leaves it out, as
the paper does for features. The border around blocks weighs no more than they do: it is larger than them.
reconstruction.png shows holes and what is filled in.

preset    hardware           time                result
digits    1 CPU core         100 epochs, 90 s    kNN 96.9 %, linear 96.1 % (untrained 96.7, 96.1; 2026-11-27)
small     1 busy CPU core    3 epochs            kNN 37.6 %, linear 40.3 % (untrained 31.0, 35.5; 2026-11-27)
cifar10   not measured       not measured        not measured
imagenet  not measured       not measured        not measured
folder    not measured       not measured        depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, group, presets, view
from jssl.configs import recipes


def players(config: ml_collections.ConfigDict, lr_factor: float = 0.1) -> ml_collections.ConfigDict:
    """The discriminator learns at a rate of its own, in the official code a tenth."""
    config.optim.groups.discriminator = group("discriminator", lr_factor=lr_factor)
    return config


def digits() -> ml_collections.ConfigDict:
    method = {"code_dim": 64, "decoder_dim": 16, "mask": "blocks", "discriminator_dim": 8}
    method |= {"border": 1, "border_weight": 1.0}
    config = recipes.digits(defaults("inpainting", "", **method))
    config.data.unlabeled.views = {"first": view(8, pad=1)}
    return players(config, 1.0)


def small() -> ml_collections.ConfigDict:
    method = {"code_dim": 256, "decoder_dim": 16, "border": 0, "mask": "blocks", "adversarial_weight": 0.0}
    config = recipes.small(defaults("inpainting", "", **method))
    config.data.unlabeled.views = {"first": view(32, flip_prob=0.5)}
    return config


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe: the loss of its features (no adversary, blocks), and AdamW."""
    method = {"code_dim": 1024, "border": 0, "mask": "blocks", "adversarial_weight": 0.0}
    config = recipes.cifar10(defaults("inpainting", "", **method))
    config.data.unlabeled.views = {"first": view(32, flip_prob=0.5)}
    config.total_epochs = 200.0
    recipes.adamw(config, 1e-3)
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official code's hole, weights and optimiser at 128 pixels; the encoder is a ResNet-50 and not its own.

    Here the squared error is divided by the sum of its weights.
    """
    config = recipes.imagenet(defaults("inpainting"), batch_size=64, epochs=100.0)
    config.data.unlabeled.views = {"first": view(128, crop_area_min=0.2, flip_prob=0.5)}
    recipes.adamw(config, 2e-3, weight_decay=0.0)
    config.optim.b1 = 0.5
    return players(config)


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, at 96 pixels."""
    method = {"code_dim": 1024, "decoder_dim": 32, "mask": "center", "discriminator_dim": 32}
    config = recipes.folder(defaults("inpainting", "", **method))
    config.data.unlabeled.views = {"first": view(96, crop_area_min=0.5, flip_prob=0.5)}
    return players(config)


get_config = presets(digits, small, cifar10, imagenet, folder)
