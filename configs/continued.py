"""Continued pretraining: an encoder that others trained learns on from your images.

python -m jssl.main --config=continued:simclr --config.encoder.weights=FILE --config.data.name=FOLDER
python -m jssl.main --config=continued:dino --config.encoder.weights=FILE --config.data.name=FOLDER
python -m jssl.main --config=continued:moco --config.encoder.name=resnet50 --config.encoder.weights=FILE ...

FILE is of a ViT-S/16 as timm, DINO and MAE have it (docs/weights.md has the others, and their keys). Heads learn alone
for the first tenth of the run; then the encoder learns at a tenth of their rate, each block at .75 of the one above.
The closing table has the encoder as it was, 'untrained', beside what became of it. Not measured on a GPU.
"""

from __future__ import annotations

import ml_collections

from jssl.config import group, view
from jssl.configs import dino, moco, recipes, simclr
from jssl.errors import unknown

METHODS = {"simclr": simclr, "dino": dino, "moco": moco}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224


def get_config(method: str = "simclr") -> ml_collections.ConfigDict:
    """The folder preset of a method, around an encoder that is there."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    config = METHODS[method].get_config("folder")
    config.name = f"continued_{method}"
    config.encoder.name = "vit_s"
    config.data.mean, config.data.std = MEAN, STD
    for name, own in config.data.unlabeled.views.items():
        own.size = 96 if name == "local" else SIZE
    recipes.training_view(config, view(SIZE, crop_area_min=0.2, flip_prob=0.5))
    config.data.unlabeled.batch_size = 64
    config.total_epochs = 30.0
    waits = config.optim.groups.to_dict()
    config.optim.groups = {**waits, "encoder": group("encoder/", lr_factor=0.1, percent=10)}
    config.optim.update({"name": "adamw", "lr": 5e-4, "lr_scaling": "none", "layer_decay": 0.75})
    config.optim.weight_decay = 0.05
    return config
