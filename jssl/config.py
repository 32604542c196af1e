"""The schema of a config: every key with its default, its range and a line of words. Nothing else declares keys.

A section is a dataclass; the fields of methods (`jssl.methods`) and evaluators (`jssl.evaluation`) are sections, too.

  defaults("simclr")        a config with every key
  validate(config)          raises UserError for keys and values that cannot be, before anything is done
  get_config("simclr")      a shipped config, from wherever the library is installed
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import ml_collections

from jssl import evaluation, methods, models, settings
from jssl.data import normalization, splits
from jssl.data.augment import color_space
from jssl.data.augment.sound import SoundView
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.sources import corrupted
from jssl.data.sources.clips import ClipSpec
from jssl.errors import UserError, located, unknown
from jssl.evaluation.health import LABEL_FREE
from jssl.train import durations, optim
from jssl.train.durations import UNITS

SCHEMA = 4  # goes up when keys change so that older runs cannot be opened
STREAMS = ("unlabeled", "labeled")
BEST_BY = ("", "classifier", "knn", "linear", "zero_shot", *LABEL_FREE)
RULES = ("all", "threshold", "top_k_per_class", "confidence_weighted")
T = TypeVar("T")


class Length(NamedTuple):
    """A length of time: the keys NAME_epochs, NAME_steps, NAME_examples and NAME_percent, of which one is given."""

    name: str
    words: str
    percent: float = 0.0


class Section:
    """A section of a config: a frozen dataclass whose fields are keys, and lengths of time."""

    lengths: ClassVar[tuple[Length, ...]] = ()


@dataclasses.dataclass(frozen=True)
class Top(Section):
    """The whole run.

    Attributes:
      name: name of the run; its default folder is runs/NAME.
      seed: seed of everything random.
      dtype: precision of convolutions and matrix products; auto is bfloat16 on accelerators and float32 on CPUs.
      init_from: folder of a run, or an earlier stage, whose weights this one begins with.
      init_parts: which of its networks: encoder, classifier, text.
      order: stages by name, one after the other, each a whole config; () for a run of its own.
    """

    lengths = (Length("total", "length of the run"),)

    name: str = ""
    seed: int = settings.count(0)
    dtype: str = settings.choice("auto", ("auto", "float32", "bfloat16"))
    init_from: str = ""
    init_parts: tuple[str, ...] = ("encoder",)
    order: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PseudoLabels(Section):
    """Labels that an earlier stage predicts for this one.

    Attributes:
      teacher: that stage, or the folder of a run; '' for none.
      rule: which images get one.
      threshold: confidence from which a pseudo-label counts, with rule 'threshold'.
      per_class: images of every class, with rule 'top_k_per_class'.
      soft: the pseudo-label is a distribution, not a class.
      balance: rare classes are repeated.
      views: what the teacher sees: the centre, or the mean over five crops in four turns.
    """

    teacher: str = ""
    rule: str = settings.choice("all", RULES)
    threshold: float = settings.fraction(0.95)
    per_class: int = settings.size(100)
    soft: bool = False
    balance: bool = False
    views: str = settings.choice("centre", ("centre", "crops"))


@dataclasses.dataclass(frozen=True)
class Outliers(Section):
    """Images that an earlier stage takes out of this one's unlabelled stream.

    Attributes:
      teacher: that stage, or the folder of a run; '' for none.
      score: how much an image looks like the known classes.
      inlier_quantile: part of the held-out images that would stay.
    """

    teacher: str = ""
    score: str = settings.choice("energy", ("energy", "max_softmax"))
    inlier_quantile: float = settings.part_above(0.95)


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Where images come from.

    Attributes:
      name: digits, colored_digits, moving_digits, digit_pairs, digit_tones, bouncing_digits, scattered_digits, tones,
        a folder, tar shards, an .npz, an .npy, or a TFDS name.
      data_dir: folder of TFDS; '' takes TFDS_DATA_DIR.
      train: the split that trains; TFDS slicing works.
      test: the split of the final numbers; '' for none.
      holdout: part of train that is held out, for choices and for curves during training.
      labels: whose labels may be used: all, 10%, '25 per class', none.
      split_seed: of holdout and labels.
      pseudo_labels: an .npz of labels that a model predicted, which the labelled stream has beside the true ones.
      color_space: what networks see of colours; lab is CIE Lab, (L - 50, a, b) / 50, of three channels.
      mean: subtracted from pixels in [0, 1], one number or one a channel; 'estimate' takes the data's own.
      std: then divided by; 'estimate' takes the data's own.
      value_range: pixel values of black and white: (0, 4095) of 12 bits; () for all of uint8 and uint16, of floats
        and other integers for the least and the largest that occur.
      cache_gib: sources of one image size and at most this large are decoded into memory once.
      max_bad_fraction: part of the images that may be unreadable.
      workers: processes that decode; 0 for threads.
      threads: threads that decode images in each worker.
      epochs_of: the stream whose images an epoch counts.
    """

    name: str = ""
    data_dir: str = ""
    train: str = "train"
    test: str = "test"
    holdout: float = settings.part(0.1)
    labels: str = "all"
    split_seed: int = settings.count(0)
    pseudo_labels: str = ""
    color_space: str = settings.choice("rgb", color_space.SPACES)
    mean: Any = (0.0,)
    std: Any = (1.0,)
    value_range: Any = ()
    cache_gib: float = settings.weight(4.0)
    max_bad_fraction: float = settings.fraction(0.01)
    workers: int = settings.count(0)
    threads: int = settings.size(2)
    epochs_of: str = settings.choice("unlabeled", STREAMS)


