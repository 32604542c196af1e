"""Sound in pure JAX, inside jit: spectrograms as the known libraries make them, and changes of waveforms."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jssl import settings
from jssl.data.augment import image_ops
from jssl.errors import UserError, unknown
from jssl.types import Array, NdArray

SCALES = ("htk", "slaney")
PADS = ("none", "reflect", "zero")
LOGS = ("none", "log", "db")


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """How a waveform becomes a picture: a short-time Fourier transform with a periodic Hann window, and mel bands.

    Attributes:
      rate: samples a second of the waveform.
      window: samples of a frame; frames are `hop` apart and transformed at `fft` points, the window in their middle.
      hop: samples between frames.
      fft: points of the transform, at least `window`.
      pad: 'none' has whole frames only; the others centre frame k at k * hop, with reflected samples or zeros outside.
      power: 2 takes power, 1 takes magnitude.
      bands: mel bands; 0 keeps the fft // 2 + 1 frequencies.
      low, high: of the bands, in Hz; high 0 is half the rate.
      scale: of mel: 'htk' is logarithmic, 'slaney' linear below 1 kHz.
      straight_in_mel: whether the sides of the triangles are straight in mel, and not in Hz.
      area_norm: whether every band has the same area, so that wide ones are lower.
      log: 'log' is ln(x + offset), 'db' is 10 log10(max(x, offset)) and then at most `top_db` below the loudest of
        the waveform.
      offset: see `log`.
      top_db: see `log`; 0 for no limit.
    """

    rate: int = settings.size(16000)
    window: int = settings.size(400)
    hop: int = settings.size(160)
    fft: int = settings.size(512)
    pad: str = settings.choice("none", PADS)
    power: int = settings.choice(1, (1, 2))
    bands: int = settings.count(64)
    low: float = settings.weight(125.0)
    high: float = settings.weight(7500.0)
    scale: str = settings.choice("htk", SCALES)
    straight_in_mel: bool = True
    area_norm: bool = False
    log: str = settings.choice("log", LOGS)
    offset: float = settings.positive(0.01)
    top_db: float = settings.weight(0.0)

    def __post_init__(self) -> None:
        if self.bands > self.fft // 2 + 1:
            raise UserError(f"bands={self.bands}: fft={self.fft} has only {self.fft // 2 + 1} frequencies")
        if self.fft < self.window:
            raise UserError(f"fft={self.fft} must be at least window={self.window}")
        if self.bands and not self.low < (self.high or self.rate / 2) <= self.rate / 2:
            raise UserError(
                f"low={self.low:g} and high={self.high:g} must be frequencies in this order, up to half the rate "
                f"of {self.rate}"
            )

    def frames(self, samples: int) -> int:
        """How many frames a waveform of so many samples has."""
        if self.pad != "none":
            return 1 + samples // self.hop
        return max(0, 1 + (samples - self.window) // self.hop)


# The defaults of three libraries; see `front_end`.
FRONT_ENDS = {
    "vggish": FrontEnd(),
    "torchaudio": FrontEnd(
        hop=200,
        fft=400,
        pad="reflect",
        power=2,
        bands=128,
        low=0.0,
        high=0.0,
        straight_in_mel=False,
        log="none",
    ),
    "librosa": FrontEnd(
        rate=22050,
        window=2048,
        hop=512,
        fft=2048,
        pad="zero",
        power=2,
        bands=128,
        low=0.0,
        high=0.0,
        scale="slaney",
        straight_in_mel=False,
        area_norm=True,
        log="db",
        offset=1e-10,
        top_db=80.0,
    ),
}


def front_end(name: str, **changes: Any) -> FrontEnd:
    """The front end of a known library, with changes.

    Args:
      name: 'vggish' (16 kHz, 64 bands of magnitude, ln(x + .01)), 'torchaudio' (MelSpectrogram: 128 bands of power) or
        'librosa' (melspectrogram and power_to_db).
      changes: of the fields of `FrontEnd`.

    Raises:
      UserError: for a name that there is not.

    Example:
      >>> from jssl.data.augment import sound
      >>> sound.front_end("vggish").frames(16000)
      98
    """
    if name not in FRONT_ENDS:
        raise unknown("front end", name, FRONT_ENDS)
    return dataclasses.replace(FRONT_ENDS[name], **changes)


@dataclasses.dataclass(frozen=True)
class SoundView(FrontEnd):
    """How networks hear: a front end, what is changed in training, and what pictures are normalised by.

    Attributes:
      crop: samples of the piece that is heard, somewhere in training and in the middle else; 0 for all. Of sounds that
        are images (`data.audio.as_images`).
      gain_db: loudness is changed by up to so many decibels either way.
      noise: largest standard deviation of white noise; waveforms are in [-1, 1].
      mask_bands: most mel bands that are hidden in a run, 0 for none.
      mask_frames: most frames that are hidden in a run, 0 for none.
      mean: subtracted from pictures; of sounds that are images it is black.
      std: then divided by; mean + std is white.
    """

    crop: int = settings.count(0)
    gain_db: float = settings.weight(0.0)
    noise: float = settings.weight(0.0)
    mask_bands: int = settings.count(0)
    mask_frames: int = settings.count(0)
    mean: float = 0.0
    std: float = settings.positive(1.0)

    def pictures(self, waves: Array, key: Array | None = None) -> Array:
        """What networks take of waveforms [B, samples]: float32[B, bands, frames, 1]; with a key, changed by chance."""
        waves = to_float(waves)
        if key is None:
            return (spectrogram(waves, self) - self.mean) / self.std
        wave_key, mask_key = jax.random.split(key)
        if self.gain_db or self.noise:
            waves = changed(wave_key, waves, self.gain_db, self.noise)
        found = (spectrogram(waves, self) - self.mean) / self.std
        if self.mask_bands or self.mask_frames:
            found = masked(mask_key, found, self.mask_bands, self.mask_frames)
        return found

    @property
    def side(self) -> int:
        """Side of the image that a sound becomes: one row a band."""
        return self.bands or self.fft // 2 + 1

    def heard(self, samples: int) -> int:
        """How many of so many samples are heard."""
        return min(self.crop or samples, samples)

    def image(self, wave: Array, key: Array | None = None) -> Array:
        """A sound that a source holds as an image becomes one that networks see.

        Args:
          wave: uint16[1, samples, 1], 32,768 for silence; see `sources.waveforms`.
          key: of what chance changes, the piece that is heard included; None for the middle, unchanged.

        Returns:
          float32[side, side, 1] in [0, 1]: frames are resized to as many as there are bands.

        Example:
          >>> import jax.numpy as jnp
          >>> from jssl.data.augment import sound
          >>> view = sound.SoundView(mean=-5.0, std=7.0)  # black is a level of exp(-5)
          >>> image = view.image(jnp.full((1, 16000, 1), 32768, jnp.uint16))
          >>> image.shape, bool((image < 0.1).all())  # silence is dark
          ((64, 64, 1), True)
        """
        waves = wave[..., 0].astype(jnp.float32) / 32768 - 1
        samples = waves.shape[1]
        size = self.heard(samples)
        if key is not None:
            where, key = jax.random.split(key)
            waves = cropped(where, waves, size)
        else:
            waves = waves[:, (samples - size) // 2 :][:, :size]
        picture = jnp.clip(self.pictures(waves, key)[0], 0, 1)
        bands, frames = picture.shape[:2]
        return image_ops.resized_crop(picture, 0, 0, bands, frames, self.side, "bilinear")


def to_float(waves: Array) -> Array:
    """Waveforms in [-1, 1): int16 divided by 32,768, floats as they are."""
    return waves.astype(jnp.float32) / 32768 if jnp.issubdtype(waves.dtype, jnp.integer) else waves


def spectrogram(waves: Array, front: FrontEnd) -> Array:
    """Pictures of sound.

    Args:
      waves: [B, samples], int16 or floats in [-1, 1].
      front: how.

    Returns:
      float32[B, bands, frames, 1]: low sounds in the first row, time to the right.

    References:
      Hershey et al., CNN Architectures for Large-Scale Audio Classification, 2017. https://arxiv.org/abs/1609.09430

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import sound
      >>> tone = jnp.sin(2 * jnp.pi * 1000 * jnp.arange(16000) / 16000)
      >>> picture = sound.spectrogram(tone[None], sound.front_end("vggish"))
      >>> picture.shape, int(picture[0, :, 50, 0].argmax())  # 64 bands; that of 1 kHz is the loudest
      ((1, 64, 98, 1), 19)
    """
    x = _frames(to_float(waves), front) * _window(front)
    found = jnp.abs(jnp.fft.rfft(x, axis=-1))  # [B, frames, frequencies]
    found = found**2 if front.power == 2 else found
    if front.bands:
        found = jnp.einsum("btf,mf->btm", found, mel_bands(front), precision="highest")
    return _logarithm(found, front).swapaxes(1, 2)[..., None]


def _frames(x: Array, front: FrontEnd) -> Array:
    """Pieces of waveforms, [B, frames, fft]."""
    count = front.frames(x.shape[1])
    if front.pad == "none":
        before = (front.fft - front.window) // 2  # so that the window begins at the first sample
        x = jnp.pad(x, ((0, 0), (before, front.fft - front.window - before)))
    else:
        mode = {"reflect": "reflect", "zero": "constant"}[front.pad]
        x = jnp.pad(x, ((0, 0), (front.fft // 2, front.fft // 2)), mode=mode)
    # Side by side, as a gather of overlapping frames would draw noise anew for every frame that a sample lies in.
    parts = -(-front.fft // front.hop)
    samples = (count + parts - 1) * front.hop
    x = jnp.pad(x, ((0, 0), (0, max(0, samples - x.shape[1]))))[:, :samples]
    blocks = x.reshape(len(x), count + parts - 1, front.hop)
    return jnp.concatenate([blocks[:, i : i + count] for i in range(parts)], axis=-1)[..., : front.fft]


def _window(front: FrontEnd) -> NdArray:
    """The periodic Hann window in the middle of fft points, float32[fft]."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(front.window) / front.window)
    left = (front.fft - front.window) // 2
    return np.pad(hann, (left, front.fft - front.window - left)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def mel_bands(front: FrontEnd) -> NdArray:
    """The weights of frequencies in the bands, float32[bands, fft // 2 + 1]: triangles, evenly spaced in mel."""
    high = front.high or front.rate / 2
    edges = np.linspace(to_mel(front.low, front.scale), to_mel(high, front.scale), front.bands + 2)
    frequencies = np.arange(front.fft // 2 + 1) * front.rate / front.fft
    points, nodes = frequencies, to_hertz(edges, front.scale)
    if front.straight_in_mel:
        points, nodes = to_mel(frequencies, front.scale), edges
    left, middle, right = nodes[:-2, None], nodes[1:-1, None], nodes[2:, None]
    weights = np.maximum(
        0, np.minimum((points - left) / (middle - left), (right - points) / (right - middle))
    )
    if front.area_norm:
        hertz = to_hertz(edges, front.scale)
        weights *= 2 / (hertz[2:, None] - hertz[:-2, None])
    return weights.astype(np.float32)


def to_mel(hertz: float | NdArray, scale: str) -> NdArray:
    """Frequencies in mel: 'htk' 2595 log10(1 + f / 700), 'slaney' linear up to 1 kHz."""
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) * 27 / np.log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, above)


