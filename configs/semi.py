"""Data, views and budgets that the semi-supervised configs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from jssl.config import defaults, duration, view
from jssl.configs import recipes
from jssl.errors import unknown
from jssl.methods import default_settings


def term(name: str, **options: Any) -> dict[str, Any]:
    """A section of `method.terms`: a method with all of its settings, and its weight."""
    return {**default_settings(name), "weight": 1.0, "ramp": 0.0, **options}


def s4l(name: str, terms: Mapping[str, Any], **method: Any) -> ml_collections.ConfigDict:
    """A run with a labelled stream beside the unlabelled one; without terms there is only the labelled one."""
    config = defaults(name, "s4l", **{"terms": dict(terms), "average": 0.999, **method})
    config.evals.classifier.enabled = True
    config.evals.knn.enabled = config.evals.linear.enabled = False
    if not terms:
        config.data.unlabeled.batch_size = 0
        config.data.epochs_of = "labeled"
    return config


def streams(
    config: ml_collections.ConfigDict,
    labels: str,
    batch_size: int,
    ratio: int,
    weak: Callable[[], dict[str, Any]],
    strong: Callable[[], dict[str, Any]],
) -> None:
    """Labels, sizes of both streams, and the weak and strong views that the terms name."""
    terms = config.method.terms.values()
    copies = max(
        (8 if term.name == "exemplar" else 2 if term.name in TWICE else 1 for term in terms), default=1
    )
    config.data.labels = labels
    config.data.labeled.update({"batch_size": batch_size, "views": {"weak": weak()}})
    config.data.labeled.views.weak.copies = 8 if copies == 8 else 1
    if not terms:
        config.data.unlabeled.batch_size = 0
        return
    config.data.unlabeled.batch_size = ratio * batch_size
    config.data.unlabeled.views = {"weak": {**weak(), "copies": copies}}
    if any("strong" in term and term.strong == "strong" for term in terms):
        config.data.unlabeled.views.strong = strong()


TWICE = ("mean_teacher", "mixmatch", "pi_model")  # which compare copies of the weak view
STRONGLY = (
    "fixmatch",
    "flexmatch",
    "freematch",
    "softmatch",
    "uda",
)  # which compare a weak view with a strong one
APART = (*TWICE, "entropy_minimization", "pseudo_label", "vat")


def digits(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """scikit-learn's digits, two labels of each class; a minute on a laptop."""
    config = recipes.digits(config)
    config.optim.lr = 2e-3
    streams(config, "2 per class", 20, 4, weak8, strong8)
    for term in config.method.terms.values():
        term.update({"size": 1.0} if term.name == "vat" else {})  # pixels of a digit have a norm of 4
    config.total_epochs, config.total_steps = 0.0, 1000
    config.evals.per_class = ()
    return config


def weak8() -> dict[str, Any]:
    """A weak view of a digit: a small shift and some noise."""
    return view(8, translate=0.1, noise_std=0.05)


def strong8() -> dict[str, Any]:
    """A strong view of a digit: what SimCLR sees, and a square cut out."""
    return recipes.digit(cutout_size=0.3)


