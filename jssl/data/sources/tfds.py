"""TensorFlow Datasets as a source: array_record files, read without TensorFlow."""

from __future__ import annotations

import itertools
import logging as python_logging
import pathlib
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from jssl.data.sources import images
from jssl.data.sources.annotations import Boxes, Masks, read_mask
from jssl.data.sources.base import DTYPES, UNREAD, BadImage, Captions, Field, Source, chunks, fields_of
from jssl.data.sources.clips import DEFAULT, EPSILON, ClipSpec, placed, to_clip
from jssl.data.sources.images import Opened
from jssl.data.sources.sounds import SoundFormat
from jssl.errors import UserError, unknown

CAPTION_KEYS = ("captions", "caption", "text")
MASK_KEYS = ("segmentation_mask", "mask", "segmentation_label")
UNCERTAIN_KEYS = ("is_crowd", "is_difficult")


class TfdsSource(Source):
    """A prepared TFDS split; records stay encoded until they are asked for."""

    labels_are_cheap = False

    def __init__(self, name: str, split: str, data_dir: str | None, captions: bool = True):
        import tensorflow_datasets as tfds

        builder = prepared_builder(name, data_dir)
        features = builder.info.features
        self.name = name
        self._label_key = feature_key(features, tfds.features.ClassLabel, name, "label")
        fields = self._own_fields(features)
        if self._label_key:
            fields["label"] = Field("label", (), "int32", tuple(features[self._label_key].names))
        self._caption_key = next((key for key in CAPTION_KEYS if captions and key in features), None)
        if self._caption_key:
            fields["text"] = Field("text", (None,), "str")
        self._mask_key = next((key for key in MASK_KEYS if key in features), None)
        if self._mask_key:
            fields["mask"] = Field("mask", (None, None), "uint8")
        self._box_key = box_key(features)
        if self._box_key:
            names = tuple(features[self._box_key].feature["label"].names)
            fields["boxes"] = Field("boxes", (None, 4), "float32", names)
        self.fields = fields
        try:
            self._records = builder.as_data_source(split=split, decoders=self._decoders())
        except (ValueError, AssertionError) as error:
            splits = ", ".join(f"{k} ({v.num_examples})" for k, v in builder.info.splits.items())
            raise UserError(f"{name} has no split {split!r}: it has {splits}") from error
        except NotImplementedError as error:
            raise UserError(
                f"{name} in {builder.data_path} is not in array_record format: prepare it again with "
                "builder.download_and_prepare(file_format='array_record')"
            ) from error

        self._labels = np.full(len(self._records), UNREAD, np.int32)
        self._captions: list[tuple[str, ...]] | None = None
        self._boxes: list[Boxes] | None = None

    def _own_fields(self, features: Any) -> dict[str, Field]:
        """The field of the image."""
        import tensorflow_datasets as tfds

        self._image_key: str = (
            feature_key(features, tfds.features.Image, self.name, "image", needed=True) or ""
        )
        image = features[self._image_key]
        height, width, channels = image.shape
        dtype = np.dtype(image.np_dtype).name
        if dtype not in DTYPES or (dtype == "uint16" and channels != 1):
            raise UserError(
                f"{self.name} has images of {dtype} with {channels} channels: prepare it with uint8, or uint16 and "
                "one channel"
            )
        return fields_of((height, width, channels or 3), dtype)

    def _decoders(self) -> dict[str, Any] | None:
        """What TFDS shall leave encoded."""
        import tensorflow_datasets as tfds

        pictures = {self._image_key, self._mask_key} - {None}
        return {str(key): tfds.decode.SkipDecoding() for key in pictures}

    def __len__(self) -> int:
        return len(self._records)

    def handles(self, indices: Sequence[int]) -> list[bytes]:
        records = self._records.__getitems__(list(indices))
        if self._label_key:  # noted in passing, because reading records is what costs
            self._labels[indices] = [record[self._label_key] for record in records]
        return [record[self._image_key] for record in records]

    def labels(self) -> np.ndarray | None:
        return self.labels_at(np.arange(len(self)))

    def labels_at(self, indices: np.ndarray) -> np.ndarray | None:
        if self._label_key is None:
            return None
        unread = indices[self._labels[indices] == UNREAD]
        for chunk in chunks(len(unread)):
            self.handles(unread[chunk].tolist())
        return self._labels[indices]

    def captions(self) -> Captions | None:
        """Read from all records, images undecoded, when they are first asked for."""
        if self._caption_key is None:
            return None
        if self._captions is None:
            found: list[tuple[str, ...]] = []
            for chunk in chunks(len(self)):
                records = self._records.__getitems__(list(chunk))
                found += [texts_of(record[self._caption_key]) for record in records]
            without = [place for place, texts in enumerate(found) if not texts]
            if without:
                raise UserError(
                    f"{len(without)} images of {self.name} have no caption, {self.filename(without[0])} for one"
                )
            self._captions = found
        return self._captions

    def masks(self) -> Masks | None:
        return Masks(len(self), self._mask) if self._mask_key else None

    def _mask(self, index: int) -> np.ndarray:
        name = f"{self._mask_key} of {self.filename(index)}"
        return read_mask(self._records[index][self._mask_key], name)

    def boxes(self) -> Sequence[Boxes] | None:
        """Read from all records, images undecoded, when they are first asked for."""
        if self._box_key is None:
            return None
        if self._boxes is None:
            classes = len(self.fields["boxes"].classes or ())
            records = itertools.chain.from_iterable(
                self._records.__getitems__(list(chunk)) for chunk in chunks(len(self))
            )
            self._boxes = [
                boxes_of(record[self._box_key], self.filename(index), classes)
                for index, record in enumerate(records)
            ]
        return self._boxes

    def note_labels(self, labels: np.ndarray) -> None:
        if labels.shape == self._labels.shape:
            self._labels = labels.astype(np.int32)


