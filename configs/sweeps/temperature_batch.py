"""Temperature beside batch size in SimCLR (Chen et al., 2020), sections 5.1 and 5.2. https://arxiv.org/abs/2002.05709

python -m jssl.sweep --sweep=temperature_batch --out=runs/temp               digits, embedded, on a laptop
python -m jssl.sweep --sweep=temperature_batch:small --out=runs/temp_small   CIFAR-10 (TFDS), a small ConvNet, CPUs

A larger batch has more negatives, a lower temperature looks at the nearest of them. The learning rate grows with the
root of the batch. All runs see the same number of images, so larger batches take fewer steps.

preset   hardware       time           result
digits   not measured   not measured   not measured
small    not measured   not measured   not measured
"""

from __future__ import annotations

from collections.abc import Sequence

from jssl.config import presets
from jssl.search_space import Axis, Changes, Sweep, shown

TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0)


def build(config: str, batches: Sequence[int], base: int, changes: Changes) -> Sweep:
    """The grid; the rate of the config is that of the batch `base`."""
    temperatures = {shown(value): {"method.temperature": value} for value in TEMPERATURES}
    sizes = {str(size): {"data.unlabeled.batch_size": size} for size in batches}
    common = {"optim.lr_scaling": "sqrt", "optim.lr_base_batch_size": base, "evals.every_percent": 45.0}
    common |= {"log.pictures": False, "evals.baselines": False, "evals.linear.enabled": False, **changes}
    return Sweep((Axis("temperature", temperatures), Axis("batch", sizes)), config, common)


def digits() -> Sweep:
    """15 runs of 20 epochs."""
    return build("simclr:digits", (64, 128, 256), 256, {"total_epochs": 20.0, "evals.per_class": ()})


def small() -> Sweep:
    """15 runs of the `small` preset's five epochs."""
    return build("simclr:small", (64, 128, 256), 128, {})


get_sweep = presets(digits, small)
