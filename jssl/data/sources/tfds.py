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

from jssl.data.sources.base import DTYPES, UNREAD, BadImage, Captions, Field, Source, chunks, fields_of
from jssl.data.sources.images import Opened
from jssl.data.sources.sounds import SoundFormat
from jssl.errors import UserError, unknown

CAPTION_KEYS = ("captions", "caption", "text")


class TfdsSource(Source):
    """A prepared TFDS split; records stay encoded until they are asked for."""

    labels_are_cheap = False

    def __init__(
        self,
        name: str,
        split: str,
        data_dir: str | None,
        captions: bool = True,
        sound: SoundFormat | None = None,
    ):
        import tensorflow_datasets as tfds

        try:
            builder = prepared_builder(name, data_dir)
        except UserError as error:
            hint = "" if sound is None else "; or give a folder of .wav or .flac files as data.name"
            raise UserError(f"{error}{hint}") from error
        features = builder.info.features
        self._label_key = feature_key(features, tfds.features.ClassLabel, name, None)
        self.name, self._sound = name, sound
        if sound is None:
            self._image_key = feature_key(features, tfds.features.Image, name, "image")
            shape, dtype = _shape_and_dtype(name, features[self._image_key])
        else:
            self._image_key = sound_key(features, name)
            self._rate = getattr(features[self._image_key], "sample_rate", None) or sound.rate
            shape, dtype = sound.shape, "uint16"
        classes = features[self._label_key].names if self._label_key else None
        fields = fields_of(shape, dtype, classes)
        self._caption_key = next((key for key in CAPTION_KEYS if captions and key in features), None)
        if self._caption_key:
            fields["text"] = Field("text", (None,), "str")
        self.fields = fields
        decoders = {self._image_key: tfds.decode.SkipDecoding()} if sound is None else None
        try:
            self._records = builder.as_data_source(split=split, decoders=decoders)
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

    def __len__(self) -> int:
        return len(self._records)

    def open_handle(self, handle: Any, index: int) -> Opened:
        if self._sound is None:
            return super().open_handle(handle, index)
        wave = np.clip(np.asarray(handle), -32768, 32767).astype(np.int16)
        if not len(wave):
            raise BadImage(f"{self.filename(index)}: it holds no sound")
        return self._sound.image(wave, self._rate)

    def handles(self, indices: Sequence[int]) -> list[Any]:
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

    def note_labels(self, labels: np.ndarray) -> None:
        if labels.shape == self._labels.shape:
            self._labels = labels.astype(np.int32)


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


def _shape_and_dtype(name: str, image: Any) -> tuple[tuple[int | None, ...], str]:
    """Those of an image feature; raises UserError if its pixels are not read."""
    height, width, channels = image.shape
    dtype = np.dtype(image.np_dtype).name
    if dtype not in DTYPES or (dtype == "uint16" and channels != 1):
        raise UserError(
            f"{name} has images of {dtype} with {channels} channels: prepare it with uint8, or uint16 and "
            "one channel"
        )
    return (height, width, channels or 3), dtype


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


def feature_key(features: Any, kind: type, name: str, what: str | None) -> str | None:
    """The first feature of a kind; an error if `what` must be there, None otherwise."""
    for key, feature in features.items():
        if isinstance(feature, kind):
            return str(key)
    if what:
        hint = "; for sounds set data.audio.as_images=True" if "audio" in features else ""
        raise UserError(f"{name} has no {what}: its features are {', '.join(features)}{hint}")
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
            ["digits", "moving_digits", *tfds.list_builders(with_community_datasets=False)],
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