@dataclasses.dataclass(frozen=True)
class Audio(Section, SoundView):
    """Sound, which becomes pictures of mel bands; the defaults are VGGish's.

    Attributes:
      enabled: whether the sound beside images is heard.
      as_images: whether the data are sounds alone, whose pictures are the images that any method learns from.
      length: samples of each of these: longer ones lose both ends, shorter ones lie in the middle of silence.
    """

    enabled: bool = False
    as_images: bool = False
    length: int = settings.size(16000)


@dataclasses.dataclass(frozen=True)
class Video(Section, ClipSpec):
    """Videos, of TFDS or in files, as clips."""


@dataclasses.dataclass(frozen=True)
class Text(Section):
    """Captions, of which a method of images and text sees one an image and epoch.

    Attributes:
      context: tokens of a caption, start and end included, longer ones are cut; 0: captions are not read.
      tokenizer: a tokenizer.json; '' for one that is learnt from the captions and lies in the run's folder.
      vocabulary: most tokens of one that is learnt; at least 260.
    """

    context: int = settings.count(0)
    tokenizer: str = ""
    vocabulary: int = settings.size(8192)


@dataclasses.dataclass(frozen=True)
class Labeled(Section):
    """The stream of images with labels. Its `views` are sections by name.

    Attributes:
      batch_size: over all devices; 0: there is no such stream.
      crop: where views are cropped; auto is the host if images are large or of mixed size.
    """

    batch_size: int = settings.count(0)
    crop: str = settings.choice("auto", ("auto", "host", "device"))


@dataclasses.dataclass(frozen=True)
class Unlabeled(Labeled):
    """The stream of images without labels. Its `views` are sections by name.

    Attributes:
      with_labeled: holds the images with labels, too.
      add: another data set, whose images are added.
      inliers: an .npz of positions that are no outliers.
      imbalance_ratio: how many times more images the first class has than the last.
      corruption: a change of the pixels, such as noise or blur.
      severity: strength of the corruption.
      resolution: made smaller to so many pixels and large again; 0 for not.
    """

    batch_size: int = settings.count(256)
    with_labeled: bool = True
    add: str = ""
    inliers: str = ""
    imbalance_ratio: float = settings.at_least_one(1.0)
    corruption: str = settings.choice("", ("", *corrupted.KINDS))
    severity: int = settings.choice(3, (1, 2, 3, 4, 5))
    resolution: int = settings.count(0)


@dataclasses.dataclass(frozen=True)
class Encoder(Section):
    """The network that is trained. The options of each family are sections of their own.

    Attributes:
      name: name of the network, such as resnet50 or vit_s.
      weights: file of public weights that a run begins with, .safetensors, .npz or .pth, see docs/weights.md.
      head_layers: sizes of layers of a pretrained head that stay on it in fine-tuning (SimCLR v2).
      sobel: whether it sees image gradients instead of colours (DeepCluster).
      channels: the channels of an image that it sees, () for all: (0,) is the lightness of Lab (Colorization).
      split_brain: two encoders side by side, one of the first channel and one of the others (split-brain autoencoders).
      per_frame: whether it sees one channel at a time, the frames of a clip; features are their mean.
      window: frames that it sees at a time, of longer clips those in the middle; 0 for all.
    """

    name: str = settings.choice("resnet18", tuple(models.ENCODERS))
    weights: str = ""
    head_layers: tuple[int, ...] = ()
    sobel: bool = False
    channels: tuple[int, ...] = ()
    split_brain: bool = False
    per_frame: bool = False
    window: int = settings.count(0)


