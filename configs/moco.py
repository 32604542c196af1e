"""MoCo v1 and v2 (He et al., 2020; Chen et al., 2020). https://arxiv.org/abs/1911.05722

python -m jssl.main --config=configs/moco.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/moco.py:small       CIFAR-10 (TFDS), a small ConvNet, CPUs
python -m jssl.main --config=configs/moco.py:cifar10     ResNet-18 on CIFAR-10 (TFDS)
python -m jssl.main --config=configs/moco.py:imagenet    ResNet-50, batch 256: MoCo v2's recipe
python -m jssl.main --config=configs/moco.py:folder --config.data.name=FOLDER   your own images

The three mechanisms of the paper's figure 2: --config.method.mechanism=queue, =memory_bank, =end_to_end

preset    hardware       time           result (docs/benchmarks.md has the table of methods)
digits    2 CPU cores    not measured   not measured
small     1 CPU core     3 epochs: 4 to 8 minutes   see there
cifar10   not measured   not measured   not measured
imagenet  not measured   not measured   not measured
folder    not measured   not measured   depends on your images
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, presets
from jssl.configs import recipes


def moco() -> ml_collections.ConfigDict:
    """What the presets share."""
    return defaults("moco", version=2, temperature=0.2)


def digits() -> ml_collections.ConfigDict:
    config = recipes.digits(moco())
    config.encoder.convnet.batch_norm_groups = 8
    config.method.update({"proj_hidden_dim": 256, "queue_size": 1024, "momentum": 0.99, "momentum_end": 0.99})
    return config


def small() -> ml_collections.ConfigDict:
    config = recipes.small(moco())
    config.encoder.convnet.batch_norm_groups = 8
    config.method.update({"proj_hidden_dim": 512, "queue_size": 4096, "momentum": 0.99, "momentum_end": 0.99})
    return config


def cifar10() -> ml_collections.ConfigDict:
    """solo-learn's MoCo v2+ on one GPU, without shuffling, which reaches 92.94 there after 1000 epochs."""
    config = recipes.cifar10(moco())
    config.method.update({"proj_dim": 256, "queue_size": 32768, "momentum": 0.99, "symmetric": True})
    config.data.unlabeled.views = recipes.pair(32, "weak")
    config.optim.update({"name": "sgd", "lr": 0.3, "weight_decay": 1e-4, "decay_all": True})
    return config


def imagenet() -> ml_collections.ConfigDict:
    """The official code with its flags for v2; version=1 and temperature=.07 give the head of v1, not its views."""
    config = recipes.imagenet(moco(), batch_size=256, epochs=200.0)
    recipes.probe(config, 30.0, 256, 100, schedule="step")
    config.encoder.resnet.batch_norm_groups = 8
    config.data.unlabeled.views = recipes.pair(
        224, "weak", (0.2, 1.0), blur=(0.5, 0.5), interpolation="bilinear"
    )
    config.optim.update({"name": "sgd", "lr": 0.03, "weight_decay": 1e-4, "decay_all": True})
    return config


def folder() -> ml_collections.ConfigDict:
    """A folder of photographs."""
    config = recipes.folder(moco())
    config.encoder.resnet.batch_norm_groups = 8
    config.method.update({"queue_size": 4096, "momentum": 0.99, "momentum_end": 0.99})
    return config


get_config = presets(digits, small, cifar10, imagenet, folder)