def box_key(features: Any) -> str | None:
    """The feature that is a sequence of boxes with labels; None if there is none."""
    import tensorflow_datasets as tfds

    def are_boxes(feature: Any) -> bool:
        inner = getattr(feature, "feature", None)
        return isinstance(inner, tfds.features.FeaturesDict) and {"bbox", "label"} <= inner.keys()

    return next((str(key) for key, feature in features.items() if are_boxes(feature)), None)


def boxes_of(objects: Mapping[str, Any], name: str, classes: int) -> Boxes:
    """The boxes of a record: `bbox` and `label`, and which are crowds or difficult."""
    uncertain = [objects[key] for key in UNCERTAIN_KEYS if key in objects]
    doubt = np.any(np.asarray(uncertain, bool), axis=0) if uncertain else None
    return Boxes.of(list(objects["bbox"]), list(objects["label"]), doubt, name, classes)


class TfdsVideo(TfdsSource):
    """A prepared TFDS split whose examples have a sequence of images, and perhaps their sound, int16.

    A feature `fps` tells how long the frames last, or else the sound `audio`, whose rate is a feature `..sample_rate`.

    Raises:
      UserError: if neither does, or the first video is shorter than a clip.
    """

    def __init__(
        self, name: str, split: str, data_dir: str | None, captions: bool, clips: ClipSpec, rate: int
    ):
        self.clips = clips
        self._sounds: np.ndarray | None = None
        super().__init__(name, split, data_dir, captions)
        record = self._records[0]
        if "fps" not in record and not self._rate(record):
            raise UserError(f"{name}: its videos need a feature fps, or audio with its rate")
        if rate and self._rate(record):
            self.fields = {**self.fields, **clips.fields(self._rate(record))}
        length = len(record[self._image_key]) / self._fps(record)
        try:
            clips.begin(length)
        except ValueError as error:
            raise UserError(f"{self.filename(0)}: {error}") from error

    def _own_fields(self, features: Any) -> dict[str, Field]:
        self._image_key = video_key(features)
        self._has_sound = "audio" in features
        return self.clips.fields(0)

    def _decoders(self) -> None:
        return None  # TFDS leaves no sequence encoded

    def _rate(self, record: Mapping[str, Any]) -> int:
        """Samples a second; 0 without sound."""
        named = (int(record[key]) for key in record if key.endswith("sample_rate"))
        return next(named, 0) if self._has_sound else 0

    def _fps(self, record: Mapping[str, Any]) -> float:
        if "fps" in record:
            return float(record["fps"])
        return len(record[self._image_key]) * self._rate(record) / len(record["audio"])

    def handles(self, indices: Sequence[int]) -> list[Any]:
        records = self._records.__getitems__(list(indices))
        if self._label_key:
            self._labels[indices] = [record[self._label_key] for record in records]
        return [self._frames(record) for record in records]

    def _frames(self, record: Mapping[str, Any]) -> list[np.ndarray] | str:
        """The frames of a clip, or why there are none."""
        frames, fps = record[self._image_key], self._fps(record)
        try:
            begin = self.clips.begin(len(frames) / fps)
        except ValueError as error:
            return str(error)
        places = np.floor((begin + self.clips.times) * fps + EPSILON).astype(int)
        return [frames[place] for place in np.minimum(places, len(frames) - 1)]

    def open_handle(self, handle: Any, index: int) -> Opened:
        if isinstance(handle, str):
            raise BadImage(f"{self.filename(index)}: {handle}")
        return images.from_array(to_clip(handle, self.clips.size))

    def sounds(self) -> np.ndarray | None:
        """Read from all records when they are first asked for; silence beside videos that are too short."""
        if "audio" not in self.fields:
            return None
        if self._sounds is None:
            found = [self._sound(self._records[index]) for index in range(len(self))]
            self._sounds = np.stack(found)
        return self._sounds

    def _sound(self, record: Mapping[str, Any]) -> np.ndarray:
        rate, length = self._rate(record), len(record[self._image_key]) / self._fps(record)
        first = (
            round(self.clips.begin(length) * rate) if length >= self.clips.seconds else len(record["audio"])
        )
        return placed([record["audio"]], -first, self.clips.samples(rate))


