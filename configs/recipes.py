"""Data, views and budgets that the presets of all methods share."""

from __future__ import annotations

from typing import Any

import ml_collections

from jssl.config import duration, view

JITTER = {  # brightness, contrast, saturation, hue
    "strong": (0.8, 0.8, 0.8, 0.2),  # SimCLR, SwAV
    "weak": (0.4, 0.4, 0.4, 0.1),  # MoCo, SimSiam
    "asymmetric": (0.4, 0.4, 0.2, 0.1),  # BYOL, DINO, Barlow Twins, VICReg; solarised in one view
}


def crop(
    size: int,
    jitter: str = "strong",
    area: tuple[float, float] = (0.08, 1.0),
    blur: float = 0.0,
    solarize: float = 0.0,
    copies: int = 1,
    interpolation: str = "bicubic",
) -> dict[str, Any]:
    """A view of the field's usual kind: crop, flip, colour jitter (p = .8), grey (p = .2), blur, solarise."""
    brightness, contrast, saturation, hue = JITTER[jitter]
    return view(
        size,
        copies=copies,
        crop_area_min=area[0],
        crop_area_max=area[1],
        flip_prob=0.5,
        jitter_prob=0.8,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        gray_prob=0.2,
        blur_prob=blur,
        solarize_prob=solarize,
        interpolation=interpolation,
    )


def pair(
    size: int,
    jitter: str = "strong",
    area: tuple[float, float] = (0.08, 1.0),
    blur: tuple[float, float] = (0.0, 0.0),
    solarize: tuple[float, float] = (0.0, 0.0),
    interpolation: str = "bicubic",
) -> dict[str, Any]:
    """Two such views; blur and solarise may differ between them."""
    return {
        name: crop(size, jitter, area, blur[i], solarize[i], interpolation=interpolation)
        for i, name in enumerate(("first", "second"))
    }


def digit(size: int = 8, **options: Any) -> dict[str, Any]:
    """A view of a handwritten digit: small shifts, turns and noise; flips would make other digits."""
    moves = {"degrees": 15.0, "translate": 0.15, "scale_min": 0.8, "scale_max": 1.2, "shear": 15.0}
    return view(size, **{**moves, "brightness": 0.4, "contrast": 0.4, "noise_std": 0.1, **options})


def training_view(config: ml_collections.ConfigDict, own: dict[str, Any]) -> None:
    """The augmentation of the evaluators that train on images."""
    config.evals.sgd.view, config.evals.finetune.view = dict(own), dict(own)


def digits(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """scikit-learn's 1,797 digits of 8x8 pixels, a small ConvNet, a minute on a laptop."""
    config.name += "_digits"
    config.data.name = "digits"
    config.total_epochs = 100.0
    config.encoder.name = "convnet"
    config.encoder.convnet.strides = (1, 2, 1, 2)
    config.data.unlabeled.views = {"first": digit(), "second": digit()}
    training_view(config, digit())
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "none"})
    config.optim.update(duration("warmup", percent=5))
    config.evals.per_class = (1, 10)
    config.evals.knn.k = 0
    config.evals.linear.l2 = config.evals.layers.l2 = (1e-4, 1e-3, 1e-2, 1e-1)
    return config


