"""What all configs share. Every key is declared here or in the config itself; code never invents one."""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl import evaluation, methods
from jssl.data.augment.view_spec import ViewSpec
from jssl.errors import unknown
from jssl.models import encoder_defaults


def duration(name: str, **given: float) -> dict[str, float | int]:
    """The keys NAME_epochs, NAME_steps, NAME_percent, NAME_examples; 0 means not given, two at once is an error."""
    return {
        f"{name}_epochs": float(given.get("epochs", 0.0)),
        f"{name}_steps": int(given.get("steps", 0)),
        f"{name}_examples": int(given.get("examples", 0)),
        f"{name}_percent": float(given.get("percent", 0.0)),
    }


def view(size: int, **options: Any) -> dict[str, Any]:
    """All fields of a view with their defaults (everything off), and those given."""
    import dataclasses

    return dataclasses.asdict(ViewSpec(size=size, **options))


def group(pattern: str, lr_factor: float = 1.0, constant_lr: bool = False, **freeze: float) -> dict[str, Any]:
    """Parameters whose path begins with a regular expression: their part of the rate, and until when they wait."""
    return {
        "pattern": pattern,
        "lr_factor": lr_factor,
        "constant_lr": constant_lr,
        **duration("freeze", **freeze),
    }


def shrink(config: ml_collections.ConfigDict) -> None:
    """Leaves out what takes long to compile, so that a run takes seconds: to see that it runs, not how well."""
    config.encoder.convnet.strides = (2, 2)
    for stream in (config.data.unlabeled, config.data.labeled):
        for view in stream.views.values():
            view.update({"affine_prob": 0.0, "contrast": 0.0, "randaug_num_ops": 0})
    config.evals.linear.enabled = False


def choose(presets: dict[str, Any], name: str) -> ml_collections.ConfigDict:
    """Calls the preset of a name; an unknown one is an error that lists them."""
    if name not in presets:
        raise unknown("preset", name, presets)
    return presets[name]()


