"""DINO (Caron et al., 2021). https://arxiv.org/abs/2104.14294

python -m jssl.main --config=configs/dino.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/dino.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/dino.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/dino.py:imagenet    ViT-S/16, batch 512, 2 global and 8 local crops, 100 epochs
python -m jssl.main --config=configs/dino.py:folder --config.data.name=FOLDER   your own images

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    1 minute       linear 96.9 %, kNN 95.6 % with k = 20 (2026-11-21)
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, group, presets
from jssl.configs import recipes


def dino() -> ml_collections.ConfigDict:
    """What the small presets share."""
    return defaults("dino", teacher_temperature=0.04, head_batch_norm=True, momentum=0.99)


def frozen_prototypes(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The last layer waits for the first epoch."""
    config.optim.groups = {"prototypes": group("prototypes", epochs=1)}
    return config


def digits() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.digits(dino()))
    config.data.unlabeled.views = {"global": recipes.digit(copies=2)}
    # Without batch norm, or at a temperature of .07, the teacher becomes uniform in these few steps.
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64, "prototypes": 512, "local_views": ()})
    return config


def small() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.small(dino()))
    config.data.unlabeled.views = {
        "global": recipes.crop(32, "weak", (0.4, 1.0), copies=2),
        "local": recipes.crop(16, "weak", (0.1, 0.4), copies=2),
    }
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 128, "prototypes": 2048})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe without local crops, which reaches 89.52 there after 1000 epochs."""
    config = frozen_prototypes(recipes.cifar10(defaults("dino", head_init="normal", momentum=0.9995)))
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", solarize=(0.0, 0.2))
    config.method.update({"views": ("first", "second"), "local_views": (), "prototypes": 4096})
    config.method.update({"teacher_temperature": 0.07, "teacher_warmup_epochs": 50.0})
    config.optim.update({"lr": 0.3, "weight_decay": 1e-6})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official code's run of 100 epochs; longer ones go to a temperature of .07 in 30 epochs."""
    config = recipes.imagenet(defaults("dino", head_init="normal"), batch_size=512, epochs=100.0)
    config = frozen_prototypes(config)
    recipes.probe(config, 0.001, 1024, 100)
    config.encoder.name = "vit_s"
    config.encoder.vit.update({"drop_path": 0.1, "weight_init": "normal"})
    config.evals.knn.update({"k": 20, "temperature": 0.07})
    config.data.unlabeled.views = {
        "blurred": recipes.crop(224, "asymmetric", (0.4, 1.0), blur=1.0),
        "solarized": recipes.crop(224, "asymmetric", (0.4, 1.0), blur=0.1, solarize=0.2),
        "local": recipes.crop(96, "asymmetric", (0.05, 0.4), blur=0.5, copies=8),
    }
    config.method.views = ("blurred", "solarized")
    config.optim.update({"name": "adamw", "lr": 5e-4, "final_lr_factor": 1e-3, "clip_each_norm": 3.0})
    config.optim.update({"weight_decay": 0.04, "final_weight_decay": 0.4})
    config.optim.update(duration("warmup", epochs=10))
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = frozen_prototypes(recipes.multicrop(dino()))
    config.method.update({"proj_hidden_dim": 1024, "prototypes": 4096})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
