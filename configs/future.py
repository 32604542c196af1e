"""Future prediction: features of what comes next, picked among all of the batch (CPC, van den Oord et al., 2018; DPC,
Han et al., 2019). https://arxiv.org/abs/1807.03748 https://arxiv.org/abs/1909.04656
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
    config.evals.sgd.view = view(20)
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