def video_key(features: Any) -> str:
    """The first feature that is a sequence of images; '' if there is none."""
    import tensorflow_datasets as tfds

    def is_video(feature: Any) -> bool:
        inner = getattr(feature, "feature", None)
        return isinstance(feature, tfds.features.Sequence) and isinstance(inner, tfds.features.Image)

    return next((str(key) for key, feature in features.items() if is_video(feature)), "")


class TfdsSound(TfdsSource):
    """A prepared TFDS split of sounds alone, integers [samples], as images of one row."""

    def __init__(self, name: str, split: str, data_dir: str | None, sound: SoundFormat):
        self._sound = sound
        super().__init__(name, split, data_dir, captions=False)

    def _own_fields(self, features: Any) -> dict[str, Field]:
        self._image_key = sound_key(features, self.name)
        self._rate = getattr(features[self._image_key], "sample_rate", None) or self._sound.rate
        return fields_of(self._sound.shape, "uint16")

    def _decoders(self) -> None:
        return None

    def open_handle(self, handle: Any, index: int) -> Opened:
        wave = np.clip(np.asarray(handle), -32768, 32767).astype(np.int16)
        if not len(wave):
            raise BadImage(f"{self.filename(index)}: it holds no sound")
        return self._sound.image(wave, self._rate)


def open_tfds(
    name: str,
    split: str,
    data_dir: str | None,
    captions: bool = True,
    *,
    sound: SoundFormat | None = None,
    clips: ClipSpec = DEFAULT,
    rate: int = 0,
) -> TfdsSource:
    """A prepared TFDS split: of sounds if they are asked for, of images or, where there are none, of videos."""
    import tensorflow_datasets as tfds

    try:
        features = prepared_builder(name, data_dir).info.features
    except UserError as error:
        hint = "" if sound is None else "; or give a folder of .wav or .flac files as data.name"
        raise UserError(f"{error}{hint}") from error
    if sound is not None:
        return TfdsSound(name, split, data_dir, sound)
    has_images = any(isinstance(feature, tfds.features.Image) for feature in features.values())
    if has_images or not video_key(features):
        return TfdsSource(name, split, data_dir, captions)
    return TfdsVideo(name, split, data_dir, captions, clips, rate)


