"""SimCLR (Chen et al., 2020). https://arxiv.org/abs/2002.05709

python -m jssl.main --config=configs/simclr.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/simclr.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/simclr.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/simclr.py:imagenet    ResNet-50, batch 4096, LARS: the paper's recipe
python -m jssl.main --config=configs/simclr.py:folder --config.data.name=FOLDER   your own images
python -m jssl.main --config=configs/simclr.py:tones       tones of a telephone's keys, embedded
python -m jssl.main --config=configs/simclr.py:speech      spoken digits (TFDS `fsdd`), a fifth of them to test
python -m jssl.main --config=configs/simclr.py:speech --config.data.name=FOLDER   your own .wav, .flac, .ogg, .mp3

preset    hardware       time           result (top-1, docs/benchmarks.md has the baselines)
digits    2 CPU cores    1 minute       linear 99.7 %, kNN 98.6 % with k by leave-one-out (2026-11-27)
small     1 CPU core     3 epochs: 4 minutes   the table of methods in docs/benchmarks.md
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
tones     1 shared core  83 CPU s       kNN 99.7 %, linear 100 % (2026-11-27)
speech    1 shared core  4 CPU minutes  python examples/speech.py, voices never heard: kNN 62.0 %, linear 78.3 %
                                        (raw spectrograms 49.6 and 77.5; 2026-11-27)
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import recipes


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(defaults("simclr"))
    config.method.proj_hidden_dim = 256
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(defaults("simclr"))
    config.method.update({"proj_hidden_dim": 512, "temperature": 0.2})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe, which reaches 90.74 there after 1000 epochs."""
    config = recipes.cifar10(defaults("simclr"))
    config.method.update({"proj_dim": 256, "temperature": 0.2, "head_batch_norm": False})
    config.data.unlabeled.views = recipes.pair(32, "strong")
    config.optim.update({"lr": 0.4, "weight_decay": 1e-5})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """Appendix B.9 and section 2.2 of the paper: batch 4096, LARS, 100 epochs."""
    config = recipes.imagenet(defaults("simclr"), batch_size=4096, epochs=100.0)
    recipes.probe(config, 0.1, 4096, 90, 1e-6, "bicubic", nesterov=True)
    config.encoder.resnet.zero_init_residual = True
    config.data.mean, config.data.std = (0.0,), (1.0,)  # as the official code
    config.data.unlabeled.views = recipes.pair(224, "strong", blur=(0.5, 0.5))
    config.optim.update({"name": "lars", "lr": 0.3, "weight_decay": 1e-6})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    config = recipes.folder(defaults("simclr"))
    config.method.update({"version": 2, "temperature": 0.2})
    return config


def speech() -> ml_collections.ConfigDict:
    config = recipes.speech(defaults("simclr"))
    config.method.proj_hidden_dim = 256
    return config


def tones() -> ml_collections.ConfigDict:
    config = recipes.tones(defaults("simclr"))
    config.method.proj_hidden_dim = 256
    return config


get_config = presets(digits, small, cifar10, imagenet, folder, speech, tones)
