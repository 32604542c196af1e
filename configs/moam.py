"""MOAM, "mix of all models" (Zhai et al., 2019, section 7): S4L, its own labels, and the true ones again.

python -m jssl.main --config=configs/moam.py           digits, two labels of each class
python -m jssl.main --config=configs/moam.py:tiny      CIFAR-10 with 400 labels of each class

Step 1 is S4L with rotation, VAT and entropy minimisation, its weights averaged. Step 2 goes on with step 1's
pseudo-labels for the images without a label, means over five crops and four turns. Step 3 goes on with the true labels
alone, at a two hundredth of the rate. https://arxiv.org/abs/1905.03670. ImageNet: not measured; docs/benchmarks.md has
CIFAR-10.
"""

from __future__ import annotations

import ml_collections

from jssl.configs import s4l, semi


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    one, two, three = s4l.get_config(f"all,{preset}"), semi.supervised(preset), semi.supervised(preset)
    for config, before in ((two, "step1"), (three, "step2")):
        config.init_from, config.init_parts = before, ("encoder", "classifier")
    # Turned digits are other digits: there the means over turns would be wrong labels.
    two.pseudo_labels.update({"teacher": "step1", "views": "centre" if preset == "digits" else "crops"})
    three.optim.lr *= 0.005
    return semi.staged(f"moam_{preset}", {"step1": one, "step2": two, "step3": three})
