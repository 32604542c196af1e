"""The streams of a run, from shapes alone: images without labels, images with labels, each with its size and views."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jssl import parallel, rng, settings
from jssl.data import augment, normalization
from jssl.data.augment.sound import SoundView
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.augment.views import Specs, check_colors
from jssl.errors import UserError
from jssl.types import Array, Batch, PyTree

LARGEST_DEVICE_CROP = 96  # images up to this side are cropped on the device, larger ones on the host
NAMES = ("unlabeled", "labeled")

SILENT = SoundView()  # of streams without sound, that nothing asks

Views = dict[str, tuple[Array, ...]]


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """The shapes and counts of the data that a program is built from.

    Attributes:
      num_examples: images of the unlabelled stream (whose labels, where there are some, only probes may see).
      image_shape: (H, W, C) of all images, or None if they differ.
      channels: of all images.
      num_classes: 0 if unlabelled.
      num_labeled: images of the labelled stream.
      pseudo_labels: whether some of its labels are pseudo-labels with weights: '', 'hard' (classes) or 'soft'
        (distributions).
      dtype: of the pixels, 'uint8' or 'uint16'.
      mean, std: of every channel, in [0, 1], where the config asks to estimate them; else None.
      value_range: what was black and white in the pixels as they are stored; None for all of their dtype.
      stored_dtype: of these.
      audio_samples: of the sound of every example; 0 where it is not heard.
      text_context: tokens of a caption; 0 where captions are not read.
      text_vocabulary: number of tokens.
      text_end: the token that ends a caption.
      text_mask: the token that stands for hidden ones; -1 if there is none.
    """

    num_examples: int
    image_shape: tuple[int, int, int] | None
    channels: int
    num_classes: int = 0
    num_labeled: int = 0
    pseudo_labels: str = ""
    dtype: str = "uint8"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: tuple[float, ...] | None = None
    stored_dtype: str = "uint8"
    audio_samples: int = 0
    text_context: int = 0
    text_vocabulary: int = 0
    text_end: int = 0
    text_mask: int = -1


@dataclasses.dataclass(frozen=True)
class Stream:
    """One of the streams that a batch is made of.

    Attributes:
      name: 'unlabeled' or 'labeled'.
      batch_size: its rows of a batch, over all devices.
      num_examples: how many images it goes round in.
      views: what is made of every image, by name.
      host_crops: whether views are cropped on the host.
      mean, std: what images in [0, 1] are normalised by, one number or one a channel.
      color_space: that networks see, 'rgb' or 'lab'.
      sound: how networks hear, where there is sound.
      as_images: whether the images are waveforms, of which networks see pictures.
    """

    name: str
    batch_size: int
    num_examples: int
    views: dict[str, ViewSpec]
    host_crops: bool
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    color_space: str = "rgb"
    sound: SoundView = SILENT
    as_images: bool = False

    def seen(self, images: Array) -> Array:
        """Images of a batch as evaluators begin with them: as they are, of waveforms the pictures."""
        return jax.vmap(self.sound.image)(images) if self.as_images else images

    def to_float(self, images: Array) -> Array:
        """Images as networks take them, see `augment.to_float`."""
        return augment.to_float(images, self.mean, self.std, self.color_space)

    def to_pixels(self, images: Array) -> Array:
        """What networks take as images in [0, 1], see `augment.to_pixels`."""
        return augment.to_pixels(images, self.mean, self.std, self.color_space)

    def make_views(self, key: Array, images: PyTree, views: Specs | None = None, parts: int = 1) -> Views:
        """Its views of integer images, or others, as networks take them, see `augment.views`."""
        views = self.views if views is None else views
        sound = self.sound if self.as_images else None
        return augment.views(key, images, views, self.mean, self.std, parts, self.color_space, sound)

    @property
    def size(self) -> int:
        """Side of the largest view: how evaluators see images."""
        return max(spec.size for spec in self.views.values())

    def skipped(self, channels: int) -> tuple[str, ...]:
        """The operators of its views that images of so many channels have no use for."""
        return tuple(dict.fromkeys(name for spec in self.views.values() for name in spec.skipped(channels)))

    def seed(self, seed: int) -> int:
        """The seed of the stream's order: every stream has an order of its own."""
        return seed + (NAMES.index(self.name) << 32)

    def abstract(self, info: DataInfo, mesh: Mesh) -> dict[str, PyTree]:
        """Shapes, dtypes and shardings of its part of a batch as the pipeline gives it."""

        def struct(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            sharding = parallel.batch_sharding(mesh)
            return jax.ShapeDtypeStruct((self.batch_size, *shape), dtype, sharding=sharding)

        if self.host_crops:
            image: PyTree = {
                name: tuple(
                    struct(info.dtype, spec.size, spec.size, info.channels) for _ in range(spec.copies)
                )
                for name, spec in self.views.items()
            }
        else:
            assert info.image_shape is not None
            image = struct(info.dtype, *info.image_shape)
        part = {"image": image, "index": struct(jnp.int32), "label": struct(jnp.int32)}
        if self.name == "unlabeled" and info.audio_samples:
            part["audio"] = struct(jnp.int16, info.audio_samples)
        if self.name == "unlabeled" and info.text_context:
            part["text"] = struct(jnp.int32, info.text_context)
        if self.name == "labeled" and info.pseudo_labels:
            part["weight"] = struct(jnp.float32)
        if self.name == "labeled" and info.pseudo_labels == "soft":
            part["target"] = struct(jnp.float32, info.num_classes)
        return part


def make_streams(config: Any, info: DataInfo) -> dict[str, Stream]:
    """The streams that a config asks for, by name: those whose batch size is not 0.

    Raises:
      UserError: if there is none, a view is wrong, images cannot be cropped where they shall be, or a batch is
        larger than its stream.
    """
    sizes = {"unlabeled": info.num_examples, "labeled": info.num_labeled}
    streams = {
        name: _stream(name, config, info, sizes[name]) for name in NAMES if config.data[name].batch_size
    }
    if "labeled" in streams and not info.num_labeled:
        raise UserError("data.labeled.batch_size is given, but there are no labels: see data.labels")
    large = streams.get("unlabeled")
    if large is not None and large.batch_size > large.num_examples:
        raise UserError(
            f"data.unlabeled.batch_size={large.batch_size} is larger than the training set of "
            f"{large.num_examples} images: a batch must not hold an image twice"
        )
    return streams


def _stream(name: str, config: Any, info: DataInfo, num_examples: int) -> Stream:
    section = config.data[name]
    views = {
        view: settings.make(ViewSpec, fields, f"data.{name}.views.{view}")
        for view, fields in section.views.items()
    }
    if not views:
        raise UserError(f"data.{name}.views is empty: name at least one view")
    host_crops = crops_on_host(name, section, info, config.data.audio.as_images)
    mean = normalization.resolve(config.data.mean, info.mean, 0.0)
    std = normalization.resolve(config.data.std, info.std, 1.0)
    color_space = config.data.color_space
    if color_space == "lab":
        check_colors(info.channels)
    sound = sound_view(config.data.audio)
    as_images = config.data.audio.as_images
    samples = sound.heard(_samples_of(info)) if as_images else info.audio_samples
    if (samples or as_images) and samples < sound.fft:
        raise UserError(
            f"data.audio.fft={sound.fft}: the sounds have {samples} samples, fewer than one transform takes"
        )
    return Stream(
        *(name, section.batch_size, num_examples, views, host_crops, mean, std, color_space, sound, as_images)
    )


def _samples_of(info: DataInfo) -> int:
    """The samples of the sounds that are the images; raises UserError if the images are none."""
    if info.image_shape is None or info.image_shape[::2] != (1, 1) or info.dtype != "uint16":
        raise UserError(
            "data.audio.as_images: the data are images and no sounds; sounds of your own are "
            "sources.waveforms(int16[N, samples], labels)"
        )
    return info.image_shape[1]


def sound_view(section: Any) -> SoundView:
    """How networks hear, as `data.audio` of a config says."""
    fields = {field.name: section[field.name] for field in dataclasses.fields(SoundView)}
    return settings.make(SoundView, fields, "data.audio")


def crops_on_host(name: str, section: Any, info: DataInfo, as_images: bool) -> bool:
    """Its `crop`, where 'auto' means: on the host if images are large or of mixed size."""
    where = section.crop
    if as_images and where == "host":
        raise UserError(f"sounds become images on the device: set data.{name}.crop='auto'")
    if as_images:
        return False
    if info.image_shape is None and where == "device":
        raise UserError(f"images of mixed size cannot be cropped on the device: set data.{name}.crop='host'")
    too_large = info.image_shape is None or max(info.image_shape[:2]) > LARGEST_DEVICE_CROP
    return where == "host" or (where == "auto" and too_large)


def augmented(config: Any, key: Array, batch: Batch, streams: dict[str, Stream]) -> Batch:
    """Puts `views` in the place of `image` in every stream."""
    made = {}
    for name, stream in streams.items():
        part = dict(batch[name])
        own = key if name == NAMES[0] else rng.derive(key, name)
        images = part.pop("image")
        views = stream.make_views(own, images, parts=config.optim.grad_cache)
        if "audio" in part:
            part["audio"] = stream.sound.pictures(part["audio"], rng.derive(own, "audio"))
        made[name] = {**part, "views": views}
    return {**batch, **made}


def view_shapes(config: Any, info: DataInfo, streams: dict[str, Stream], mesh: Mesh) -> Batch:
    """Shapes of a batch after augmentation."""
    batch = {name: stream.abstract(info, mesh) for name, stream in streams.items()}
    return jax.eval_shape(lambda b: augmented(config, rng.root(0), b, streams), batch)
