"""AVID: images and sounds find one another in memory banks (Morgado et al., 2021). https://arxiv.org/abs/2004.12943

python -m jssl.main --config=configs/avid.py           digits and the tones of their keys, embedded, on a laptop

Data and evaluations are those of configs/audio_visual.py; its correspondence/accuracy is of a probe here.

preset  hardware      time          result
digits  not measured  not measured  not measured
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, presets
from jssl.configs import audio_visual


def digits() -> ml_collections.ConfigDict:
    config = audio_visual.tones(defaults("avid", hidden_dim=64, proj_dim=32, sound_width=8, negatives=256))
    config.total_epochs = 20.0
    return config


get_config = presets(digits)
