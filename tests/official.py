"""The values of official recipes by our keys, read in the official codes, not in our presets.

solo-learn: scripts/pretrain/cifar at the commit before 6f228fd, with which its accuracies were announced; MoCo v3's at
bbf2d7e. TorchSSL and USB: config/ of each. ImageNet: the authors' repositories (facebookresearch/barlowtwins, vicreg,
moco at KaimingHe-patch-1, moco-v3, simsiam, dino, swav; google-research/simclr, s4l; deepmind-research/byol;
lemniscate.pytorch; FeatureLearningRotNet), NNCLR the paper. What cannot be had as it is there has no key here
and a line in docs/methods.md; nor has `data.holdout`, since we hold out a part of train.
"""

SOLO = {
    "data.name": "cifar10",
    "data.mean": (0.4914, 0.4822, 0.4465),
    "data.std": (0.247, 0.2435, 0.2616),
    "data.unlabeled.batch_size": 256,
    "total_epochs": 1000.0,
    "encoder.name": "resnet18",
    "encoder.resnet.stem": "cifar",
    "encoder.resnet.bn_momentum": 0.9,
    "encoder.resnet.batch_norm_groups": 1,
    "optim.name": "lars",
    "optim.lr_scaling": "linear",
    "optim.lr_base_batch_size": 256,
    "optim.schedule": "cosine",
    "optim.warmup_epochs": 10.0,
    "optim.momentum": 0.9,
    "optim.nesterov": False,
    "optim.trust_coefficient": 0.02,
    "optim.lars_clip": True,
    "optim.lars_lr_first": False,
    "optim.final_lr_factor": 0.0,
}
SYMMETRIC = ((0.8, 0.8, 0.8, 0.2), (0.08, 1.0), (0.0, 0.0), (0.0, 0.0))  # jitter, area, blur, solarise
WEAK = ((0.4, 0.4, 0.4, 0.1), (0.08, 1.0), (0.0, 0.0), (0.0, 0.0))
ASYMMETRIC = ((0.4, 0.4, 0.2, 0.1), (0.08, 1.0), (0.0, 0.0), (0.0, 0.2))


def views(kind, size=32, names=("first", "second")):
    """The keys of two views."""
    jitter, area, blur, solarize = kind
    found = {}
    for i, name in enumerate(names):
        one = dict(zip(("brightness", "contrast", "saturation", "hue"), jitter))
        one |= {"size": size, "crop_area_min": area[0], "crop_area_max": area[1], "flip_prob": 0.5}
        one |= {"jitter_prob": 0.8, "gray_prob": 0.2, "blur_prob": blur[i], "solarize_prob": solarize[i]}
        one |= {"crop_ratio_min": 3 / 4, "crop_ratio_max": 4 / 3, "solarize_threshold": 0.5}
        found |= {f"data.unlabeled.views.{name}.{key}": value for key, value in one.items()}
    return found


def method(**values):
    return {f"method.{name.replace('__', '.')}": value for name, value in values.items()}


def optim(**values):
    return {f"optim.{name.replace('__', '.')}": value for name, value in values.items()}


def probe(**values):
    return {f"evals.sgd.{name.replace('__', '.')}": value for name, value in values.items()}


A, S, W = (0.4, 0.4, 0.2, 0.1), (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.4, 0.1)  # jitter


def photo(name, size, area, jitter, interpolation, blur, solarize_prob=0.0, **others):
    """The keys of a view of the usual kind."""
    one = dict(zip(("brightness", "contrast", "saturation", "hue"), jitter))
    one |= {"size": size, "crop_area_min": area[0], "crop_area_max": area[1], "interpolation": interpolation}
    one |= {"copies": 1, "flip_prob": 0.5, "jitter_prob": 0.8, "gray_prob": 0.2, "hsv_prob": 0.0}
    one |= {"blur_prob": blur, "blur_sigma_min": 0.1, "blur_sigma_max": 2.0}
    one |= {"solarize_prob": solarize_prob, "solarize_threshold": 0.5, **others}
    return {f"data.unlabeled.views.{name}.{key}": value for key, value in one.items()}


