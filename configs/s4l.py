"""S4L (Zhai et al., 2019): a supervised loss and self-supervised ones over one encoder. https://arxiv.org/abs/1905.03670

python -m jssl.main --config=configs/s4l.py:rotation             digits with two labels of each class, on a laptop
python -m jssl.main --config=configs/s4l.py:exemplar,tiny        CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.main --config=configs/s4l.py:vat_entmin,cifar10   WRN-28-2 on CIFAR-10 (TFDS), 400 labels of each class
python -m jssl.main --config=configs/s4l.py:all,imagenet         ResNet-50v2 on 10 % of ImageNet's labels

Before the comma: rotation, exemplar, jigsaw, context, vat, vat_entmin, all, or another method of this library (simclr,
byol, dino, ...).

Code and paper disagree; the paper's value is in the preset, the code's can be given:
  learning rate of S4L-Rotation    .1, code .03     --config.optim.lr=0.03
  weight of the rotation in `all`  .7, code .4      --config.method.terms.rotation.weight=0.4
  warm-up of the baseline on 1 %   10 epochs, code 5   (see configs/supervised.py)

preset    hardware       time             result
tiny      1 CPU core     1 to 5 minutes   docs/benchmarks.md, "Few labels"
digits    1 CPU core     2 to 6 minutes   docs/benchmarks.md, "Few labels: digits" (2026-11-21)
others    not measured   not measured     not measured
"""

from __future__ import annotations

import importlib
from typing import Any

import ml_collections

from jssl.config import duration, view
from jssl.configs import recipes, semi
from jssl.errors import unknown
from jssl.methods import METHODS, SemiSupervised, ViewTask

# Tiles for views of 8, 16, 32 and 224 pixels.
JIGSAW: dict[str, dict[str, Any]] = {
    "digits": {"grid": 2, "permutations": 24, "tile": 3, "jitter": 0},
    "tiny": {"grid": 2, "permutations": 24, "tile": 6, "jitter": 1},
    "cifar10": {"grid": 2, "permutations": 24, "tile": 12, "jitter": 2},
    "imagenet": {"tile": 64, "jitter": 5},
}
CONTEXT: dict[str, dict[str, Any]] = {
    "digits": {"tile": 2, "jitter": 0, "colour": ""},
    "tiny": {"tile": 3, "jitter": 1, "colour": ""},
    "cifar10": {"tile": 8, "jitter": 1, "colour": ""},
    "imagenet": {"tile": 48, "jitter": 7},
}
VAT = {"view": "weak", "size": 6.0}


def get_config(preset: str = "rotation") -> ml_collections.ConfigDict:
    """A preset by name: TERMS, or TERMS,SCALE."""
    name, _, scale = preset.partition(",")
    scale = scale or "digits"
    on_cifar = scale in ("tiny", "cifar10")  # where weights are Oliver et al.'s (2018), elsewhere the paper's
    vat = {**VAT, "weight": 0.3 if on_cifar else 0.5}
    mild = on_cifar or scale == "digits"  # where the paper's weights of all terms together end in one class
    variants = {
        "rotation": {"rotation": semi.term("rotation", weight=0.1 if scale == "digits" else 1.0)},
        "exemplar": {"exemplar": semi.term("exemplar")},
        "jigsaw": {"jigsaw": semi.term("jigsaw", **JIGSAW.get(scale, {}))},
        "context": {"context": semi.term("context", **CONTEXT.get(scale, {}))},
        "vat": {"vat": semi.term("vat", **vat)},
        "vat_entmin": {
            "vat": semi.term("vat", **vat),
            "entropy_minimization": semi.term("entropy_minimization", weight=0.06 if on_cifar else 1.0),
        },
        "all": {
            "rotation": semi.term("rotation", weight=0.1 if scale == "digits" else 0.7),
            "vat": semi.term("vat", **{**VAT, "weight": 0.1 if mild else 0.3}),
            "entropy_minimization": semi.term("entropy_minimization", weight=0.02 if mild else 0.3),
        },
    }
    whole = {
        other
        for other, kind in METHODS.items()
        if not issubclass(kind, ViewTask | SemiSupervised) and not hasattr(kind, "reassign_every")
    }
    if name in whole:
        return of_method(name, scale)
    if name not in variants:
        raise unknown("preset", name, {*variants, *whole})
    options: dict[str, Any] = {}
    if name == "all":
        options |= {"supervised_weight": 0.3, "average": 0.5, "average_every": "epoch"}
    if scale == "digits":  # a turned 6 is a 9: its label is no longer that
        options["class_on_copies"] = "rotation" not in variants[name]
    return semi.build(f"s4l_{name}", scale, variants[name], {**semi.PRESETS, "imagenet": imagenet}, **options)