def small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """On top of an encoder of a `small` preset: CIFAR-10 with 400 labels of each class, minutes on two CPU cores."""
    config = recipes.small(config)
    streams(config, "400 per class", 64, 2, weak32, strong32)
    config.total_epochs, config.total_steps = 0.0, 2000
    config.method.update({"average": 0.99, "average_every": "step"} if config.method.average else {})
    return config


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The budget of the semi-supervised table: 400 labels of each class, 32 labelled and 64 other images a step."""
    config = sixteen_pixels(recipes.small(config))
    streams(config, "400 per class", 32, 2, weak16, strong16)
    for term in config.method.terms.values():
        term.update({"proj_dim": 128} if term.name == "exemplar" else {})  # of as many features
        term.update({"size": 3.0} if term.name == "vat" else {})  # a quarter of the pixels, half the distance
    config.method.update({"average": 0.99, "average_every": "step"} if config.method.average else {})
    return config


def sixteen_pixels(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """CIFAR-10 at 16 pixels, a ConvNet of 93,000 parameters, 1,000 steps: a minute or two on one CPU core."""
    config.name = config.name.replace("_small", "_tiny")
    config.encoder.convnet.update({"width": 32, "strides": (2, 2, 2)})
    for each in config.data.unlabeled.views.values():
        each.size = 16
    config.total_epochs, config.total_steps = 0.0, 1000
    return config


def cifar10(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """TorchSSL's and USB's setting: WRN-28-2, 400 labels of each class, 2^20 steps of 64 labelled images.

    As many others, or seven times as many with strong views. Older methods pass the streams one after the other.
    """
    config = recipes.cifar10(config)
    config.encoder.name = "wrn_28_2"
    config.encoder.wrn.bn_momentum = 0.999
    names = {term.name for term in config.method.terms.values()}
    streams(config, "400 per class", 64, 7 if names & {*STRONGLY} else 1, weak32, strong32)
    config.method.forward = "separate" if names and names <= {*APART} else "together"
    for each in config.data.unlabeled.views.values():
        each.randaug_num_ops = 3 if each.randaug_num_ops else 0
    config.total_epochs, config.total_steps = 0.0, 2**20
    config.optim.update(
        {"name": "sgd", "lr": 0.03, "lr_scaling": "none", "nesterov": True, "weight_decay": 5e-4}
    )
    config.optim.update({"schedule": "cosine_7_16", **duration("warmup")})
    config.evals.update(duration("every", steps=5000))
    config.checkpoint.update(duration("every", steps=5000))
    return config


def folder(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A folder of photographs with a sub-folder a class, of which data.labels shows some; ResNet-18 at 96 pixels.

    More images, without labels: data.unlabeled.add=ANOTHER_FOLDER.
    """
    config = recipes.folder(config)
    streams(config, "10%", 32, 3, weak96, strong96)
    for term in config.method.terms.values():
        term.update({"size": 10.0} if term.name == "vat" else {})
    config.data.holdout = 0.1
    config.method.update({"average": 0.99, "average_every": "step"} if config.method.average else {})
    return config


def weak96() -> dict[str, Any]:
    """A weak view of a photograph."""
    return view(96, crop_area_min=0.5, flip_prob=0.5)


def strong96() -> dict[str, Any]:
    """A strong view of a photograph: the weak one, two operators of RandAugment, and a square cut out."""
    return view(96, crop_area_min=0.5, flip_prob=0.5, randaug_num_ops=2, cutout_size=0.5)


def weak16() -> dict[str, Any]:
    """`weak32` at half the size."""
    return {**weak32(), "size": 16, "pad": 2}


def strong16() -> dict[str, Any]:
    """`strong32` at half the size."""
    return {**strong32(), "size": 16, "pad": 2}


def weak32() -> dict[str, Any]:
    """FixMatch's weak view of a 32-pixel image: mirrored, and shifted by up to four pixels."""
    return view(32, flip_prob=0.5, pad=4)


def strong32() -> dict[str, Any]:
    """FixMatch's strong view: the weak one, two operators of RandAugment, and a square cut out."""
    return view(32, flip_prob=0.5, pad=4, randaug_num_ops=2, cutout_size=0.5)


STRONG: dict[str, Callable[[], dict[str, Any]]] = {
    "digits": strong8,
    "tiny": strong16,
    "cifar10": strong32,
    "folder": strong96,
}
PRESETS = {"digits": digits, "tiny": tiny, "cifar10": cifar10, "folder": folder}


def build(
    name: str, preset: str, terms: Mapping[str, Any], presets: Mapping[str, Any] = PRESETS, **method: Any
) -> ml_collections.ConfigDict:
    """The config of a name at a scale."""
    if preset not in presets:
        raise unknown("preset", preset, presets)
    config: ml_collections.ConfigDict = presets[preset](s4l(name, terms, **method))
    return config


def staged(name: str, stages: Mapping[str, ml_collections.ConfigDict]) -> ml_collections.ConfigDict:
    """Stages in the order given; what they learn from is in each one's `init_from` and `pseudo_labels`.

    Nothing but stages has settings: --config.stages.NAME.seed=1.
    """
    for stage, own in stages.items():
        own.name = f"{name}_{stage}"
    return ml_collections.ConfigDict({"name": name, "order": tuple(stages), "stages": dict(stages)})


def supervised(scale: str, **method: Any) -> ml_collections.ConfigDict:
    """A stage that learns from labels alone, true ones and pseudo-labels."""
    return build("supervised", scale, {}, **method)
