"""Split-brain autoencoders: lightness and colours are predicted from each other (Zhang et al., 2017).
https://arxiv.org/abs/1611.09842

python -m jssl.main --config=configs/split_brain.py             digits with coloured edges, embedded, on a laptop
python -m jssl.main --config=configs/split_brain.py:small       CIFAR-10 (TFDS), two small ConvNets, CPUs
python -m jssl.main --config=configs/split_brain.py:cifar10     two ResNet-18 of half the width on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/split_brain.py:imagenet    two ResNet-50 of half the width
python -m jssl.main --config=configs/split_brain.py:folder --config.data.name=FOLDER   your own images, in colour

No label is used. Each half of the encoder sees what the other one predicts, and evaluators see both: whoever loads it
or begins with it takes data.color_space='lab' and encoder.split_brain=True. The paper's network is AlexNet, halved.

preset    hardware                 time                     result (untrained encoder), one seed
digits    1 of 2 shared CPU cores  30 of 100 epochs, 431 s  kNN 95.6 % (87.2), linear 94.4 % (92.8); 2026-11-27
small     1 of 2 shared CPU cores  2 of 5 epochs, 1329 s    kNN 42.0 % (34.0), linear 46.0 % (38.6); 2026-11-27
cifar10   not measured             not measured             not measured
imagenet  not measured             not measured             not measured
folder    not measured             not measured             depends on your images
"""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl.config import defaults, presets, view
from jssl.configs import recipes


def halves(config: ml_collections.ConfigDict, size: int, **options: Any) -> ml_collections.ConfigDict:
    """Images in Lab, and two encoders of half the width."""
    config.encoder.split_brain = True
    config.encoder.convnet.width //= 2
    config.encoder.resnet.width /= 2
    return recipes.lab(config, view(size, **options))


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("split_brain", "", stride=1, decoder_dim=32))
    config.data.name = "colored_digits"
    return halves(config, 8, pad=1)


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("split_brain", "", decoder_dim=32))
    return halves(config, 32, crop_area_min=0.2, flip_prob=0.5)


def cifar10() -> ml_collections.ConfigDict:
    """The rate of Colorization's preset; no paper's recipe."""
    config = recipes.cifar10(defaults("split_brain", "", stride=2))
    recipes.adamw(config, 1e-3, 1e-3)
    return halves(config, 32, crop_area_min=0.2, flip_prob=0.5)


def imagenet() -> ml_collections.ConfigDict:
    """Sizes of the other ImageNet presets; the paper's schedule is not known here."""
    config = recipes.imagenet(defaults("split_brain"), batch_size=256, epochs=100.0)
    recipes.adamw(config, 1e-3, 1e-3)
    return halves(config, 224, crop_area_min=0.2, flip_prob=0.5)


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs, at 96 pixels."""
    return halves(recipes.folder(defaults("split_brain")), 96, crop_area_min=0.2, flip_prob=0.5)


get_config = presets(digits, small, cifar10, imagenet, folder)
