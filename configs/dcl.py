"""DCL, decoupled contrastive learning (Yeh et al., 2022): SimCLR's presets with its loss. https://arxiv.org/abs/2110.06848

python -m jssl.main --config=configs/dcl.py             digits, embedded, on a laptop
python -m jssl.main --config=configs/dcl.py:cifar10     as simclr.py: small, cifar10, imagenet, folder

preset    hardware       time           result
all       not measured   not measured   not measured
"""

from __future__ import annotations

import ml_collections

from jssl.configs import simclr


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    config = simclr.get_config(preset)
    config.name = config.name.replace("simclr", "dcl")
    config.method.name = "dcl"
    return config