@dataclasses.dataclass(frozen=True)
class Optim(Section):
    """The optimiser. Its `groups` are sections by name.

    Attributes:
      name: the update rule.
      lr: peak of the learning rate, before it is scaled with the batch.
      lr_scaling: how the rate grows with batch_size / lr_base_batch_size.
      lr_base_batch_size: batch for which optim.lr is given, see optim.lr_scaling.
      schedule: course of the rate after the warm-up; cosine_7_16 is FixMatch's.
      final_lr_factor: part of the peak at the end of a cosine.
      step_at: parts of the run at which a step schedule steps.
      step_factor: of the rate at each.
      weight_decay: decay of kernels.
      decay_all: whether biases and normalisation decay, too.
      final_weight_decay: where it goes along a cosine; 0 keeps it.
      momentum: momentum of sgd and lars.
      nesterov: whether sgd and lars take Nesterov's momentum.
      b1, b2: of adamw and lamb.
      eps: of adamw and lamb.
      trust_coefficient: trust coefficient of lars.
      lars_lr_first: whether lars multiplies by the rate before the momentum, as SimCLR's does.
      lars_clip: rates adapted by lars do not exceed the learning rate, as in solo-learn.
      clip_norm: of the whole gradient; 0 for none.
      clip_each_norm: of every parameter's gradient on its own; 0 for none.
      grad_accumulation: parts of a batch whose gradients are averaged; a loss sees a part.
      grad_cache: parts in which a batch passes the encoder; a loss sees the whole batch.
      layer_decay: of the rate from each layer of the encoder to the one below, for fine-tuning.
    """

    lengths = (Length("warmup", "linear warm-up of the rate"),)

    name: str = settings.choice("sgd", optim.NAMES)
    lr: float = settings.positive(0.1)
    lr_scaling: str = settings.choice("linear", tuple(optim.SCALINGS))
    lr_base_batch_size: int = settings.size(256)
    schedule: str = settings.choice("cosine", optim.SCHEDULES)
    final_lr_factor: float = settings.weight(0.0)
    step_at: tuple[float, ...] = (0.6, 0.8)
    step_factor: float = settings.weight(0.1)
    weight_decay: float = settings.weight(1e-4)
    decay_all: bool = False
    final_weight_decay: float = settings.weight(0.0)
    momentum: float = settings.part(0.9)
    nesterov: bool = False
    b1: float = settings.part(0.9)
    b2: float = settings.part(0.999)
    eps: float = settings.positive(1e-8)
    trust_coefficient: float = settings.positive(0.001)
    lars_lr_first: bool = True
    lars_clip: bool = False
    clip_norm: float = settings.weight(0.0)
    clip_each_norm: float = settings.weight(0.0)
    grad_accumulation: int = settings.size(1)
    grad_cache: int = settings.size(1)
    layer_decay: float = settings.part_above(1.0)


@dataclasses.dataclass(frozen=True)
class Group(Section):
    """Parameters whose rate is another one, or which wait.

    Attributes:
      pattern: a regular expression that their paths begin with; groups must be disjoint; '' for no parameter.
      lr_factor: factor of the common rate; 0 never trains them.
      constant_lr: the rate keeps its peak.
    """

    lengths = (Length("freeze", "until when they wait"),)

    pattern: str = ""
    lr_factor: float = settings.weight(1.0)
    constant_lr: bool = False


@dataclasses.dataclass(frozen=True)
class Mesh(Section):
    """How the state lies on the devices.

    Attributes:
      fsdp: split parameters, targets and the optimiser's state over the devices, for large ViTs.
      fsdp_min_size: elements below which an array stays whole.
    """

    fsdp: bool = False
    fsdp_min_size: int = settings.count(2**16)