def plain_view(stream, **values):
    """The keys of the view `weak` of a stream, without changes of colour but those given."""
    one = {"gray_prob": 0.0, "blur_prob": 0.0, "solarize_prob": 0.0, **values}
    return {f"data.{stream}.views.weak.{key}": value for key, value in one.items()}


def plain_views(**values):
    """The same of both streams."""
    return {**plain_view("labeled", **values), **plain_view("unlabeled", **values)}


CIFAR10 = {
    "simclr": {
        **views(SYMMETRIC),
        **method(version=1, proj_hidden_dim=2048, proj_dim=256, head_batch_norm=False, temperature=0.2),
        **optim(lr=0.4, weight_decay=1e-5),
    },
    "moco": {
        **views(WEAK),
        **method(version=2, proj_hidden_dim=2048, proj_dim=256, temperature=0.2, queue_size=32768),
        **method(momentum=0.99, momentum_end=0.999, symmetric=True),
        **optim(name="sgd", lr=0.3, weight_decay=1e-4),
    },
    "mocov3": {
        **views(((0.4, 0.4, 0.4, 0.1), (0.2, 1.0), (1.0, 0.1), (0.0, 0.2))),
        **method(
            proj_hidden_dim=4096, proj_dim=256, layers=2, temperature=0.2, momentum=0.99, momentum_end=1.0
        ),
        **optim(lr=0.3, weight_decay=1e-6, lars_clip=False),
    },
    "byol": {
        **views(ASYMMETRIC),
        **method(proj_hidden_dim=4096, proj_dim=256, momentum=0.99, momentum_end=1.0),
        **optim(lr=1.0, weight_decay=1e-5),
    },
    "simsiam": {
        **views(WEAK),
        "encoder.resnet.zero_init_residual": True,
        **method(proj_hidden_dim=2048, proj_dim=2048, pred_hidden_dim=512),
        **optim(name="sgd", lr=0.5, weight_decay=1e-5, groups__predictor__constant_lr=True),
    },
    "dino": {
        **views(ASYMMETRIC),
        **method(proj_hidden_dim=2048, proj_dim=256, prototypes=4096, layers=3, head_batch_norm=False),
        **method(student_temperature=0.1, teacher_temperature=0.07, teacher_temperature_start=0.04),
        **method(
            teacher_warmup_epochs=50.0, center_momentum=0.9, momentum=0.9995, momentum_end=1.0, local_views=()
        ),
        **optim(lr=0.3, weight_decay=1e-6, groups__prototypes__freeze_epochs=1.0),
        **optim(clip_norm=0.0, clip_each_norm=0.0),
    },
    "swav": {
        **views(SYMMETRIC),
        **method(
            proj_hidden_dim=2048, proj_dim=128, prototypes=3000, temperature=0.1, epsilon=0.05, iterations=3
        ),
        **method(queue_size=3840, queue_start_epochs=50.0, local_views=()),
        **optim(lr=0.6, weight_decay=1e-6, final_lr_factor=6e-4 / 0.6, groups__prototypes__freeze_epochs=2.0),
    },
    "barlow_twins": {
        **views(ASYMMETRIC),
        **method(proj_hidden_dim=2048, proj_dim=2048, scale=0.1, off_diagonal_weight=0.0051),
        **optim(lr=0.3, weight_decay=1e-4),
    },
    "vicreg": {
        **views(((0.4, 0.4, 0.2, 0.1), (0.2, 1.0), (0.0, 0.0), (0.1, 0.1))),
        # 25 times the sum of two hinges there, of which ours is the mean
        **method(
            proj_hidden_dim=2048,
            proj_dim=2048,
            invariance=25.0,
            variance=50.0,
            covariance=1.0,
            as_in_paper=False,
        ),
        **optim(lr=0.3, weight_decay=1e-4),
    },
    "nnclr": {
        **views(ASYMMETRIC),
        **method(proj_hidden_dim=2048, proj_dim=256, pred_hidden_dim=4096, temperature=0.2, queue_size=65536),
        **optim(lr=0.4, weight_decay=1e-5),
    },
}

