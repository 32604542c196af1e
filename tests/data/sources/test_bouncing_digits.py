"""Clips of digits that bounce: a function of seed and index, with a click exactly where one touches a border."""

import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources.bouncing_digits import CLICK, FRAMES, HERTZ, RATE, SAMPLES, SIDE, clip

DIGITS = np.full((5, 8, 8), 200, np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None]


@pytest.fixture(scope="module")
def drawn():
    return [clip(DIGITS, 0, index) for index in range(60)]


def test_a_clip_is_a_function_of_seed_and_index(drawn):
    frames, sound = clip(DIGITS, 0, 7)
    assert (frames.shape, frames.dtype, frames.max()) == ((SIDE, SIDE, FRAMES), np.uint8, 202)
    assert (sound.shape, sound.dtype) == ((FRAMES * SAMPLES,), np.int16)
    for part, same, other in zip((frames, sound), drawn[7], clip(DIGITS, 1, 7)):
        np.testing.assert_array_equal(part, same)
        assert (part != other).any()


def loudness(sound):
    """At the begin of every frame, float[16], and in the rest of it; and how high the begins are, in Hz."""
    pieces = sound.astype(np.float64).reshape(FRAMES, SAMPLES)
    begins, rests = pieces[:, :CLICK].std(axis=1), pieces[:, CLICK:].std(axis=1)
    spectrum = abs(np.fft.rfft(pieces[:, :CLICK])) ** 2
    return begins, rests, np.fft.rfftfreq(CLICK, 1 / RATE)[spectrum.argmax(axis=1)]


def test_clicks_come_in_the_frames_in_which_a_border_is_touched(drawn):
    clicks = 0
    for frames, sound in drawn:
        seen = frames > 0
        assert (seen.sum(axis=(0, 1)) == 64).all()
        profiles = [seen.any(axis=1 - axis) for axis in (0, 1)]  # rows or columns, and frames
        high, low = (profile[0] | profile[-1] for profile in profiles)
        begins, rests, hertz = loudness(sound)
        heard = begins > 1.35 * rests
        np.testing.assert_array_equal(heard, high | low)
        for touching, other, pitch in ((high, low, HERTZ[0]), (low, high, HERTZ[1])):
            np.testing.assert_allclose(hertz[heard & touching & ~other], pitch, atol=70)
        clicks += heard.sum()
    assert clicks > 4 * len(drawn)


def test_train_and_test_are_of_other_digits():
    clips = sources.bouncing_digits()
    assert [(len(clips[split]), clips[split].image_shape) for split in clips] == [
        (3000, (20, 20, 16)),
        (500, (20, 20, 16)),
    ]
    for split, source in clips.items():
        digits = sources.load("digits", split)
        images = digits.gather(np.arange(len(digits)))["image"]
        found = source.gather(np.arange(20))["image"]
        assert [frames[..., 0].sum() for frames in found] == [image.sum() for image in images[:20]]
        np.testing.assert_array_equal(source.labels()[:20], digits.labels()[:20])
    assert sources.load("bouncing_digits", "test[:10]").sounds().shape == (10, FRAMES * SAMPLES)
