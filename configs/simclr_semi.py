"""SimCLR v2's three steps (Chen et al., 2020): pretrain, fine-tune on few labels, distil. https://arxiv.org/abs/2006.10029

python -m jssl.main --config=configs/simclr_semi.py           digits, two labels of each class
python -m jssl.main --config=configs/simclr_semi.py:tiny      CIFAR-10 with 400 labels of each class

Fine-tuning begins at the first layer of the head, which stays. The distilled network learns from the fine-tuned one's
soft pseudo-labels of the images without labels. Results of `tiny`: docs/benchmarks.md; digits: not measured.
"""

from __future__ import annotations

import ml_collections

from jssl.configs import semi, simclr


def get_config(preset: str = "digits") -> ml_collections.ConfigDict:
    """A preset by name."""
    finetune, distil = semi.supervised(preset), semi.supervised(preset)
    pretrain = (
        semi.sixteen_pixels(simclr.get_config("small")) if preset == "tiny" else simclr.get_config(preset)
    )
    pretrain.encoder = finetune.encoder.copy_and_resolve_references()
    # A head of three layers, the first of which goes on into fine-tuning.
    pretrain.method.update({"version": 2, "head_batch_norm": True})
    for config in (finetune, distil):
        config.encoder.head_layers = (pretrain.method.proj_hidden_dim,)
    pretrain.data.labels = finetune.data.labels
    pretrain.evals.per_class = ()
    finetune.init_from = "pretrain"
    finetune.optim.lr *= 0.3
    distil.pseudo_labels.update({"teacher": "finetune", "soft": True})
    return semi.staged(
        f"simclr_semi_{preset}", {"pretrain": pretrain, "finetune": finetune, "distil": distil}
    )
