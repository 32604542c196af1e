"""SimMIM: hidden squares are a token to the encoder, a linear layer predicts them (Xie et al., 2021).

https://arxiv.org/abs/2111.09886

python -m jssl.main --config=configs/simmim.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/simmim.py:small       CIFAR-10 (TFDS), a ViT of 4 blocks, CPUs
python -m jssl.main --config=configs/simmim.py:cifar10     ViT-S/4 on CIFAR-10 (TFDS), 1000 epochs
python -m jssl.main --config=configs/simmim.py:imagenet    ViT-B/16, batch 2,048, 800 epochs
python -m jssl.main --config=configs/simmim.py:folder --config.data.name=FOLDER   your own images

No label is used. The encoder sees all places, so a step costs more than MAE's. reconstruction.png shows what is hidden
and what is filled in.

preset    hardware         time          result
digits    not measured     not measured  not measured
small     one shared H200  3 epochs      kNN 36.0 %, linear 46.4 % (two seeds; 2026-11-27)
cifar10   not measured     not measured  not measured
imagenet  not measured     not measured  not measured
folder    not measured     not measured  depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import recipes
from jssl.configs.mae import mini, vit


def digits() -> ml_collections.ConfigDict:
    config = vit(recipes.digits(defaults("simmim", mask_unit=1, mask_ratio=0.5)), "vit_mini", 8, 2)
    config.data.unlabeled.views = {"first": view(8, pad=1)}
    config.data.unlabeled.batch_size = 64
    return mini(config)


def small() -> ml_collections.ConfigDict:
    config = vit(recipes.small(defaults("simmim")), "vit_mini", 32, 4)
    config.data.unlabeled.views = {"first": view(32, crop_area_min=0.2, flip_prob=0.5)}
    return mini(config)


def cifar10() -> ml_collections.ConfigDict:
    """No paper's recipe: that of MAE."""
    config = vit(recipes.cifar10(defaults("simmim")), "vit_s", 32, 4)
    config.data.unlabeled.views = {"first": view(32, crop_area_min=0.2, flip_prob=0.5)}
    config.optim.update({"lr": 2e-4, "lars_clip": False})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The paper's recipe for ViT-B at 800 epochs, but for positions: fixed ones instead of relative biases."""
    config = vit(recipes.imagenet(defaults("simmim"), batch_size=2048, epochs=800.0), "vit_b", 224, 16)
    config.data.unlabeled.views = {"first": view(224, crop_area_min=0.67, flip_prob=0.5)}
    config.encoder.vit.update({"pool": "gap", "drop_path": 0.1})
    config.optim.update({"lr": 5e-5, "b2": 0.999, "clip_norm": 5.0})
    config.optim.update({"schedule": "step", "step_at": (0.875,), "step_factor": 0.1})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, at 96 pixels in patches of 8."""
    config = vit(recipes.folder(defaults("simmim")), "vit_s", 96, 8)
    config.data.unlabeled.views = {"first": view(96, crop_area_min=0.67, flip_prob=0.5)}
    config.optim.update({"lr": 5e-4, "lr_scaling": "none"})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