@dataclasses.dataclass(frozen=True)
class Checkpoint(Section):
    """What is saved, and how long it stays.

    Attributes:
      keep_last: how many of the newest stay.
      keep_best: whether the best on the holdout stays, too.
      best_by: what the best is told by: the accuracy of an evaluator on the holdout; or, without labels, the largest
        rank_me or lidar of the features, or their alpha_req nearest to 1. '' for the first accuracy that there is.
    """

    lengths = (
        Length("every", "between checkpoints", percent=10),
        Length("keep_every", "between checkpoints that stay"),
    )

    keep_last: int = settings.size(2)
    keep_best: bool = True
    best_by: str = settings.choice("", BEST_BY)


@dataclasses.dataclass(frozen=True)
class Evals(Section):
    """What is measured. Every evaluator has a section of its own.

    Attributes:
      batch_size: images at a time, over all devices.
      crop_fraction: side of the central square that evaluators see, over the shorter side of an image.
      baselines: whether those that evaluators name are measured beside the final result.
      online: a linear probe trained beside the method, without gradient to it.
      supervised_baseline: folder of a finished supervised run, whose result is printed beside this one's.
      per_class: numbers of labels of every class with which evaluators that learn from labels are tried, too.
      draws: of so many labels.
    """

    lengths = (Length("every", "between evaluations during training", percent=20),)

    batch_size: int = settings.size(256)
    crop_fraction: float = settings.within(1.0, 0.1, 1)
    baselines: bool = True
    online: bool = False
    supervised_baseline: str = ""
    per_class: tuple[int, ...] = ()
    draws: int = settings.size(3)


@dataclasses.dataclass(frozen=True)
class Log(Section):
    """What is written and printed.

    Attributes:
      every_steps: between lines of metrics.jsonl.
      progress: print how far it is.
      pictures: draw views, curves, features and neighbours.
      tensorboard: write scalars for TensorBoard, too.
      wandb: send scalars to Weights & Biases, too.
    """

    every_steps: int = settings.size(50)
    progress: bool = True
    pictures: bool = True
    tensorboard: bool = False
    wandb: bool = False


SECTIONS: dict[str, type[Section]] = {
    "pseudo_labels": PseudoLabels,
    "outliers": Outliers,
    "data": Data,
    "data.audio": Audio,
    "data.text": Text,
    "data.video": Video,
    "data.unlabeled": Unlabeled,
    "data.labeled": Labeled,
    "encoder": Encoder,
    "optim": Optim,
    "mesh": Mesh,
    "checkpoint": Checkpoint,
    "evals": Evals,
    "log": Log,
}


def duration(name: str, **given: float) -> dict[str, float | int]:
    """The keys NAME_epochs, NAME_steps, NAME_percent, NAME_examples; 0 means not given, two at once is an error."""
    return {
        f"{name}_epochs": float(given.get("epochs", 0.0)),
        f"{name}_steps": int(given.get("steps", 0)),
        f"{name}_examples": int(given.get("examples", 0)),
        f"{name}_percent": float(given.get("percent", 0.0)),
    }


def view(size: int, **options: Any) -> dict[str, Any]:
    """A view: all of its fields with their defaults (everything off), and those given."""
    return dataclasses.asdict(ViewSpec(size=size, **options))


def group(pattern: str, lr_factor: float = 1.0, constant_lr: bool = False, **freeze: float) -> dict[str, Any]:
    """A section of `optim.groups`: see `Group`, and until when it waits."""
    return {
        "pattern": pattern,
        "lr_factor": lr_factor,
        "constant_lr": constant_lr,
        **duration("freeze", **freeze),
    }


def section(kind: type[Section]) -> dict[str, Any]:
    """The keys of a section with their defaults."""
    found = settings.defaults(kind)
    for length in kind.lengths:
        found |= duration(length.name, percent=length.percent)
    return found