WRN = {
    "data.name": "cifar10",
    "data.labels": "400 per class",
    "data.labeled.batch_size": 64,
    "total_steps": 2**20,
    "encoder.name": "wrn_28_2",
    "encoder.wrn.slope": 0.1,
    "encoder.wrn.bn_momentum": 0.999,
    "data.unlabeled.views.weak.pad": 4,
    "data.unlabeled.views.weak.flip_prob": 0.5,
    "data.labeled.views.weak.pad": 4,
    "method.average": 0.999,
    "method.average_every": "step",
    **optim(name="sgd", lr=0.03, lr_scaling="none", momentum=0.9, nesterov=True, weight_decay=5e-4),
    **optim(schedule="cosine_7_16", warmup_epochs=0.0, warmup_steps=0),
}
SEVEN = {"data.unlabeled.batch_size": 7 * 64, "method.forward": "together"}
SEVEN["data.unlabeled.views.strong.randaug_num_ops"] = 3
ONE = {"data.unlabeled.batch_size": 64, "method.forward": "separate"}
SEMI = {
    "fixmatch": {**SEVEN, "threshold": 0.95, "weight": 1.0, "ramp": 0.0},
    "flexmatch": {**SEVEN, "threshold": 0.95, "weight": 1.0, "ramp": 0.0},
    "freematch": {**SEVEN, "fairness": 0.001, "momentum": 0.999, "weight": 1.0},
    "softmatch": {**SEVEN, "width": 2.0, "momentum": 0.999, "weight": 1.0},
    "uda": {**SEVEN, "threshold": 0.8, "temperature": 0.4, "weight": 1.0},
    "mixmatch": {**ONE, "temperature": 0.5, "alpha": 0.5, "consistency": 100.0, "consistency_ramp": 0.4},
    "mean_teacher": {**ONE, "weight": 50.0, "ramp": 0.4, "momentum": 0.999},
    "pi_model": {**ONE, "weight": 10.0, "ramp": 0.4},
    "pseudo_label": {**ONE, "threshold": 0.95, "weight": 1.0, "ramp": 0.4},
    "vat": {**ONE, "weight": 0.3, "ramp": 0.4, "size": 6.0, "steps": 1},
}

