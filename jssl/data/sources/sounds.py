"""Sounds alone: files, and arrays, held as images of one row, whose spectrograms are what encoders see."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jssl import storage
from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import BadImage, Field, Source, fields_of
from jssl.data.sources.digits import grey_digits, split_rows
from jssl.data.sources.folders import FileKind, FolderSource
from jssl.data.sources.images import DECODER_ERRORS, Opened, Path, why
from jssl.data.sources.paired_digits import TONE_RATE, tone
from jssl.errors import UserError

ENDINGS = frozenset({".wav", ".flac", ".ogg", ".mp3"})
SILENCE = 32768  # of samples as pixels
LARGEST_FACTOR = 1000  # of a resampling, up or down


@dataclasses.dataclass(frozen=True)
class SoundFormat:
    """What all sounds of a source become.

    Attributes:
      rate: samples a second.
      length: samples; longer sounds lose both ends, shorter ones lie in the middle of silence.
    """

    rate: int
    length: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of a sound as an image."""
        return 1, self.length, 1

    def image(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """A waveform int16[samples] of some rate as an image, uint16[1, length, 1].

        Example:
          >>> import numpy as np
          >>> from jssl.data.sources import SoundFormat
          >>> SoundFormat(rate=8000, length=4).image(np.array([-1, 5], np.int16), 8000).ravel().tolist()
          [32768, 32767, 32773, 32768]
        """
        return as_pixels(fitted(resampled(wave, rate, self.rate), self.length))[None, :, None]


def as_pixels(waves: np.ndarray) -> np.ndarray:
    """int16 as uint16: silence is 32,768."""
    return (waves.astype(np.int32) + SILENCE).astype(np.uint16)


def waveforms(
    waves: np.ndarray,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    name: str = "sounds",
) -> Source:
    """Sounds in memory, for runs with `data.audio.as_images`.

    Args:
      waves: int16[N, samples], of the rate of the run, `data.audio.rate`.
      labels: int[N] or str[N], see ArraySource.
      class_names: by label.
      name: what messages call them.

    Raises:
      UserError: if they are not that.

    Example:
      >>> import numpy as np
      >>> from jssl.data import sources
      >>> sources.waveforms(np.zeros((3, 8000), np.int16)).image_shape
      (1, 8000, 1)
    """
    waves = np.asarray(waves)
    if waves.dtype != np.int16 or waves.ndim != 2:
        raise UserError(f"{name}: sounds must be int16[N, samples], not {waves.dtype}{list(waves.shape)}")
    return ArraySource(name, as_pixels(waves)[:, None, :, None], labels, class_names)


class SoundFolder(FolderSource):
    """Sound files below a folder, sub-folders as in FolderSource; of several channels the mean is heard.

    Raises:
      UserError: if there is none, or the package that reads them is not installed.
    """

    kind = FileKind("sounds", lambda: ENDINGS)

    def __init__(self, root: Path, sound: SoundFormat):
        if importlib.util.find_spec("soundfile") is None:
            raise UserError(
                "sound files need the package soundfile: python -m pip install soundfile (or 'jssl[audio]')"
            )
        self.sound = sound
        super().__init__(root)

    def own_fields(self) -> dict[str, Field]:
        return fields_of(self.sound.shape, "uint16")

    def open_handle(self, handle: Any, index: int) -> Opened:
        try:
            return self.sound.image(*read(handle, self.sound))
        except DECODER_ERRORS as error:
            raise BadImage(f"{self.filename(index)}: {why(error)}") from error


def read(path: Path, sound: SoundFormat) -> tuple[np.ndarray, int]:
    """The middle of a file, as much as is needed, and its rate.

    Returns:
      int16[samples], samples a second.

    Raises:
      ValueError: if it cannot be decoded, is empty, or not of numbers.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(path.read_bytes()) if storage.is_remote(path) else path) as file:
            rate = file.samplerate
            wanted = min(file.frames, math.ceil(sound.length * rate / sound.rate))
            file.seek((file.frames - wanted) // 2)
            samples = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise ValueError(error.error_string) from error
    if not len(samples):
        raise ValueError("it holds no sound")
    if not np.isfinite(samples).all():
        raise ValueError("samples are not finite")
    return np.round(32767 * np.clip(samples, -1, 1)).astype(np.int16), rate


def resampled(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """int16[samples] at another rate, by a polyphase filter.

    Raises:
      ValueError: for rates of which neither is a thousandth of the other.
    """
    if rate == wanted:
        return wave
    from scipy import signal

    if not 1 / LARGEST_FACTOR <= rate / wanted <= LARGEST_FACTOR:
        raise ValueError(f"{rate} samples a second cannot become {wanted}")
    found = signal.resample_poly(wave.astype(np.float64), wanted, rate)
    return np.round(np.clip(found, -32768, 32767)).astype(np.int16)


def fitted(wave: np.ndarray, length: int) -> np.ndarray:
    """The middle of a waveform, or a waveform in the middle of silence, int16[length]."""
    spare = length - len(wave)
    if spare <= 0:
        return wave[-spare // 2 :][:length]
    return np.pad(wave, (spare // 2, spare - spare // 2))


def tones(sound: SoundFormat) -> dict[str, Source]:
    """The tones of a telephone's keys without their digits, see `digit_tones`: 1,437 to train on and 360 to test.

    Each begins at a time, lasts as long, is as loud and as noisy as by chance.
    """
    labels = grey_digits()[1]
    rng = np.random.default_rng(0)
    images = np.stack([sound.image(tone(digit, rng), TONE_RATE) for digit in labels.tolist()])
    return {
        split: ArraySource("tones", images[rows], labels[rows]) for split, rows in split_rows(labels).items()
    }
