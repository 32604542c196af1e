"""DINO (Caron et al., 2021). https://arxiv.org/abs/2104.14294

python -m jssl.main --config=configs/dino.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/dino.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/dino.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/dino.py:imagenet    ViT-S/16, batch 1024, 2 global and 8 local crops, 100 epochs

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    1 minute       linear 96.9 %, kNN 95.6 % (2026-11-21)
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, group, presets
from jssl.configs import recipes


def dino() -> ml_collections.ConfigDict:
    """What the presets share."""
    return defaults("dino", teacher_temperature=0.07, teacher_warmup=0.3)


def frozen_prototypes(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The last layer waits for the first epoch."""
    config.optim.groups = {"prototypes": group("prototypes", epochs=1)}
    return config


def digits() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.digits(dino()))
    config.data.unlabeled.views = {"global": recipes.digit(copies=2)}
    config.method.update({"proj_hidden_dim": 256, "proj_dim": 64, "prototypes": 512, "momentum": 0.99})
    config.method.local_views = ()
    # Without batch norm, or at .07, the teacher becomes uniform in these few steps.
    config.method.update({"head_batch_norm": True, "teacher_temperature": 0.04})
    return config


def small() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.small(dino()))
    config.data.unlabeled.views = {
        "global": recipes.crop(32, "weak", (0.4, 1.0), copies=2),
        "local": recipes.crop(16, "weak", (0.1, 0.4), copies=2),
    }
    config.method.update({"proj_hidden_dim": 512, "proj_dim": 128, "prototypes": 2048, "momentum": 0.99})
    config.method.update({"head_batch_norm": True, "teacher_temperature": 0.04})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's recipe without local crops, which reaches 89.52 there after 1000 epochs."""
    config = frozen_prototypes(recipes.cifar10(dino()))
    config.data.unlabeled.views = recipes.pair(32, "asymmetric", solarize=(0.0, 0.2))
    config.method.update({"views": ("first", "second"), "local_views": ()})
    config.method.update({"prototypes": 4096, "teacher_warmup": 0.05, "momentum": 0.9995})
    config.optim.update({"lr": 0.3, "weight_decay": 1e-6})
    return config


def imagenet() -> ml_collections.ConfigDict:
    config = frozen_prototypes(recipes.imagenet(dino(), batch_size=1024, epochs=100.0))
    config.encoder.name = "vit_s"
    config.encoder.vit.drop_path = 0.1
    config.data.unlabeled.views = {
        "blurred": recipes.crop(224, "asymmetric", (0.4, 1.0), blur=1.0),
        "solarized": recipes.crop(224, "asymmetric", (0.4, 1.0), blur=0.1, solarize=0.2),
        "local": recipes.crop(96, "asymmetric", (0.05, 0.4), blur=0.5, copies=8),
    }
    config.method.views = ("blurred", "solarized")
    config.optim.update({"name": "adamw", "lr": 5e-4, "final_lr_factor": 5e-4, "clip_each_norm": 3.0})
    config.optim.update({"weight_decay": 0.04, "final_weight_decay": 0.4})
    config.optim.update(duration("warmup", percent=10))
    return config


get_config = presets(digits, small, cifar10, imagenet)
