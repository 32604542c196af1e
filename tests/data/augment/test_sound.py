"""Spectrograms against stored values of torchaudio and librosa and a transform written out; changes of waveforms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data import augment
from jssl.data.augment import sound
from jssl.errors import UserError

KEY = jax.random.key(0)
# Of torchaudio 2.7.1 (MelSpectrogram()) and librosa 0.11.0 (melspectrogram, power_to_db) for `wave()`: the shape,
# values at (band, frame), and the sum.
STORED = {
    "torchaudio": (
        (128, 21),
        {(0, 0): 0.0, (5, 3): 0.45659, (20, 10): 0.0810032, (64, 15): 3.80022, (127, 20): 4.2899},
        34369.87109375,
    ),
    "librosa": (
        (128, 8),
        {(0, 0): -1.04815, (5, 3): -3.46352, (20, 5): -8.13084, (64, 6): -2.60947, (127, 7): -1.92164},
        -1657.46337890625,
    ),
}


def wave():
    tone = np.sin(2 * np.pi * 440 * np.arange(4000) / 16000) * 0.3
    return (np.random.default_rng(0).normal(size=4000) * 0.1 + tone).astype(np.float32)


@pytest.mark.parametrize("name", STORED)
def test_it_is_what_the_library_gives(name):
    shape, values, total = STORED[name]
    found = np.asarray(sound.spectrogram(wave()[None], sound.front_end(name)))[0, ..., 0]
    assert found.shape == shape
    for place, value in values.items():
        assert found[place] == pytest.approx(value, rel=1e-4, abs=1e-5)
    assert found.sum() == pytest.approx(total, rel=1e-5)


def test_vggish_is_a_transform_written_out():
    """Frame by frame and band by band, in float64, as its code does: triangles over mel, magnitude, ln(x + .01)."""
    x, mel = wave().astype(np.float64), lambda hertz: 1127 * np.log(1 + hertz / 700)
    edges = np.linspace(mel(125), mel(7500), 66)
    times = np.arange(400)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * times / 400)
    found = np.asarray(sound.spectrogram(x[None].astype(np.float32), sound.front_end("vggish")))[0, ..., 0]
    assert found.shape == (64, 23)
    for frame in (0, 7, 22):
        piece = x[160 * frame : 160 * frame + 400] * hann
        magnitude = [abs(np.sum(piece * np.exp(-2j * np.pi * k * times / 512))) for k in range(257)]
        for band in (0, 9, 40, 63):
            low, middle, high = edges[band : band + 3]
            total = 0.0
            for k, value in enumerate(magnitude):
                at = mel(k * 16000 / 512)
                total += max(0, min((at - low) / (middle - low), (high - at) / (high - middle))) * value
            assert found[band, frame] == pytest.approx(np.log(total + 0.01), abs=1e-3)


@pytest.mark.parametrize("name", ["vggish", "torchaudio", "librosa"])
def test_a_tone_of_1_khz_is_in_its_band(name):
    front = sound.front_end(name)
    tone = np.sin(2 * np.pi * 1000 * np.arange(front.rate) / front.rate)
    picture = np.asarray(sound.spectrogram(tone[None], front))[0, ..., 0]
    assert picture.shape == (front.bands, front.frames(front.rate))
    frequencies = np.arange(front.fft // 2 + 1) * front.rate / front.fft
    loudest = sound.mel_bands(front)[picture[:, picture.shape[1] // 2].argmax()]
    assert abs(frequencies[loudest.argmax()] - 1000) < 60


def test_scales_are_inverse_and_known():
    hertz = np.array([0.0, 500.0, 1000.0, 4000.0])
    for scale in sound.SCALES:
        np.testing.assert_allclose(sound.to_hertz(sound.to_mel(hertz, scale), scale), hertz, atol=1e-6)
    assert sound.to_mel(1000, "htk") == pytest.approx(999.99, abs=0.01)
    assert sound.to_mel(1000, "slaney") == 15


def test_integers_are_waveforms_too_and_frequencies_may_stay():
    integers = np.round(wave() * 32768).astype(np.int16)
    front = dataclasses.replace(sound.front_end("vggish"), bands=0)
    assert sound.spectrogram(integers[None], front).shape == (1, 257, 23, 1)
    np.testing.assert_allclose(sound.to_float(jnp.asarray(integers)), integers / 32768)
    with pytest.raises(UserError, match="unknown front end 'vgish'"):
        sound.front_end("vgish")


def test_masks_hide_one_run_of_bands_and_one_of_frames():
    pictures = jax.random.normal(KEY, (64, 20, 30, 1))
    found = np.asarray(sound.masked(KEY, pictures, bands=6, frames=10))
    changed = ~np.isclose(found, pictures)[..., 0]
    lengths = []
    for each in changed:
        for axis, most in ((1, 6), (0, 10)):
            hidden = np.flatnonzero(each.all(axis=axis))
            assert len(hidden) <= most
            assert not len(hidden) or hidden[-1] - hidden[0] + 1 == len(hidden)
            lengths.append(len(hidden))
        rows, columns = each.all(axis=1), each.all(axis=0)
        assert (each == (rows[:, None] | columns)).all()
    assert {0, 6} <= set(lengths[::2])
    assert {0, 10} <= set(lengths[1::2])


def test_gain_and_noise_are_within_their_bounds_and_crops_are_pieces():
    waves = jnp.ones((500, 50))
    loud = np.asarray(sound.changed(KEY, waves, gain_db=6.0))
    assert (loud.std(axis=1) < 1e-6).all()
    decibel = 20 * np.log10(loud[:, 0])
    assert -6 <= decibel.min() < -5 < 5 < decibel.max() <= 6
    spread = np.asarray(sound.changed(KEY, waves, noise=0.5)).std(axis=1)
    assert 0.4 < spread.max() < 0.75
    assert spread.min() < 0.05
    ramp = jnp.broadcast_to(jnp.arange(50.0), (500, 50))
    pieces = np.asarray(sound.cropped(KEY, ramp, 20))
    np.testing.assert_allclose(np.diff(pieces, axis=1), 1)
    assert {0, 30} <= set(pieces[:, 0].tolist())


def test_a_sound_becomes_a_square_image_of_the_piece_that_is_heard():
    view = sound.SoundView(
        rate=8000, window=64, hop=32, fft=64, bands=16, low=50.0, high=4000.0, crop=800, mean=-4.6, std=7.0
    )
    wave = np.full(1600, 32768, np.uint16)
    wave[600:1000] += np.round(9000 * np.sin(np.arange(400))).astype(np.int16).astype(np.uint16)
    keys = jax.random.split(jax.random.key(0), 8)
    image = jax.jit(view.image)
    seen = np.asarray(image(wave[None, :, None]))
    assert seen.shape == (16, 16, 1)
    assert seen.min() >= 0
    assert seen.max() <= 1
    heard = sound.spectrogram(jnp.asarray(wave[400:1200] / 32768.0 - 1)[None], view)[0]
    assert seen.max() == pytest.approx(float((heard.max() + 4.6) / 7), abs=0.1)
    level = seen[..., 0].max(axis=0)  # loud in the middle half
    assert level[6:10].min() > 4 * level[[0, 1, -2, -1]].max()
    centres = [
        float((np.arange(16) * found).sum() / found.sum())
        for found in np.asarray(jax.vmap(lambda key: image(wave[None, :, None], key))(keys))[..., 0].max(
            axis=1
        )
    ]
    assert np.ptp(centres) > 3  # pieces from here and there
    two = augment.views(
        keys[0], np.stack([wave[None, :, None]] * 2), {"a": augment.ViewSpec(size=16, copies=2)}, sound=view
    )
    assert two["a"][0].shape == (2, 16, 16, 1)
    assert abs(two["a"][0] - two["a"][1]).max() > 0.1  # every view hears another one
