"""Colorization: colours are predicted from the lightness (Zhang et al., 2016). https://arxiv.org/abs/1603.08511

python -m jssl.main --config=configs/colorization.py             digits with coloured edges, embedded, on a laptop
python -m jssl.main --config=configs/colorization.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/colorization.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/colorization.py:imagenet    ResNet-50, the paper's schedule in epochs
python -m jssl.main --config=configs/colorization.py:folder --config.data.name=FOLDER   your own images, in colour

No label is used. The encoder sees lightness alone, in training and wherever it is used: whoever loads it or begins with
it takes data.color_space='lab' and encoder.channels=(0,). reconstruction.png shows the colours that it gives. The
paper's network is a VGG of its own with dilated convolutions; loss, weights of colours and reading are the paper's.

preset    hardware                 time                     result (untrained encoder), one seed
digits    1 of 2 shared CPU cores  30 of 100 epochs, 412 s  kNN 95.3 % (94.2), linear 94.4 % (95.8); 2026-11-27
small     1 of 2 shared CPU cores  2 of 5 epochs, 396 s     kNN 38.7 % (28.3), linear 42.4 % (31.1); 2026-11-27
cifar10   not measured             not measured             not measured
imagenet  not measured             not measured             not measured
folder    not measured             not measured             depends on your images

Imagenette (3,000 images) at 64 pixels, `folder` with the ConvNet, batch 64, 3 epochs, 634 s on 1 of 2 shared CPU cores:
kNN 27.5 % (24.1), linear 31.7 % (30.4); its colours are still one tint, those of `small` are not; 2026-11-27.
"""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import recipes


def lightness(config: ml_collections.ConfigDict, size: int, **options: Any) -> ml_collections.ConfigDict:
    """Images in Lab, of which the encoder sees L; one view, with its colours as they are."""
    config.encoder.channels = (0,)
    return recipes.lab(config, view(size, **options))


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("colorization", "", stride=1, decoder_dim=32))
    config.data.name = "colored_digits"
    return lightness(config, 8, pad=1)


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("colorization", "", decoder_dim=32))
    return lightness(config, 32, crop_area_min=0.2, flip_prob=0.5)


def cifar10() -> ml_collections.ConfigDict:
    """The rate of `small`; no paper's recipe."""
    config = recipes.cifar10(defaults("colorization", "", stride=2))
    recipes.adamw(config, 1e-3, 1e-3)
    return lightness(config, 32, crop_area_min=0.2, flip_prob=0.5)


def imagenet() -> ml_collections.ConfigDict:
    """The official schedule: Adam at 3e-5 with batches of 40, a tenth of it from 45 % of the run on."""
    config = recipes.imagenet(defaults("colorization"), batch_size=40, epochs=15.6)
    config.optim.update({"name": "adamw", "lr": 3e-5, "lr_scaling": "none", "b2": 0.99, "weight_decay": 1e-3})
    config.optim.update({"schedule": "step", "step_at": (0.45,), "step_factor": 0.1})
    config.optim.update(duration("warmup"))
    config.evals.sgd.view.size = config.evals.finetune.view.size = 176
    return lightness(config, 176, crop_area_min=0.2, flip_prob=0.5)


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, at 96 pixels."""
    return lightness(recipes.folder(defaults("colorization")), 96, crop_area_min=0.2, flip_prob=0.5)


get_config = presets(digits, small, cifar10, imagenet, folder)