def cifar10(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """solo-learn's setting: ResNet-18 with the CIFAR stem, 1000 epochs, batch 256, warm-up of 10 epochs, LARS."""
    config.name += "_cifar10"
    config.data.name = "cifar10"
    config.data.mean, config.data.std = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
    config.total_epochs = 1000.0
    config.encoder.resnet.stem = "cifar"
    config.optim.update(
        {"name": "lars", "trust_coefficient": 0.02, "lars_lr_first": False, "lars_clip": True}
    )
    config.optim.update(duration("warmup", epochs=10))
    config.evals.knn.k = 200
    training_view(config, view(32, crop_area_min=0.08, flip_prob=0.5))
    return config


def small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The budget of the table in docs/benchmarks.md: CIFAR-10, a ConvNet of 98,000 parameters, minutes on two cores."""
    config = cifar10(config)
    config.name = config.name.replace("_cifar10", "_small")
    config.total_epochs = 5.0
    config.data.unlabeled.batch_size = 128
    config.encoder.name = "convnet"
    config.data.unlabeled.views = pair(32, "weak", (0.2, 1.0))
    config.optim.update({"name": "adamw", "lr": 2e-3, "lr_scaling": "none", "weight_decay": 1e-4})
    config.optim.update(duration("warmup", percent=5))
    config.evals.update(duration("every", percent=50))
    for section in (config.evals.linear, config.evals.layers):
        section.update({"l2": (1e-3,), "max_iterations": 60})
    return config


def lab(config: ml_collections.ConfigDict, first: dict[str, Any]) -> ml_collections.ConfigDict:
    """Images in Lab, which has a scale of its own, and one view of them."""
    config.data.color_space, config.data.mean, config.data.std = "lab", (0.0,), (1.0,)
    config.data.unlabeled.views = {"first": first}
    return config


def adamw(config: ml_collections.ConfigDict, lr: float, weight_decay: float = 0.05) -> None:
    """AdamW at a rate for the preset's batch size."""
    config.optim.update({"name": "adamw", "lr": lr, "lr_scaling": "none", "weight_decay": weight_decay})


def rotnet_cifar10(config: ml_collections.ConfigDict) -> None:
    """RotNet's schedule on CIFAR-10: SGD at .1 with Nesterov's momentum, a fifth at 60, 120 and 160 of 200 epochs."""
    config.optim.update(
        {"name": "sgd", "lr": 0.1, "lr_scaling": "none", "nesterov": True, "weight_decay": 5e-4}
    )
    config.optim.update({"schedule": "step", "step_at": (0.3, 0.6, 0.8), "step_factor": 0.2})
    config.optim.decay_all = True
    config.optim.update(duration("warmup"))


def imagenet(config: ml_collections.ConfigDict, batch_size: int, epochs: float) -> ml_collections.ConfigDict:
    """ResNet-50 on ImageNet at 224 pixels; linear accuracy by the papers' SGD protocol."""
    config.name += "_imagenet"
    config.data.name = "imagenet2012"
    config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    config.data.test = "validation"
    config.data.holdout = 0.01
    config.data.workers = 8
    config.data.unlabeled.batch_size = batch_size
    config.total_epochs = epochs
    config.encoder.name = "resnet50"
    config.checkpoint.update(duration("every", epochs=1))
    config.evals.update(duration("every", epochs=10))
    config.evals.update({"batch_size": 1024, "crop_fraction": 0.875})
    config.evals.knn.k = 200
    config.evals.linear.enabled = False
    config.evals.sgd.enabled = True
    config.evals.sgd.batch_size = 4096
    training_view(config, view(224, crop_area_min=0.08, flip_prob=0.5))
    return config


def probe(
    config: ml_collections.ConfigDict,
    lr: float,
    batch_size: int,
    epochs: float,
    weight_decay: float = 0.0,
    interpolation: str = "bilinear",
    **more: Any,
) -> None:
    """A paper's linear evaluation on ImageNet, by its official code; none but SimCLR's and BYOL's is Nesterov's."""
    section = {
        "lr": lr,
        "batch_size": batch_size,
        "epochs": epochs,
        "weight_decay": weight_decay,
        "nesterov": False,
    }
    config.evals.sgd.update({**section, **more})
    config.evals.sgd.view.interpolation = interpolation


def folder(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A folder of photographs of any size, without labels or with one sub-folder a class; ResNet-18 at 96 pixels.

    Sizes and rates for one GPU and thousands of images; no paper's recipe.
    """
    config.name += "_folder"
    config.data.unlabeled.views = pair(96, "weak", (0.2, 1.0))
    config.data.test = "test"
    config.data.holdout = 0.0
    config.total_epochs = 100.0
    config.data.unlabeled.batch_size = 128
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "sqrt", "weight_decay": 1e-4})
    config.optim.update(duration("warmup", percent=5))
    config.evals.update({"batch_size": 128, "crop_fraction": 0.875})
    training_view(config, view(96, crop_area_min=0.2, flip_prob=0.5))
    return config


def sounds(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Sounds of a second at 8 kHz as images of 32 log-mel bands; every view hears a piece of one, masked and louder."""
    config.encoder.name = "convnet"
    config.data.audio.update({"as_images": True, "rate": 8000, "length": 8000, "crop": 6400})
    config.data.audio.update(
        {"window": 256, "hop": 200, "fft": 256, "bands": 32, "low": 60.0, "high": 4000.0}
    )
    config.data.audio.update({"mean": -4.6, "std": 7.0, "gain_db": 6.0, "noise": 0.002})
    config.data.audio.update({"mask_bands": 6, "mask_frames": 6})
    config.data.mean, config.data.std = (0.4,), (0.25,)
    heard = view(32, crop_area_min=0.6, crop_ratio_min=0.8, crop_ratio_max=1.25)
    config.data.unlabeled.views = {"first": heard, "second": dict(heard)}
    config.evals.sgd.view = view(32)
    config.optim.update({"name": "adamw", "lr": 1e-3, "lr_scaling": "none"})
    config.optim.update(duration("warmup", percent=5))
    config.evals.knn.k = 0
    config.evals.linear.l2 = config.evals.layers.l2 = (1e-4, 1e-3, 1e-2, 1e-1)
    return config


def speech(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Spoken digits, TFDS `fsdd`, or a folder of .wav and .flac files as data.name."""
    config = sounds(config)
    config.name += "_speech"
    config.data.update({"name": "fsdd", "train": "train[:80%]", "test": "train[80%:]"})
    config.encoder.convnet.width = 32
    config.total_epochs = 40.0
    config.optim.lr = 2e-3
    config.data.unlabeled.batch_size = 128
    return config


def tones(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The tones of a telephone's keys, embedded: a minute on a laptop."""
    config = sounds(config)
    config.name += "_tones"
    config.data.name = "tones"
    config.data.audio.update({"length": 4000, "crop": 3200, "bands": 32, "low": 500.0, "high": 2000.0})
    config.data.audio.update({"mask_bands": 0, "mask_frames": 8})
    config.data.unlabeled.views = {"first": view(32), "second": view(32)}  # a tone is its pitch: no crops
    config.data.unlabeled.batch_size = 64
    config.total_epochs = 10.0
    return config


def multicrop(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """`folder` with two global crops of 96 pixels and four local ones of 48."""
    config = folder(config)
    config.data.unlabeled.views = {
        "global": crop(96, "weak", (0.4, 1.0), copies=2),
        "local": crop(48, "weak", (0.1, 0.4), copies=4),
    }
    return config


def shrink(config: ml_collections.ConfigDict) -> None:
    """Leaves out what takes long to compile, so that a run takes seconds: to see that it runs, not how well."""
    config.encoder.convnet.strides = (2, 2)
    for stream in (config.data.unlabeled, config.data.labeled):
        for each in stream.views.values():
            each.update({"affine_prob": 0.0, "contrast": 0.0, "randaug_num_ops": 0})
    config.evals.linear.enabled = False
