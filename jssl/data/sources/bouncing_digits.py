"""Clips with sound: scikit-learn's digits that bounce and click at every bounce, drawn from a seed, without files."""

from __future__ import annotations

import functools

import numpy as np

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source
from jssl.data.sources.digits import digits
from jssl.data.sources.paired import Sounding

FRAMES, SIDE = 16, 20  # of a clip, and of its frames in pixels
RATE, SAMPLES = 4000, 400  # of sound: a second, and a frame, which so takes a tenth of a second
SLOWEST, FASTEST = 1.5, 4.0  # pixels a frame along an axis
HERTZ = (1200.0, 500.0)  # of the click at the floor and the ceiling, and at the walls
CLICK, DECAY = 120, 0.008  # samples of a click, and the seconds in which it fades to 1 / e
LENGTHS = {"train": 3000, "test": 500}
SEEDS = {"train": 0, "test": 1}


@functools.lru_cache(maxsize=1)
def bouncing_digits() -> dict[str, Source]:
    """Clips of 1.6 seconds in which a digit bounces, and clicks when it does: 3,000 to train on and 500 to test.

    An image is a clip, uint8[20, 20, 16]: its channels are the frames, a tenth of a second each. Its sound is
    int16[6400] at 4 kHz, and the 400 samples of a frame begin with a click where the digit touches a border in it: a
    high one at the floor and the ceiling, a low one at the walls. At every bounce the speed is drawn anew, so that no
    clip repeats itself. There is noise, and clips are as loud as by chance. The label is the class of the digit; those
    of the test clips are test digits.

    Example:
      >>> from jssl.data import sources
      >>> clips = sources.bouncing_digits()["test"]
      >>> clips.image_shape, clips.sounds().shape, clips.sound_rate
      ((20, 20, 16), (500, 6400), 4000)
    """
    return {split: _split(split) for split in LENGTHS}


def _split(split: str) -> Source:
    still = digits()[split]
    found, labels = still.gather(np.arange(len(still))), still.labels()
    assert found is not None
    assert labels is not None
    drawn = [clip(found["image"][..., 0], SEEDS[split], index) for index in range(LENGTHS[split])]
    clips, sounds = (np.stack(part) for part in zip(*drawn))
    source = ArraySource(
        "bouncing_digits", clips, labels[np.arange(len(clips)) % len(still)], still.class_names
    )
    return Sounding(source, sounds, RATE)


def clip(images: np.ndarray, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """One clip, a function of its arguments alone.

    Args:
      images: of the digits, uint8[N, h, w].
      seed, index: which clip; its digit is number `index` modulo N.

    Returns:
      uint8[20, 20, 16], and its sound int16[6400].
    """
    rng = np.random.default_rng((seed, index))
    digit = images[index % len(images)]
    places = [path(rng, SIDE - side) for side in digit.shape]
    touches = [np.isin(own, (0, SIDE - side)) for own, side in zip(places, digit.shape)]
    frames = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for frame, top, left in zip(frames, *places):
        frame[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return np.moveaxis(frames, 0, -1), sound(rng, np.stack(touches))


def path(rng: np.random.Generator, room: int) -> np.ndarray:
    """Places along one axis, from 0 to `room`, int[16]: at either end it turns.

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources.bouncing_digits import path
      >>> path(np.random.default_rng(0), 12).tolist()
      [8, 9, 11, 12, 10, 9, 7, 6, 4, 3, 1, 0, 4, 7, 11, 12]
    """
    place, velocity = rng.uniform(0, room), rng.choice([-1, 1]) * rng.uniform(SLOWEST, FASTEST)
    places = np.zeros(FRAMES, int)
    for frame in range(FRAMES):
        places[frame] = round(place)
        if places[frame] in (0, room):
            velocity = (1 if places[frame] == 0 else -1) * rng.uniform(SLOWEST, FASTEST)
        place = min(max(place + velocity, 0.0), float(room))
    return places


def sound(rng: np.random.Generator, touches: np.ndarray) -> np.ndarray:
    """The sound of a clip, int16[6400], with the clicks of both axes: bool[2, 16]."""
    times = np.arange(CLICK) / RATE
    wave = rng.normal(scale=rng.uniform(0.0, 0.02), size=FRAMES * SAMPLES)
    volume = rng.uniform(0.1, 0.45)
    for hertz, frames in zip(HERTZ, touches):
        click = volume * np.sin(2 * np.pi * hertz * times) * np.exp(-times / DECAY)
        for frame in np.flatnonzero(frames):
            wave[frame * SAMPLES : frame * SAMPLES + CLICK] += click
    return np.round(32767 * np.clip(wave, -1, 1)).astype(np.int16)
