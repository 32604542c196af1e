"""Fine-tuning an encoder that was trained without labels, on few of them: first the classifier alone, then all.

python -m jssl.main --config=configs/linear_finetune.py --config.init_from=runs/simclr_digits
python -m jssl.main --config=configs/linear_finetune.py:small --config.init_from=runs/simclr_small

The encoder waits for the first tenth of the steps (`optim.groups.encoder.freeze_percent`; 100 is a linear classifier)
and then learns at a tenth of the rate. Layers may have rates of their own: one group each, by a pattern of their path,
in a config of yours. --config.data.labels=1% takes other labels. Not measured.
"""

from __future__ import annotations

import ml_collections

from configs import common, semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    config = semi.build("linear_finetune", preset, {}, {**semi.PRESETS, "small": semi.small})
    config.optim.groups = {"encoder": common.group("encoder/", lr_factor=0.1, percent=10)}
    return config
