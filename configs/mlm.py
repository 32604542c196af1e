"""Masked language modelling of captions (BERT; Devlin et al., 2019). https://arxiv.org/abs/1810.04805

python -m jssl.main --config=configs/mlm.py             captions of pairs of digits, embedded, on a laptop
python -m jssl.main --config=configs/mlm.py:folder --config.data.name=FOLDER   captions.jsonl of your own images

The captions are those of configs/clip.py, beside images that are opened and not looked at; masked_tokens/accuracy is of
hidden tokens of held-out captions. jssl.load(RUN).text(["two dogs"]) gives features, the mean of those of the tokens.

CLIP with this text tower, of the same text_features, text_layers and text_causal, and the same tokens:
python -m jssl.main --config=configs/clip.py --config.init_from=RUN --config.init_parts="('text',)"
  --config.data.text.tokenizer=RUN/tokenizer.json --config.method.text_causal=False

preset  hardware            time             result
digits  2 shared CPU cores  15 epochs, 2 min 54.0 % of hidden tokens told, the commonest 9.0 (2026-11-27)
folder  not measured        not measured     depends on your captions
"""

from __future__ import annotations

import ml_collections

from jssl.config import defaults, duration, presets, view
from jssl.configs import clip, recipes


def text_alone(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Nothing is made of images, and nothing measured of the encoder that does not learn from them."""
    config.encoder.name = "convnet"
    config.encoder.convnet.update({"width": 4, "strides": (2,)})
    config.data.unlabeled.views = {"first": view(16)}
    for name in ("health", "knn", "linear", "sgd", "zero_shot", "retrieval"):
        config.evals[name].enabled = False
    config.evals.per_class, config.evals.online = (), False
    config.log.pictures = False
    return config


def digits() -> ml_collections.ConfigDict:
    """Scored on held-out captions of the 70 pairs: of the 30 others it learns that they do not occur."""
    config = clip.digit_pairs(defaults("mlm", text_features=64, text_layers=2))
    config.data.test = ""
    config.optim.lr = 3e-3
    config.total_epochs = 15.0
    return text_alone(config)


def folder() -> ml_collections.ConfigDict:
    """Sizes for one GPU, those of configs/clip.py:folder; no paper's recipe."""
    config = recipes.folder(defaults("mlm", text_features=256, text_layers=4))
    config.data.text.update({"context": 32, "vocabulary": 4096})
    config.optim.update({"name": "adamw", "lr": 5e-4, "lr_scaling": "none", "weight_decay": 0.01})
    config.optim.update(duration("warmup", percent=5))
    return text_alone(config)


get_config = presets(digits, folder)
