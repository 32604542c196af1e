"""Fine-tuning an encoder that was trained without labels, on few of them: first the classifier alone, then all.

python -m jssl.main --config=configs/linear_finetune.py          from runs/simclr_digits
python -m jssl.main --config=configs/linear_finetune.py:small    from runs/simclr_small
python -m jssl.main --config=configs/linear_finetune.py:cifar10 --config.init_from=runs/another_run

The encoder is that of SimCLR's preset. It waits for the first tenth of the steps
(`optim.groups.encoder.freeze_percent`; with 100 only the classifier and the statistics of batch norm move) and then
learns at a tenth of the rate, lower layers at less with --config.optim.layer_decay=.75. --config.data.labels=1% takes
other labels. Not measured.
"""

from __future__ import annotations

import ml_collections

from jssl.config import group
from jssl.configs import semi, simclr


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    presets = {"digits": semi.digits, "small": semi.small, "cifar10": semi.cifar10}
    config = semi.build("linear_finetune", preset, {}, presets)
    config.encoder = simclr.get_config(preset).encoder
    config.init_from = f"runs/simclr_{preset}"
    config.optim.groups = {"encoder": group("encoder/", lr_factor=0.1, percent=10)}
    return config
