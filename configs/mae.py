"""MAE: hidden patches are predicted from the visible ones (He et al., 2021). https://arxiv.org/abs/2111.06377

python -m jssl.main --config=configs/mae.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/mae.py:small       CIFAR-10 (TFDS), a ViT of 4 blocks, CPUs
python -m jssl.main --config=configs/mae.py:cifar10     ViT-S/4 on CIFAR-10 (TFDS), 1000 epochs
python -m jssl.main --config=configs/mae.py:imagenet    ViT-B/16, batch 4,096, 800 epochs
python -m jssl.main --config=configs/mae.py:folder --config.data.name=FOLDER   your own images

No label is used. reconstruction.png shows what is hidden and what is filled in. Fine-tune the encoder to see its
worth; kNN and linear accuracy understate it.

preset    hardware           time               result
digits    2 busy CPU cores   60 epochs, 351 s   kNN 84.2 %, linear 93.1 % (untrained 67.2, 91.9; 2026-11-27)
small     1 busy CPU core    3 epochs           kNN 42.5 %, linear 50.3 % (2026-11-27)
cifar10   not measured       not measured       not measured
imagenet  not measured       not measured       not measured
folder    not measured       not measured       depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import recipes


def vit(config: ml_collections.ConfigDict, name: str, size: int, patch: int) -> ml_collections.ConfigDict:
    """A ViT with fixed positions, and AdamW as in the paper."""
    config.encoder.name = name
    config.encoder.vit.update({"patch_size": patch, "image_size": size, "positions": "sincos2d"})
    config.optim.update(
        {"name": "adamw", "b1": 0.9, "b2": 0.95, "weight_decay": 0.05, "lr_scaling": "linear"}
    )
    return config


def mini(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The smallest ViT: four heads, the mean of its tokens, and a rate that is not scaled."""
    config.encoder.vit.update({"heads": 4, "pool": "gap"})
    config.optim.update({"lr": 1e-3, "lr_scaling": "none"})
    return config


def digits() -> ml_collections.ConfigDict:
    decoder = {
        "decoder_dim": 64,
        "decoder_layers": 1,
        "decoder_heads": 4,
        "norm_pix": False,
        "mask_ratio": 0.5,
    }
    config = vit(recipes.digits(defaults("mae", "", **decoder)), "vit_mini", 8, 2)
    config.data.unlabeled.views = {"first": view(8, pad=1)}
    config.data.unlabeled.batch_size = 64
    return mini(config)


def small() -> ml_collections.ConfigDict:
    decoder = {"decoder_dim": 64, "decoder_layers": 2, "decoder_heads": 4}
    config = vit(recipes.small(defaults("mae", "", **decoder)), "vit_mini", 32, 4)
    config.data.unlabeled.views = {"first": view(32, crop_area_min=0.2, flip_prob=0.5)}
    return mini(config)


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe."""
    config = vit(recipes.cifar10(defaults("mae")), "vit_s", 32, 4)
    config.data.unlabeled.views = {"first": view(32, crop_area_min=0.08, flip_prob=0.5)}
    config.optim.update({"lr": 2e-4, "lars_clip": False})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The paper's recipe at 800 epochs."""
    config = vit(recipes.imagenet(defaults("mae"), batch_size=4096, epochs=800.0), "vit_b", 224, 16)
    config.data.unlabeled.views = {"first": view(224, crop_area_min=0.2, flip_prob=0.5)}
    config.optim.update({"lr": 1.5e-4})
    config.optim.update(duration("warmup", epochs=40))
    recipes.probe(config, 0.1, 16384, 90)
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, at 96 pixels in patches of 8."""
    decoder = {"decoder_dim": 192, "decoder_layers": 4, "decoder_heads": 6}
    config = vit(recipes.folder(defaults("mae", "", **decoder)), "vit_s", 96, 8)
    config.data.unlabeled.views = {"first": view(96, crop_area_min=0.2, flip_prob=0.5)}
    config.optim.update({"lr": 5e-4, "lr_scaling": "none"})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