LARS_IMAGENET = {
    "encoder.name": "resnet50",
    "encoder.resnet.zero_init_residual": True,
    **optim(
        name="lars",
        lr_scaling="linear",
        lr_base_batch_size=256,
        weight_decay=1e-06,
        momentum=0.9,
        trust_coefficient=0.001,
        lars_clip=False,
        schedule="cosine",
        warmup_epochs=10.0,
    ),
    **probe(momentum=0.9, view__crop_area_min=0.08, view__flip_prob=0.5),
}
SSL_IMAGENET = {
    "data.mean": (0.485, 0.456, 0.406),
    **optim(schedule="cosine"),
    **probe(
        momentum=0.9,
        view__crop_area_min=0.08,
        view__flip_prob=0.5,
        view__interpolation="bilinear",
        nesterov=False,
    ),
}
S4L_IMAGENET = {
    "data.labels": "128 per class",
    "data.epochs_of": "labeled",
    "data.unlabeled.with_labeled": True,
    "data.mean": (0.5,),
    "data.std": (0.5,),
    "encoder.name": "resnet50",
    "encoder.resnet.version": 2,
    "encoder.resnet.zero_init_residual": False,
    "encoder.resnet.bn_momentum": 0.99,
    "total_epochs": 200.0,
    **optim(name="sgd", momentum=0.9, nesterov=False, schedule="step", step_factor=0.1),
}
IMAGENET = {
    "barlow_twins:imagenet": {
        **LARS_IMAGENET,
        "encoder.resnet.bn_momentum": 0.9,
        "total_epochs": 1000.0,
        "data.unlabeled.batch_size": 2048,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        **method(scale=1.0, off_diagonal_weight=0.0051, proj_hidden_dim=8192, proj_dim=8192),
        **optim(
            lr=0.2,
            groups__biases__lr_factor=0.0048 / 0.2,
            nesterov=False,
            lars_lr_first=False,
            final_lr_factor=0.001,
        ),
        **probe(
            lr=0.3,
            batch_size=256,
            epochs=100.0,
            weight_decay=1e-06,
            view__interpolation="bilinear",
            nesterov=False,
        ),
        **photo("first", 224, (0.08, 1.0), A, "bicubic", blur=1.0),
        **photo("second", 224, (0.08, 1.0), A, "bicubic", blur=0.1, solarize_prob=0.2),
    },
    "vicreg:imagenet": {
        **LARS_IMAGENET,
        "total_epochs": 1000.0,
        "data.unlabeled.batch_size": 2048,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        **method(
            invariance=25.0,
            variance=25.0,
            covariance=1.0,
            as_in_paper=False,
            proj_hidden_dim=8192,
            proj_dim=8192,
        ),
        **optim(lr=0.2, lars_lr_first=False, final_lr_factor=0.001),
        **probe(
            lr=0.02,
            batch_size=256,
            epochs=100.0,
            weight_decay=1e-06,
            view__interpolation="bilinear",
            nesterov=False,
        ),
        **photo("first", 224, (0.08, 1.0), A, "bicubic", blur=1.0),
        **photo("second", 224, (0.08, 1.0), A, "bicubic", blur=0.1, solarize_prob=0.2),
    },
    "simclr:imagenet": {
        **LARS_IMAGENET,
        "encoder.resnet.bn_momentum": 0.9,
        "total_epochs": 100.0,
        "data.unlabeled.batch_size": 4096,
        "data.mean": (0.0,),
        "data.std": (1.0,),
        **method(version=1, proj_hidden_dim=2048, proj_dim=128, head_batch_norm=True, temperature=0.1),
        **optim(lr=0.3, lars_lr_first=True, final_lr_factor=0.0),
        **probe(
            lr=0.1,
            batch_size=4096,
            epochs=90.0,
            weight_decay=1e-06,
            view__interpolation="bicubic",
            nesterov=True,
        ),
        **photo("first", 224, (0.08, 1.0), S, "bicubic", blur=0.5),
        **photo("second", 224, (0.08, 1.0), S, "bicubic", blur=0.5),
    },
    "nnclr:imagenet": {
        "total_epochs": 1000.0,
        "data.unlabeled.batch_size": 4096,
        **method(proj_hidden_dim=2048, proj_dim=256, pred_hidden_dim=4096, temperature=0.1, queue_size=98304),
        **optim(name="lars", lr=0.3, weight_decay=1e-06, warmup_epochs=10.0),
    },
    "moco:imagenet": {
        **SSL_IMAGENET,
        "encoder.name": "resnet50",
        "encoder.resnet.zero_init_residual": False,
        "encoder.resnet.batch_norm_groups": 8,
        "total_epochs": 200.0,
        "data.unlabeled.batch_size": 256,
        "data.std": (0.229, 0.224, 0.225),
        **method(
            version=2,
            proj_hidden_dim=2048,
            proj_dim=128,
            queue_size=65536,
            momentum=0.999,
            momentum_end=0.999,
            temperature=0.2,
            symmetric=False,
            shuffle=True,
        ),
        **optim(
            name="sgd",
            lr=0.03,
            momentum=0.9,
            nesterov=False,
            weight_decay=0.0001,
            final_lr_factor=0.0,
            warmup_epochs=0.0,
            decay_all=True,
        ),
        **probe(lr=30.0, batch_size=256, epochs=100.0, weight_decay=0.0, schedule="step", step_at=(0.6, 0.8)),
        **photo("first", 224, (0.2, 1.0), W, "bilinear", blur=0.5),
        **photo("second", 224, (0.2, 1.0), W, "bilinear", blur=0.5),
    },
    "mocov3:imagenet": {
        **LARS_IMAGENET,
        "data.unlabeled.batch_size": 4096,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        "total_epochs": 100.0,
        **method(
            layers=2,
            predictor_last_batch_norm=False,
            temperature=1.0,
            proj_hidden_dim=4096,
            proj_dim=256,
            momentum=0.99,
            momentum_end=1.0,
        ),
        **optim(final_lr_factor=0.0, lr=0.6, lars_lr_first=False),
        **probe(
            lr=0.1,
            batch_size=1024,
            epochs=90.0,
            weight_decay=0.0,
            view__interpolation="bilinear",
            nesterov=False,
        ),
        **photo("first", 224, (0.2, 1.0), A, "bilinear", blur=1.0),
        **photo("second", 224, (0.2, 1.0), A, "bilinear", blur=0.1, solarize_prob=0.2),
    },
    "mocov3:imagenet_vit": {
        **SSL_IMAGENET,
        "encoder.name": "vit_s",
        "encoder.vit.positions": "sincos2d",
        "encoder.vit.patch_size": 16,
        "encoder.vit.pool": "cls",
        "encoder.vit.drop_path": 0.0,
        "data.unlabeled.batch_size": 4096,
        "data.std": (0.229, 0.224, 0.225),
        "total_epochs": 300.0,
        "encoder.vit.heads": 12,
        "encoder.vit.cls_std": 1e-06,
        **method(
            layers=3,
            predictor_last_batch_norm=True,
            temperature=0.2,
            proj_hidden_dim=4096,
            proj_dim=256,
            momentum=0.99,
            momentum_end=1.0,
        ),
        **optim(
            groups__patches__lr_factor=0.0,
            lr_scaling="linear",
            lr_base_batch_size=256,
            final_lr_factor=0.0,
            name="adamw",
            lr=0.00015,
            weight_decay=0.1,
            b1=0.9,
            b2=0.999,
            eps=1e-08,
            warmup_epochs=40.0,
            decay_all=True,
        ),
        **probe(lr=3.0, batch_size=1024, epochs=90.0, weight_decay=0.0),
        **photo("first", 224, (0.08, 1.0), A, "bilinear", blur=1.0),
        **photo("second", 224, (0.08, 1.0), A, "bilinear", blur=0.1, solarize_prob=0.2),
    },
    "byol:imagenet": {
        **LARS_IMAGENET,
        "encoder.resnet.bn_momentum": 0.9,
        "total_epochs": 100.0,
        "data.unlabeled.batch_size": 4096,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        **method(proj_hidden_dim=4096, proj_dim=256, predictor=True, momentum=0.99, momentum_end=1.0),
        **optim(lr=0.45, lars_lr_first=False, final_lr_factor=0.0),
        **probe(
            lr=0.2,
            batch_size=4096,
            epochs=80.0,
            weight_decay=0.0,
            view__interpolation="bicubic",
            nesterov=True,
        ),
        **photo("first", 224, (0.08, 1.0), A, "bicubic", blur=1.0),
        **photo("second", 224, (0.08, 1.0), A, "bicubic", blur=0.1, solarize_prob=0.2),
    },
    "simsiam:imagenet": {
        **SSL_IMAGENET,
        "encoder.name": "resnet50",
        "encoder.resnet.zero_init_residual": True,
        "total_epochs": 100.0,
        "data.unlabeled.batch_size": 512,
        "data.std": (0.229, 0.224, 0.225),
        **method(proj_hidden_dim=2048, proj_dim=2048, pred_hidden_dim=512),
        **optim(
            name="sgd",
            lr=0.05,
            lr_scaling="linear",
            lr_base_batch_size=256,
            momentum=0.9,
            nesterov=False,
            weight_decay=0.0001,
            groups__predictor__constant_lr=True,
            final_lr_factor=0.0,
            warmup_epochs=0.0,
            decay_all=True,
        ),
        **probe(lr=0.1, batch_size=4096, epochs=90.0, weight_decay=0.0, trust_coefficient=0.001),
        **photo("first", 224, (0.2, 1.0), W, "bilinear", blur=0.5),
        **photo("second", 224, (0.2, 1.0), W, "bilinear", blur=0.5),
    },
    "dino:imagenet": {
        **SSL_IMAGENET,
        "data.unlabeled.batch_size": 512,
        "encoder.name": "vit_s",
        "encoder.vit.patch_size": 16,
        "encoder.vit.drop_path": 0.1,
        "encoder.vit.positions": "learned",
        "encoder.vit.pool": "cls",
        "total_epochs": 100.0,
        "data.std": (0.229, 0.224, 0.225),
        "evals.knn.temperature": 0.07,
        "evals.knn.k": 20,
        "encoder.vit.weight_init": "normal",
        **method(
            teacher_temperature=0.04,
            teacher_temperature_start=0.04,
            student_temperature=0.1,
            center_momentum=0.9,
            prototypes=65536,
            proj_hidden_dim=2048,
            proj_dim=256,
            layers=3,
            head_batch_norm=False,
            momentum=0.996,
            momentum_end=1.0,
            teacher_warmup_epochs=0.0,
            head_init="normal",
            norm_last_layer=True,
        ),
        **optim(
            name="adamw",
            lr=0.0005,
            lr_scaling="linear",
            lr_base_batch_size=256,
            final_lr_factor=0.001,
            warmup_epochs=10.0,
            weight_decay=0.04,
            final_weight_decay=0.4,
            b1=0.9,
            b2=0.999,
            clip_each_norm=3.0,
            groups__prototypes__freeze_epochs=1.0,
        ),
        **probe(lr=0.001, batch_size=1024, epochs=100.0, weight_decay=0.0),
        **photo("blurred", 224, (0.4, 1.0), A, "bicubic", blur=1.0),
        **photo("solarized", 224, (0.4, 1.0), A, "bicubic", blur=0.1, solarize_prob=0.2),
        **photo("local", 96, (0.05, 0.4), A, "bicubic", blur=0.5, copies=8),
    },
    "swav:imagenet": {
        **SSL_IMAGENET,
        "encoder.name": "resnet50",
        "encoder.resnet.zero_init_residual": False,
        "encoder.resnet.batch_norm_groups": 8,
        "total_epochs": 400.0,
        "data.unlabeled.batch_size": 4096,
        "data.std": (0.228, 0.224, 0.225),
        **method(
            proj_hidden_dim=2048,
            proj_dim=128,
            prototypes=3000,
            temperature=0.1,
            epsilon=0.05,
            iterations=3,
            queue_size=0,
        ),
        **optim(
            groups__prototypes__freeze_steps=313,
            lr=4.8,
            lr_scaling="none",
            final_lr_factor=0.001,
            weight_decay=1e-06,
            momentum=0.9,
            trust_coefficient=0.001,
            lars_clip=False,
            lars_lr_first=False,
            warmup_epochs=10.0,
        ),
        **probe(lr=0.3, batch_size=256, epochs=100.0, weight_decay=1e-06),
        **photo("global", 224, (0.14, 1.0), S, "bilinear", blur=0.5, copies=2),
        **photo("local", 96, (0.05, 0.14), S, "bilinear", blur=0.5, copies=6),
    },
    "instdisc:imagenet": {
        "encoder.name": "resnet50",
        "encoder.resnet.zero_init_residual": False,
        "encoder.resnet.batch_norm_groups": 1,
        "total_epochs": 200.0,
        "data.unlabeled.batch_size": 256,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        "evals.knn.k": 200,
        "evals.knn.temperature": 0.07,
        **method(proj_dim=128, temperature=0.07, negatives=4096, bank_momentum=0.5),
        **optim(
            name="sgd",
            lr=0.03,
            momentum=0.9,
            nesterov=False,
            weight_decay=0.0001,
            schedule="step",
            step_at=(0.6, 0.8),
            step_factor=0.1,
            warmup_epochs=0.0,
            decay_all=True,
        ),
        **photo("first", 224, (0.2, 1.0), (0.4, 0.4, 0.4, 0.4), "bilinear", blur=0.0, jitter_prob=1.0),
    },
    "rotation:imagenet": {
        "total_epochs": 50.0,
        "data.unlabeled.batch_size": 192,
        "data.mean": (0.485, 0.456, 0.406),
        "data.std": (0.229, 0.224, 0.225),
        **optim(
            name="sgd",
            lr=0.01,
            lr_scaling="none",
            momentum=0.9,
            nesterov=True,
            weight_decay=0.0005,
            schedule="step",
            step_at=(0.3, 0.6, 0.9),
            step_factor=0.1,
            warmup_epochs=0.0,
            decay_all=True,
        ),
        **plain_view(
            "unlabeled",
            size=224,
            copies=1,
            crop_area_min=0.08,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
    "supervised:imagenet": {
        "data.labels": "128 per class",
        "data.epochs_of": "labeled",
        "data.labeled.batch_size": 256,
        "data.mean": (0.5,),
        "data.std": (0.5,),
        "encoder.name": "resnet50",
        "encoder.resnet.version": 2,
        "encoder.resnet.zero_init_residual": False,
        "encoder.resnet.bn_momentum": 0.99,
        "encoder.resnet.width": 1.0,
        "total_epochs": 200.0,
        **optim(
            name="sgd",
            lr=0.1,
            momentum=0.9,
            nesterov=False,
            weight_decay=0.001,
            schedule="step",
            step_at=(0.7, 0.8, 0.9),
            step_factor=0.1,
            warmup_epochs=5.0,
        ),
        **plain_view(
            "labeled",
            size=224,
            copies=1,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
    "s4l:rotation,imagenet": {
        **S4L_IMAGENET,
        "data.labeled.batch_size": 256,
        "data.unlabeled.batch_size": 256,
        "encoder.resnet.width": 1.0,
        **optim(lr=0.1, weight_decay=0.001, step_at=(0.7, 0.8, 0.9), warmup_epochs=5.0),
        **method(
            terms__rotation__weight=1.0,
            terms__rotation__on_labeled=True,
            class_on_copies=True,
            supervised_weight=1.0,
            forward="together",
            rotate=True,
            average=0.0,
        ),
        **plain_views(
            size=224,
            copies=1,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
    "s4l:exemplar,imagenet": {
        **S4L_IMAGENET,
        "data.labeled.batch_size": 512,
        "data.unlabeled.batch_size": 512,
        "encoder.resnet.width": 1.0,
        **optim(lr=0.1, weight_decay=0.001, step_at=(0.7, 0.8, 0.9), warmup_epochs=10.0),
        **method(
            terms__exemplar__weight=1.0,
            terms__exemplar__proj_dim=1000,
            terms__exemplar__on_labeled=True,
            class_on_copies=True,
        ),
        **plain_views(
            size=224,
            copies=8,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=1.0,
        ),
    },
    "s4l:vat,imagenet": {
        **S4L_IMAGENET,
        "data.labeled.batch_size": 256,
        "data.unlabeled.batch_size": 256,
        "encoder.resnet.width": 1.0,
        **optim(lr=0.03, weight_decay=0.001, step_at=(0.7, 0.8, 0.9), warmup_epochs=5.0),
        **method(
            supervised_weight=1.0,
            terms__vat__weight=0.5,
            terms__vat__size=40.0,
            terms__vat__steps=1,
            terms__vat__on_labeled=True,
            terms__vat__reverse=True,
        ),
        **plain_views(
            size=224,
            copies=1,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
    "s4l:vat_entmin,imagenet": {
        **S4L_IMAGENET,
        "data.labeled.batch_size": 256,
        "data.unlabeled.batch_size": 256,
        "encoder.resnet.width": 1.0,
        **optim(lr=0.03, weight_decay=0.001, step_at=(0.7, 0.8, 0.9), warmup_epochs=5.0),
        **method(
            supervised_weight=1.0,
            terms__vat__weight=0.5,
            terms__vat__size=40.0,
            terms__vat__steps=1,
            terms__entropy_minimization__weight=1.0,
            terms__vat__on_labeled=True,
            terms__vat__reverse=True,
            terms__entropy_minimization__on_labeled=True,
        ),
        **plain_views(
            size=224,
            copies=1,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
    "s4l:all,imagenet": {
        **S4L_IMAGENET,
        "data.labeled.batch_size": 128,
        "data.unlabeled.batch_size": 128,
        "encoder.resnet.width": 4.0,
        "encoder.resnet.batch_norm_groups": 1,
        **optim(lr=0.1, weight_decay=0.0002, step_at=(0.5, 0.75, 0.95), warmup_epochs=10.0),
        **method(
            supervised_weight=0.3,
            terms__rotation__weight=0.7,
            terms__vat__weight=0.3,
            terms__vat__size=32.0,
            terms__entropy_minimization__weight=0.3,
            class_on_copies=True,
            average=0.5,
            average_every="epoch",
            rotate=True,
            terms__vat__on_labeled=False,
            terms__vat__turned=True,
            terms__vat__reverse=True,
            terms__entropy_minimization__turned=True,
        ),
        **plain_views(
            size=224,
            copies=1,
            crop_area_min=0.1,
            crop_area_max=1.0,
            interpolation="bilinear",
            flip_prob=0.5,
            hsv_prob=0.0,
        ),
    },
}