def of_method(name: str, scale: str) -> ml_collections.ConfigDict:
    """S4L with a method of this library as its term; its views are added to the weak one."""
    if METHODS[name].__module__.startswith("jssl.methods.generative."):
        return of_generative(name, scale)
    options: dict[str, Any] = {
        "views": ("first",) if name in ("instdisc", "exemplar_cnn") else ("first", "second")
    }
    options |= {"local_views": ()} if name in ("dino", "swav") else {}
    options |= {"queue_size": 1280} if scale == "digits" and name in ("moco", "nnclr") else {}  # 16 batches
    config = semi.build(f"s4l_{name}", scale, {name: semi.term(name, **options)})
    del config.data.unlabeled.views["weak"]
    pair = (
        {"first": recipes.digit(), "second": recipes.digit()}
        if scale == "digits"
        else recipes.pair(32, "weak")
    )
    config.data.unlabeled.views.update({view: pair[view] for view in options["views"]})
    return semi.sixteen_pixels(config) if scale == "tiny" else config


def of_generative(name: str, scale: str) -> ml_collections.ConfigDict:
    """S4L with a generative method as its term: encoder, data, view and settings are those of its own preset."""
    preset = scale if scale in ("digits", "cifar10") else "small"
    own = importlib.import_module(f"jssl.configs.{name}").get_config(preset)
    settings = {key: value for key, value in own.method.items() if key != "name"}
    config = semi.build(f"s4l_{name}", scale, {name: semi.term(name, **settings)})
    config.encoder = own.encoder
    config.data.update({key: own.data[key] for key in ("name", "mean", "std", "color_space")})
    config.data.unlabeled.views = own.data.unlabeled.views
    config.data.labeled.views.weak = own.data.unlabeled.views.first
    return semi.sixteen_pixels(config) if scale == "tiny" else config


def imagenet(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The paper's settings and the code's: ResNet-50v2, 10 % of labels, 200 epochs of them, pixels in [-1, 1].

    `all` is MOAM's step 1, 4 times wide.
    """
    name, rotation = config.name, "rotation" in config.method.terms
    config = recipes.imagenet(config, batch_size=256, epochs=200.0)
    exemplar, mix, vat = name == "s4l_exemplar", name == "s4l_all", name.startswith("s4l_vat")
    view = hsv if exemplar else inception
    semi.streams(config, "128 per class", 512 if exemplar else 128 if mix else 256, 1, view, view)
    config.data.mean, config.data.std = (0.5,), (0.5,)
    config.data.epochs_of = "labeled"
    config.encoder.resnet.version = 2
    config.encoder.resnet.bn_momentum = 0.99
    for term in config.method.terms.values():
        if term.name in ("vat", "entropy_minimization"):
            term.update({"turned": True} if mix else {"on_labeled": True})
        if term.name == "vat":
            term.update({"size": 32.0 if mix else 40.0, "reverse": True})
    config.method.rotate = rotation
    config.method.average = config.method.average if mix else 0.0
    config.encoder.resnet.width = 4.0 if mix else 1.0
    config.optim.update({"name": "sgd", "lr": 0.03 if vat else 0.1, "lr_scaling": "none"})
    config.optim.update({"weight_decay": 2e-4 if mix else 1e-3, "schedule": "step"})
    config.optim.step_at = (0.5, 0.75, 0.95) if mix else (0.7, 0.8, 0.9)
    config.optim.update(duration("warmup", epochs=10 if exemplar or mix else 5))
    config.evals.sgd.enabled = False
    return config


def inception(**options: Any) -> dict[str, Any]:
    """The code's view: a random crop, whose least area its sampler makes a tenth, and a flip."""
    return view(224, crop_area_min=0.1, flip_prob=0.5, interpolation="bilinear", **options)


def hsv(**options: Any) -> dict[str, Any]:
    """The same with S4L's colour jitter in HSV, for exemplar and the baseline on 1 % of labels."""
    return inception(hsv_prob=1.0, **options)