def defaults(name: str, method: str = "", **changes: Any) -> ml_collections.ConfigDict:
    """A config with every key.

    Args:
      name: of the run.
      method: what it learns by; the method of the run's name if none is given.
      changes: settings of the method.

    Raises:
      UserError: for a method that does not exist.
    """
    config = section(Top)
    for path, kind in SECTIONS.items():
        *parents, last = path.split(".")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = section(kind)
    for stream in STREAMS:
        config["data"][stream]["views"] = {}
    config["encoder"] |= models.encoder_defaults()
    config["optim"]["groups"] = {}
    config["evals"] |= evaluation.defaults()
    config["method"] = {**methods.default_settings(method or name), **changes}
    config["stages"] = {}
    config["name"] = name
    return ml_collections.ConfigDict(config)


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run that an earlier version wrote, as a dict: keys that came later have their defaults.

    Example:
      >>> from jssl import config
      >>> old = config.defaults("simclr").to_dict()
      >>> del old["data"]["video"], old["evals"]["knn"]["k"]
      >>> config.completed(old)["evals"]["knn"]["k"]
      20
    """
    if values.get("order"):
        return {**values, "stages": {name: completed(stage) for name, stage in values["stages"].items()}}
    method = values["method"]["name"]
    known = method in methods.METHODS  # or a user's own
    found = _filled(values, defaults(values["name"], method if known else "simclr").to_dict())
    found["method"] = found["method"] if known else dict(values["method"])
    for stream in STREAMS:
        views = found["data"][stream]["views"]
        found["data"][stream]["views"] = {
            name: _filled(own, view(own["size"])) for name, own in views.items()
        }
    groups = found["optim"]["groups"]
    found["optim"]["groups"] = {name: _filled(own, group("")) for name, own in groups.items()}
    for name, term in found["method"].get("terms", {}).items():
        if term["name"] in methods.METHODS:
            found["method"]["terms"][name] = _filled(term, methods.default_settings(term["name"]))
    return found


def _filled(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A dict, and what it lacks of the usual one."""
    found = {**usual, **values}
    for key, inner in usual.items():
        if isinstance(inner, Mapping) and isinstance(values.get(key), Mapping):
            found[key] = _filled(values[key], inner)
    return found


def validate(config: ml_collections.ConfigDict, own: tuple[bool, bool] = (False, False)) -> None:
    """Checks all that can be told without data or devices.

    Args:
      config: of a run, or of stages.
      own: whether method and encoder are not those of the config, but a user's own objects.

    Raises:
      UserError: for a key that there is not (it names the nearest), a value that cannot be, or two that exclude
        each other.
    """
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"a config is a ConfigDict, of jssl.get_config('simclr') for example, not {config!r}")
    if "order" not in config:
        raise UserError("order is missing: begin with a config of jssl.config.defaults()")
    if "data" not in config and not config.order:
        raise UserError("order is empty: name the stages in the order in which they run")
    if config.order:
        _check_keys(config, ("name", "order", "stages"), "")
        for name in config.order:
            if name not in config.stages:
                raise unknown("stage in order", name, config.stages)
            if config.stages[name].order:
                raise UserError(f"stages.{name}.order: stages have no stages")
            with located(f"stage {name}"):
                validate(config.stages[name])
        return
    children = {path.split(".")[0] for path in SECTIONS} | {"method", "stages"}
    _check_section(Top, config, "", children)
    for path, kind in SECTIONS.items():
        place = config
        for part in path.split("."):
            place = place[part]
        _check_section(kind, place, f"{path}.", _children(path))
    for stream in STREAMS:
        for name, fields in config.data[stream].views.items():
            settings.make(ViewSpec, fields, f"data.{stream}.views.{name}")
    for name, fields in config.optim.groups.items():
        _check_section(Group, fields, f"optim.groups.{name}.", ())
    own_method, own_encoder = own
    encoder = models.encoder({**defaults("simclr").encoder} if own_encoder else config.encoder)
    if not own_method:
        methods.make_method(config.method, methods.RunInfo(encoder, classes=2, num_examples=1))
    evaluation.evaluators(config.evals)
    if config.data.labels != "none":
        with located("data.labels"):
            splits.parsed(config.data.labels)
    _check_together(config)


def _children(path: str) -> tuple[str, ...]:
    """Sections within a section."""
    return {
        "data": (*STREAMS, "audio", "text", "video"),
        "data.unlabeled": ("views",),
        "data.labeled": ("views",),
        "encoder": tuple(models.encoder_defaults()),
        "optim": ("groups",),
        "evals": tuple(evaluation.EVALUATORS),
    }.get(path, ())


def _check_section(kind: type[Section], place: Any, prefix: str, children: Any) -> None:
    """Raises UserError for keys and values of one section."""
    lengths = [f"{length.name}_{unit}" for length in kind.lengths for unit in UNITS]
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    _check_keys(place, (*fields, *lengths, *children), prefix)
    for name, field in fields.items():
        settings.check_value(f"{prefix}{name}", place[name], field)
    for length in kind.lengths:
        durations.given(place, length.name, prefix)


