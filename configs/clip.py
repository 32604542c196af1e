"""CLIP: images and their captions in one space (Radford et al., 2021). https://arxiv.org/abs/2103.00020

python -m jssl.main --config=configs/clip.py            pairs of digits with captions, embedded, on a laptop
python -m jssl.main --config=configs/clip.py:folder --config.data.name=FOLDER   your own images with captions.jsonl
python -m jssl.main --config=configs/clip.py:large --config.data.name=FOLDER    ViT-B/16, batch 32,768

A folder has its captions in captions.jsonl, lines such as {"file": "a/b.jpg", "caption": "two dogs"}, or in
captions.csv with the columns file and caption; several of an image take turns. zero_shot/top1 names classes that no
label taught, retrieval/... finds captions by images and images by captions.

LiT, with an image tower that stays: --config.init_from=RUN --config.method.frozen_images=True.

preset  hardware         time              result
digits  1 busy CPU core  30 epochs, 189 s  zero-shot 88.2 % of 30 unseen pairs (chance 3.3; 2026-11-27)
folder  not measured     not measured      depends on your images (flickr8k, 800 of them: docs/benchmarks.md)
large   not measured     not measured      not measured
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import recipes

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def digit_pairs(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Of 100 pairs of digits 70 train; the test set has the other 30, so only zero-shot accuracy means something."""
    config = recipes.digits(config)
    config.data.name = "digit_pairs"
    config.data.text.update({"context": 20, "vocabulary": 320})
    config.data.unlabeled.views = {"first": view(16, pad=1)}
    config.data.unlabeled.batch_size = 128
    config.total_epochs = 30.0
    config.evals.per_class = ()
    config.evals.knn.enabled = config.evals.linear.enabled = False
    config.evals.zero_shot.templates = ("{}", "the digits {}")
    return config


def towers(config: ml_collections.ConfigDict, width: int, layers: int) -> ml_collections.ConfigDict:
    """Sizes of the text tower and of the space that both share."""
    config.method.update({"proj_dim": width, "text_features": width, "text_layers": layers})
    return config


def photographs(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A folder of photographs with captions, ResNet-18 at 96 pixels; sizes for one GPU, no paper's recipe."""
    config = recipes.folder(config)
    config.data.text.update({"context": 32, "vocabulary": 4096})
    config.data.unlabeled.views = {"first": view(96, crop_area_min=0.5, flip_prob=0.5)}
    config.optim.update({"lr": 5e-4, "weight_decay": 0.1})
    return towers(config, 256, 4)


def paper(config: ml_collections.ConfigDict, batch_size: int) -> ml_collections.ConfigDict:
    """ViT-B/16 at 224 pixels and 32 epochs, with OpenCLIP's crops."""
    config = recipes.imagenet(config, batch_size=batch_size, epochs=32.0)
    config.name = config.name.replace("_imagenet", "_large")
    config.data.name = ""
    config.data.mean, config.data.std = MEAN, STD
    config.data.text.update({"context": 77, "vocabulary": 49408})
    config.data.unlabeled.views = {"first": view(224, crop_area_min=0.9, interpolation="bicubic")}
    config.encoder.name = "vit_b"
    config.optim.update({"name": "adamw", "lr_scaling": "none", "weight_decay": 0.2, "b1": 0.9, "eps": 1e-6})
    config.optim.update(duration("warmup", steps=2000))
    config.evals.update({"crop_fraction": 1.0})
    config.evals.sgd.enabled = False
    return config


def digits() -> ml_collections.ConfigDict:
    return towers(digit_pairs(defaults("clip", temperature=0.1)), 64, 2)


def folder() -> ml_collections.ConfigDict:
    return photographs(defaults("clip"))


def large() -> ml_collections.ConfigDict:
    """The paper's, section 2.5."""
    config = paper(defaults("clip"), 32768)
    config.optim.update({"lr": 5e-4, "b2": 0.98})
    return config


get_config = presets(digits, folder, large)