def texts_of(value: Any) -> tuple[str, ...]:
    """The texts of a feature: one, a list of them, or of dicts with one; empty ones are left out."""
    if isinstance(value, bytes | str | np.bytes_):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return (text.strip(),) if text.strip() else ()
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("text", "caption", "raw") if key in value), ())
        return texts_of(value)
    if not isinstance(value, Iterable):
        return ()
    return tuple(itertools.chain.from_iterable(map(texts_of, value)))


def sound_key(features: Any, name: str) -> str:
    """The first feature of integers in a row, one called audio before others; raises UserError if there is none."""
    found = [
        key
        for key, feature in features.items()
        if len(getattr(feature, "shape", None) or ()) == 1 and np.dtype(feature.np_dtype).kind == "i"
    ]
    if not found:
        raise UserError(
            f"{name} has no sound, integers [samples]: its features are {', '.join(features)}; of images leave "
            "data.audio.as_images=False"
        )
    return str(min(found, key=lambda key: "audio" not in key))


def feature_key(features: Any, kind: type, name: str, usual: str, needed: bool = False) -> str | None:
    """The feature of a kind that is called as usual, or the first; without one an error if it is needed, else None.

    The order of features is no matter of the data set: a mask, an image too, may stand before its image.
    """
    found = [str(key) for key, feature in features.items() if isinstance(feature, kind)]
    if found:
        return min(found, key=lambda key: key != usual)
    if needed:
        hint = "; for sounds set data.audio.as_images=True" if "audio" in features else ""
        raise UserError(f"{name} has no {usual}: its features are {', '.join(features)}{hint}")
    return None


def prepared_builder(name: str, data_dir: str | None) -> Any:
    """A TFDS builder whose data are on disk; downloads them if that is possible, else says what to do.

    TFDS alone retries for minutes where there is no network, so one short request asks first.
    """
    import tensorflow_datasets as tfds

    logging.get_absl_logger().addFilter(_is_not_tfds_chatter)
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except Exception as error:  # tfds raises many kinds for a name it does not know
        near = unknown(
            "data set",
            name.partition("/")[0],
            [
                "digits",
                "moving_digits",
                "bouncing_digits",
                "scattered_digits",
                *tfds.list_builders(with_community_datasets=False),
            ],
        )
        hint = str(near).partition(": valid are")[0].partition("valid are")[0].rstrip()
        hint = (
            f"there is no folder {pathlib.Path(name).absolute()}, nor such a data set:"
            if "/" in name
            else hint
        )
        raise UserError(
            f"{hint} data.name takes 'digits', a folder, an .npz or .npy file, or a TFDS name; "
            f"looked in {data_dir or '~/tensorflow_datasets'} too ({type(error).__name__})"
        ) from error
    if builder.is_prepared():
        return builder
    where = data_dir or "~/tensorflow_datasets"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        raise UserError(
            f"{name} is not prepared in {where} and must be downloaded by hand: see "
            f"https://www.tensorflow.org/datasets/catalog/{builder.name}, then prepare it with "
            "file_format='array_record' and set TFDS_DATA_DIR"
        )
    urls = list(builder.url_infos)
    if urls and not reachable(urls[0]):
        raise UserError(
            f"{name} is not prepared in {where} and {urls[0]} cannot be reached: prepare it on a machine "
            "with a network (file_format='array_record') and set TFDS_DATA_DIR or --config.data.data_dir"
        )
    logging.info("preparing %s in %s", name, where)
    builder.download_and_prepare(file_format="array_record")
    return builder


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Whether a server answers at all; any answer counts, a refusal too."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def _is_not_tfds_chatter(record: Any) -> bool:
    return record.levelno >= python_logging.ERROR or "tensorflow_datasets" not in record.pathname
