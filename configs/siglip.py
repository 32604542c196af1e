"""SigLIP: CLIP with a sigmoid for every pair by itself (Zhai et al., 2023). https://arxiv.org/abs/2303.15343

python -m jssl.main --config=configs/siglip.py            pairs of digits with captions, embedded, on a laptop
python -m jssl.main --config=configs/siglip.py:folder --config.data.name=FOLDER   your own images with captions.jsonl
python -m jssl.main --config=configs/siglip.py:large --config.data.name=FOLDER    ViT-B/16, batch 32,768

Captions and results are as configs/clip.py says. The text tower is CLIP's, causal, where the paper's is not, and
features of images are a class token's, where the paper pools by attention.

preset  hardware         time          result
digits  1 busy CPU core  30 epochs     zero-shot 92.8 % of 30 unseen pairs (chance 3.3; 2026-11-27)
folder  not measured     not measured  depends on your images
large   not measured     not measured  not measured
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets
from jssl.configs import clip


def digits() -> ml_collections.ConfigDict:
    return clip.towers(clip.digit_pairs(defaults("siglip")), 64, 2)


def folder() -> ml_collections.ConfigDict:
    return clip.photographs(defaults("siglip"))


def large() -> ml_collections.ConfigDict:
    """The paper's rates; its images are in [-1, 1]."""
    config = clip.paper(defaults("siglip"), 32768)
    config.data.mean, config.data.std = (0.5,), (0.5,)
    config.data.text.context = 64
    config.optim.update({"lr": 1e-3, "b2": 0.95, "weight_decay": 1e-4})
    config.optim.update(duration("warmup", steps=10000))
    return config


get_config = presets(digits, folder, large)
