"""AVID: images and sounds find one another in memory banks (Morgado et al., 2021). https://arxiv.org/abs/2004.12943

python -m jssl.main --config=configs/avid.py           digits and the tones of their keys, embedded, on a laptop

Data and evaluations are those of configs/audio_visual.py; its correspondence/accuracy is of a probe here,
which learns at a rate of its own and teaches the towers nothing.

preset  hardware            time              result
digits  2 shared CPU cores  30 epochs, 5 min  R@1 94.7 % and 96.4 %, 91.8 % of pairs told (2026-11-27)
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, group, presets
from jssl.configs import audio_visual


def digits() -> ml_collections.ConfigDict:
    config = audio_visual.tones(
        defaults("avid", hidden_dim=64, proj_dim=32, sound_width=8, negatives=256, temperature=0.1)
    )
    config.optim.groups = {"probe": group("pair_classifier", lr_factor=30.0)}
    config.total_epochs = 30.0
    return config


get_config = presets(digits)
