"""Future prediction: features of what comes next, picked among all of the batch (CPC, van den Oord et al., 2018; DPC,
Han et al., 2019). https://arxiv.org/abs/1807.03748 https://arxiv.org/abs/1909.04656

python -m jssl.main --config=configs/future.py             in time: clips of a moving digit, generated, on a laptop
python -m jssl.main --config=configs/future.py:small       in space: patches of CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/future.py:cifar10     in space: ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/future.py:imagenet    in space: ResNet-50, 7 x 7 patches of 64 pixels
python -m jssl.main --config=configs/future.py:folder --config.data.name=FOLDER   your own images, in space

No label is used. Clips of moving_digits/2 have two digits; clips of your own are images whose channels are frames. In
time encoder.per_frame shows the encoder one frame at a time.

preset    hardware            time               result
digits    2 shared CPU cores  15 epochs, 658 s   linear 68.1 % (untrained 49.4, pixels 21.9), kNN 24.9 % (44.9, 23.8)
small     not measured        not measured       not measured
cifar10   not measured        not measured       not measured
imagenet  not measured        not measured       not measured
folder    not measured        not measured       depends on your images

digits, 2026-11-27: of 384 candidates the right one is picked for 38.4, 27.8 and 18.5 % of 896 test clips one, two and
three frames ahead; the features seen last pick it for 9.4, 0.7 and 1.1 %. kNN falls, for the features know where the
digit is: a linear map of one frame's features explains 98 % of the variance of its place (untrained 20 %), and
neighbours are clips of like places.
small with --config.total_epochs=0.5 (176 steps, 2 shared and busy CPU cores, 1,150 s, 2026-11-27): linear 37.8 %
(untrained 33.9, pixels 40.4), kNN 34.6 % (30.3, 40.7); the loss fell from 8.67 to 5.84 (chance: 7.56), top-1 at the end
6.0 and 0.9 % of 1,920 candidates (seen last: 0.8 and 0.2). The whole preset is not measured.
imagenet differs from CPC: one direction, ResNet-50, a GRU for the masked convolutions, no augmentation of patches by
themselves (v2); its optimiser and length are no paper's.
"""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl.config import defaults, presets, view
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    """In time: clips of 8 frames in which a digit moves; the last three are predicted from the first five."""
    config = recipes.digits(defaults("future", context_dim=128))
    config.data.name = "moving_digits"
    config.total_epochs = 15.0
    config.data.unlabeled.batch_size = 128
    config.data.unlabeled.views = {"first": view(20, noise_std=0.05)}
    config.encoder.per_frame = True
    config.encoder.convnet.strides = (2, 2, 2)
    config.optim.lr = 5e-3
    recipes.training_view(config, view(20))
    return config


def in_space(config: ml_collections.ConfigDict, side: int, **more: Any) -> ml_collections.ConfigDict:
    """One view, which is cut into patches, and no batch norm, through which they would see each other."""
    config.data.unlabeled.views = {"first": view(side, flip_prob=0.5, **more)}
    config.encoder.convnet.norm = config.encoder.resnet.norm = "layer"
    return config


def cpc(patch: int, steps: int, context_dim: int) -> ml_collections.ConfigDict:
    """CPC's plan: patches that overlap by half, the row next to what is seen left out, a context three columns wide."""
    sizes = {"patch": patch, "stride": patch // 2, "steps": steps, "context_dim": context_dim}
    return defaults("future", "", mode="space", skip=1, context_kernel=3, **sizes)


def small() -> ml_collections.ConfigDict:
    """A grid of 5 x 5 patches of 10 pixels."""
    return in_space(recipes.small(cpc(10, 2, 128)), 32)


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe: the grid of `small`, Adam as in CPC."""
    config = recipes.cifar10(cpc(10, 2, 256))
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "none", "lars_clip": False})
    return in_space(config, 32)


def imagenet() -> ml_collections.ConfigDict:
    """CPC v1's grid, 7 x 7 patches of 64 of 256 pixels, and five rows below, with v2's layer norm."""
    config = recipes.imagenet(cpc(64, 5, 1024), batch_size=128, epochs=100.0)
    config.optim.update({"name": "adamw", "lr": 2e-4, "lr_scaling": "none", "weight_decay": 1e-5})
    return in_space(config, 256, crop_area_min=0.3)


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs at 96 pixels, in 5 x 5 patches of 32."""
    return in_space(recipes.folder(cpc(32, 2, 256)), 96, crop_area_min=0.4)


get_config = presets(digits, small, cifar10, imagenet, folder)