def to_hertz(mel: float | NdArray, scale: str) -> NdArray:
    """The inverse of `to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))


def _logarithm(x: Array, front: FrontEnd) -> Array:
    if front.log == "none":
        return x
    if front.log == "log":
        return jnp.log(x + front.offset)
    decibel = 10 * jnp.log10(jnp.maximum(x, front.offset))
    if not front.top_db:
        return decibel
    return jnp.maximum(decibel, decibel.max(axis=(1, 2), keepdims=True) - front.top_db)


def masked(key: Array, pictures: Array, bands: int, frames: int) -> Array:
    """SpecAugment: of every picture a run of bands, and one of frames, become its mean.

    Args:
      key: random key.
      pictures: float[B, bands, frames, 1].
      bands: most of a run; its length is drawn from 0 to that.
      frames: likewise.

    References:
      Park et al., SpecAugment, 2019. https://arxiv.org/abs/1904.08779
    """
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    for axis, most in ((1, bands), (2, frames)):
        key, lengths, starts = jax.random.split(key, 3)
        shape, size = (len(pictures), 1), pictures.shape[axis]
        length = jax.random.randint(lengths, shape, 0, min(most, size) + 1)
        start = jax.random.randint(starts, shape, 0, size - length + 1)
        inside = (jnp.arange(size) >= start) & (jnp.arange(size) < start + length)
        inside = jnp.expand_dims(inside, (2, 3) if axis == 1 else (1, 3))
        pictures = jnp.where(inside, mean, pictures)
    return pictures


def changed(key: Array, waves: Array, gain_db: float = 0.0, noise: float = 0.0) -> Array:
    """Waveforms in [-1, 1] as loud as by chance, and with white noise.

    Args:
      key: random key.
      waves: float[B, samples].
      gain_db: loudness is changed by up to so many decibels either way.
      noise: largest standard deviation of the noise.
    """
    loud, level, hiss = jax.random.split(key, 3)
    gain = jax.random.uniform(loud, (len(waves), 1), minval=-gain_db, maxval=gain_db)
    deviation = jax.random.uniform(level, (len(waves), 1), maxval=noise)
    return waves * 10 ** (gain / 20) + deviation * jax.random.normal(hiss, waves.shape)


def cropped(key: Array, waves: Array, samples: int) -> Array:
    """A piece of every waveform, [B, samples], from where chance says."""
    starts = jax.random.randint(key, (len(waves),), 0, waves.shape[1] - samples + 1)
    return jax.vmap(lambda wave, start: jax.lax.dynamic_slice(wave, (start,), (samples,)))(waves, starts)
