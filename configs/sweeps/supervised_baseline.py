"""A supervised baseline that is hard to beat: S4L (Zhai et al., 2019), section 4.1. https://arxiv.org/abs/1905.03670

python -m jssl.sweep --sweep=supervised_baseline --out=runs/baseline               digits with two labels of each class
python -m jssl.sweep --sweep=supervised_baseline:small --out=runs/baseline_small   CIFAR-10 (TFDS) at 16 pixels, CPUs
python -m jssl.sweep --sweep=supervised_baseline:imagenet --out=gs://... --print=xpk   10 % of ImageNet's labels

Weight decay, learning rate, length and architecture, all combinations: the axes are the paper's, the values are ours,
around those of its best baseline (configs/supervised.py:imagenet). The winner is the folder for
--config.evals.supervised_baseline of whatever should beat it; --per_class=1,5 tells whether a tiny validation set would
have found it, too (section 7).

preset     hardware       time           result
digits     not measured   not measured   not measured
small      not measured   not measured   not measured
imagenet   not measured   not measured   not measured
"""

from __future__ import annotations

from collections.abc import Sequence

from jssl.config import presets
from jssl.search_space import Axis, Changes, Sweep, shown


def axis(label: str, key: str, values: Sequence[float]) -> Axis:
    """One key and its values."""
    return Axis(label, {shown(value): {key: value} for value in values})


def build(config: str, axes: Sequence[Axis], changes: Changes) -> Sweep:
    """The grid, evaluated on held-out images at 45 and 90 % of every run."""
    return Sweep(tuple(axes), config, {"evals.every_percent": 45.0, "log.pictures": False, **changes})


def convnets(*widths: int) -> Axis:
    """Architectures for CPUs: the small ConvNet, narrower and wider."""
    return Axis("width", {str(width): {"encoder.convnet.width": width} for width in widths})


def digits() -> Sweep:
    """16 runs."""
    axes = [
        axis("decay", "optim.weight_decay", (1e-4, 1e-2)),
        axis("lr", "optim.lr", (5e-4, 2e-3)),
        axis("steps", "total_steps", (300, 1000)),
        convnets(16, 32),
    ]
    return build("supervised:digits", axes, {})


def small() -> Sweep:
    """16 runs."""
    axes = [
        axis("decay", "optim.weight_decay", (1e-4, 1e-2)),
        axis("lr", "optim.lr", (5e-4, 2e-3)),
        axis("steps", "total_steps", (500, 2000)),
        convnets(16, 32),
    ]
    return build("supervised:tiny", axes, {})


def imagenet() -> Sweep:
    """108 runs; evaluations every ten epochs of the labelled images, as in the preset."""
    names = ("resnet18", "resnet34", "resnet50")
    axes = [
        axis("decay", "optim.weight_decay", (3e-4, 1e-3, 3e-3, 1e-2)),
        axis("lr", "optim.lr", (0.03, 0.1, 0.3)),
        axis("epochs", "total_epochs", (100.0, 200.0, 500.0)),
        Axis("encoder", {name: {"encoder.name": name} for name in names}),
    ]
    return build("supervised:imagenet", axes, {"evals.every_percent": 0.0})


get_sweep = presets(digits, small, imagenet)