def base(name: str, method: str = "", **settings: Any) -> ml_collections.ConfigDict:
    """The defaults of everything, with some settings of the method (that of the same name if none is given)."""
    config = ml_collections.ConfigDict()
    config.name = name
    config.seed = 0
    config.dtype = "auto"  # of convolutions and matrix products: bfloat16 on accelerators, float32 on CPUs
    config.update(duration("total"))

    config.init_from = ""  # folder of a run (or an earlier stage) whose weights this one begins with
    config.init_parts = ("encoder",)  # which of its networks: encoder, classifier
    config.order = ()  # stages by name, one after the other, each a whole config; none: this is the one run
    config.stages = {}
    config.pseudo_labels = {  # of a stage: labels that an earlier one pseudo-labels for it
        "teacher": "",  # that stage
        "rule": "all",  # all, threshold, top_k_per_class, confidence_weighted
        "threshold": 0.95,
        "per_class": 100,
        "soft": False,  # the pseudo-label is a distribution, not a class
        "balance": False,  # rare classes are repeated
        "views": "centre",  # or crops: the mean over five crops and four turns
    }
    config.outliers = {  # of a stage: images that an earlier one takes out of its unlabelled stream
        "teacher": "",  # that stage
        "score": "energy",  # or max_softmax
        "inlier_quantile": 0.95,  # part of the held-out images that would be kept
    }

    config.data = {
        "name": "",  # digits, a folder, an .npz, an .npy, or a TFDS name
        "data_dir": "",  # of TFDS; empty: TFDS_DATA_DIR
        "train": "train",
        "test": "test",  # empty: none
        "holdout": 0.1,  # part of train kept for choices and for curves during training
        "labels": "all",  # whose labels may be used: all, 10%, '25 per class', none
        "split_seed": 0,
        # a .npz of labels that a model guessed, which the labelled stream has beside the true ones
        "pseudo_labels": "",
        # Of the channels, in [0, 1]: one number, one a channel, or ("estimate",): from the training images, once;
        # --config.data.mean=estimate on a command line.
        "mean": (0.0,),
        "std": (1.0,),
        "cache_gib": 4.0,  # sources of one image size and at most this large are decoded into memory
        "max_bad_fraction": 0.01,
        "workers": 0,  # processes that decode; 0: threads
        "threads": 2,
        # Two streams make a batch; one of batch_size 0 is not there. Views by name, in the names' order.
        "unlabeled": {
            "batch_size": 256,
            "crop": "auto",
            "views": {},
            "with_labeled": True,  # holds the images with labels, too
            "add": "",  # another data set, whose images are added without labels
            "inliers": "",  # a .npz of positions that are no outliers
            "imbalance_ratio": 1.0,  # how many times more images the first class has than the last
            "corruption": "",  # of its pixels: gaussian_noise, jpeg, ... (jssl/data/shifts.py)
            "severity": 3,  # of the corruption, 1 to 5
            "resolution": 0,  # made smaller to so many pixels and large again
        },
        "labeled": {"batch_size": 0, "crop": "auto", "views": {}},
        "epochs_of": "unlabeled",  # whose images an epoch counts
    }
    config.encoder = {
        "name": "resnet18",
        "head_layers": (),  # sizes of layers of a pretrained head that stay on it in fine-tuning (SimCLR v2)
        **encoder_defaults(),
    }
    config.method = {**methods.default_settings(method or name), **settings}
    config.optim = {
        "name": "sgd",  # sgd, lars, adamw, lamb
        "lr": 0.1,
        "lr_scaling": "linear",  # with the batch: linear, sqrt, none
        "lr_base_batch_size": 256,
        "schedule": "cosine",  # cosine, cosine_7_16 (FixMatch's), step, constant
        "final_lr_factor": 0.0,
        "step_at": (0.6, 0.8),
        "step_factor": 0.1,
        **duration("warmup"),
        "weight_decay": 1e-4,
        "final_weight_decay": 0.0,  # if given, the weight decay goes there along a cosine
        "momentum": 0.9,
        "nesterov": False,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "trust_coefficient": 0.001,
        "lars_lr_first": True,
        "lars_clip": False,  # rates adapted by LARS do not exceed the learning rate, as in solo-learn
        "clip_norm": 0.0,  # of the whole gradient; 0: none
        "clip_each_norm": 0.0,  # of every parameter's gradient on its own; 0: none
        "grad_accumulation": 1,  # parts of a batch whose gradients are averaged; a loss sees a part
        "grad_cache": 1,  # parts in which a batch passes the encoder; a loss sees the whole batch
        "layer_decay": 1.0,  # of the rate from each layer of the encoder to the one below: fine-tuning
        "groups": {},
    }
    config.mesh = {
        "fsdp": False,  # split parameters, targets and the optimiser's state over the devices: large ViTs
        "fsdp_min_size": 2**16,  # elements below which an array stays whole
    }
    config.checkpoint = {
        **duration("every", percent=10),
        "keep_last": 2,
        "keep_best": True,
        **duration("keep_every"),
    }
    config.evals = {
        **duration("every", percent=20),
        "batch_size": 256,
        "crop_fraction": 0.875,  # of the shorter side, for images cropped on the host
        "baselines": True,  # those that each evaluator names beside the final result; False: none
        "online": False,  # a linear probe trained beside the method, without gradient to it
        # folder of the finished supervised baseline: its result is printed beside this one's
        "supervised_baseline": "",
        "per_class": (),  # labels of each class: evaluators that learn from labels are repeated with so few
        "draws": 3,  # of those labels
        **evaluation.defaults(),  # a section each, with the fields of its dataclass: docs/evaluation.md
    }
    config.log = {
        "every_steps": 50,
        "progress": True,
        "pictures": True,
        "tensorboard": False,
        "wandb": False,
    }
    return config