def _check_keys(place: Any, valid: Any, prefix: str) -> None:
    for key in place:
        if key not in valid:
            raise unknown(f"key of {prefix.rstrip('.') or 'the config'}", key, valid)
    for key in valid:
        if key not in place:
            raise UserError(f"{prefix}{key} is missing: begin with a config of jssl.config.defaults()")


def _check_together(config: ml_collections.ConfigDict) -> None:
    """What one key alone cannot tell."""
    data, evals = config.data, config.evals
    normalization.check(data)
    if data.audio.as_images:
        _check_sounds(data)
    if config.method.get("frozen_images") and not config.init_from:
        raise UserError("method.frozen_images=True keeps the image tower as it begins: set init_from=RUN")
    if any(number < 1 for number in evals.per_class):
        raise UserError(f"evals.per_class={evals.per_class}: numbers must be at least 1")
    if not (data.unlabeled.batch_size or data.labeled.batch_size):
        raise UserError("data: unlabeled.batch_size or labeled.batch_size must be more than 0")
    if not data[data.epochs_of].batch_size:
        raise UserError(f"data.epochs_of={data.epochs_of!r}: that stream has no batch_size")
    for name, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        if config.log[name] and importlib.util.find_spec(package) is None:
            raise UserError(f"log.{name} needs: pip install 'jssl[{name}]'")


def _check_sounds(data: Any) -> None:
    """What sounds in the place of images exclude."""
    if data.audio.enabled:
        raise UserError(
            "data.audio: sounds are beside images (enabled) or in their place (as_images), not both"
        )
    for name in ("mean", "std"):
        if normalization.is_estimate(data[name]):
            raise UserError(
                f"data.{name}='estimate' looks at images: of sounds give numbers, such as mean (0.5,) and std (0.25,)"
            )
    if data.value_range != ():
        raise UserError(
            "data.value_range is of images: of sounds data.audio.mean and std say what is black and white"
        )
    if data.unlabeled.corruption or data.unlabeled.resolution:
        raise UserError("data.unlabeled.corruption and resolution change images, not sounds: set '' and 0")


def presets(*functions: Callable[[], T]) -> Callable[..., T]:
    """The `get_config` of a file of presets: each is asked for by its name, the first if none is given."""
    named = {function.__name__: function for function in functions}

    def get_config(preset: str = functions[0].__name__) -> T:
        """A preset by name; an unknown one is a UserError that names the nearest."""
        if preset not in named:
            raise unknown("preset", preset, named)
        return named[preset]()

    return get_config


def configs_folder() -> pathlib.Path:
    """Where the shipped configs lie."""
    return pathlib.Path(__file__).parent / "configs"


def shipped_names() -> list[str]:
    """The names of the shipped configs."""
    shared = ("__init__", "recipes", "semi")
    return sorted(path.stem for path in configs_folder().glob("*.py") if path.stem not in shared)


def config_file(name: str) -> pathlib.Path:
    """The file of a shipped config.

    Raises:
      UserError: for a name that does not exist; it names the nearest.
    """
    if name not in shipped_names():
        raise unknown("config", name, shipped_names())
    return configs_folder() / f"{name}.py"


def get_config(spec: str) -> ml_collections.ConfigDict:
    """A shipped config: 'simclr', or with a preset after a colon 'simclr:cifar10'.

    Raises:
      UserError: for a name or a preset that does not exist.

    Example:
      >>> from jssl import config
      >>> config.get_config("simclr:digits").method.temperature
      0.1
    """
    if not isinstance(spec, str) or "/" in spec or ".py" in spec:
        raise UserError(f"{spec!r} is no name of a shipped config, such as 'simclr' or 'simclr:cifar10'")
    name, colon, preset = spec.partition(":")
    config_file(name)
    module = importlib.import_module(f"jssl.configs.{name}")
    config: ml_collections.ConfigDict = module.get_config(preset) if colon else module.get_config()
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as 'a.b.c'."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def nearest(asked: str, keys: Iterable[str]) -> list[str]:
    """Keys that one that there is not may have meant: the same in other sections, else those that are spelt alike.

    Example:
      >>> from jssl import config
      >>> config.nearest("batch_size", ["optim.lr", "data.unlabeled.batch_size"])
      ['data.unlabeled.batch_size']
    """
    names, last = list(keys), asked.rpartition(".")[2]
    same = [key for key in names if key.rpartition(".")[2] == last]
    return (same or difflib.get_close_matches(asked, names, n=2))[:3]
