"""Which augmentations matter, alone and in pairs: figure 5 of SimCLR (Chen et al., 2020). https://arxiv.org/abs/2002.05709

python -m jssl.sweep --sweep=augmentations --out=runs/augmentations               digits, embedded, on a laptop
python -m jssl.sweep --sweep=augmentations:small --out=runs/augmentations_small   CIFAR-10 (TFDS), a small ConvNet, CPUs

Seven operators, applied to the second view alone; the first is the image itself. Alone they are the diagonal of the
heat map, the pairs are off it, and its last column is the mean of a row. heat_map.png is the figure, by kNN on
held-out images.

As in the paper: one branch only, operators alone and in pairs, the mean of each row.
Otherwise: images of one size need no common crop; our operators have one order, crop first and cutout last, so that a
pair is one run and the map is symmetric (28 runs instead of 49); rotation is by any angle, not by quarters of a turn;
the paper's map is linear accuracy of ResNet-50 on ImageNet.

preset   hardware             time                                     result
digits   2 shared CPU cores   21 CPU seconds a run (color alone)       five operators, 10 epochs: 15 runs between 95.1
                                                                       and 97.9 %, one held-out image being .7: digits
                                                                       tell hardly any of them apart (2026-11-27)
small    2 shared CPU cores   2.2 CPU minutes for 1 of the 5 epochs    not measured
                              of a run (color alone, 2026-11-27); by
                              that all 28 take about 4 CPU hours
"""

from __future__ import annotations

from jssl.config import presets
from jssl.search_space import Axis, Changes, Sweep

VIEW = "data.unlabeled.views"
# What each turns on in the second view.
OPERATORS: dict[str, Changes] = {
    "crop": {"crop_area_min": 0.08},
    "cutout": {"cutout_size": 0.5},
    "color": {
        "jitter_prob": 0.8,
        "brightness": 0.8,
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.2,
        "gray_prob": 0.2,
    },
    "sobel": {"sobel_prob": 1.0},
    "noise": {"noise_std": 0.1},
    "blur": {"blur_prob": 1.0},
    "rotate": {"degrees": 180.0},
}
OFF: Changes = {
    "crop_area_min": 1.0,
    "flip_prob": 0.0,
    "degrees": 0.0,
    "translate": 0.0,
    "scale_min": 1.0,
    "scale_max": 1.0,
    "shear": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "gray_prob": 0.0,
    "noise_std": 0.0,
}


def of_second_view(fields: Changes) -> Changes:
    """Keys of the view that is changed."""
    return {f"{VIEW}.second.{field}": value for field, value in fields.items()}


def build(config: str, changes: Changes, **stronger: Changes) -> Sweep:
    """The grid over a config of SimCLR, in which some operators are other ones."""
    choices = {
        name: of_second_view({**fields, **stronger.get(name, {})}) for name, fields in OPERATORS.items()
    }
    off = {f"{VIEW}.{view}.{field}": value for view in ("first", "second") for field, value in OFF.items()}
    common = {**off, "evals.every_percent": 45.0, "log.pictures": False, "evals.baselines": False, **changes}
    return Sweep((Axis("first", choices), Axis("second", choices)), config, common, unordered=True)


def digits() -> Sweep:
    """Digits have no colours, and a turned 6 is a 9: they turn by up to 30 degrees."""
    grey = {"saturation": 0.0, "hue": 0.0, "gray_prob": 0.0}
    changes = {"total_epochs": 20.0, "evals.per_class": (), "evals.linear.enabled": False}
    return build("simclr:digits", changes, color=grey, rotate={"degrees": 30.0}, blur={"blur_sigma_max": 1.0})


def small() -> Sweep:
    """The budget of the `small` preset of SimCLR."""
    return build("simclr:small", {"evals.linear.enabled": False})


get_sweep = presets(digits, small)
