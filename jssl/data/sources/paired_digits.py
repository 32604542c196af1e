"""Handwritten digits beside words or sounds, embedded: pairs with captions, digits with the tones of a telephone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from jssl.data.sources.arrays import ArraySource
from jssl.data.sources.base import Source
from jssl.data.sources.digits import grey_digits, split_rows
from jssl.data.sources.paired import Captioned, Sounding

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = (
    "{} {}",
    "{} and then {}",
    "the digits {} {}",
    "a {} followed by a {}",
    "{} on the left, {} on the right",
)
TONE_RATE, TONE_SAMPLES = 8000, 3200
ROW_HERTZ, COLUMN_HERTZ = (697, 770, 852, 941), (1209, 1336, 1477)

UNSEEN = 3  # of every ten pairs, which no training image shows
PER_PAIR = {"train": 50, "test": 20}


def digit_pairs() -> dict[str, Source]:
    """Two handwritten digits side by side and a caption, "seven and then three": 3,500 to train on and 600 to test.

    Of the hundred pairs 70 train and the other 30 are those of the test set, which so asks for what was never seen
    together. Labels are the pair, whose class is called "seven three". The digits of the test set are test digits.

    Example:
      >>> from jssl.data import sources
      >>> pairs = sources.digit_pairs()
      >>> len(pairs["train"]), pairs["train"].image_shape, pairs["test"].captions()[0]
      (3500, (16, 16, 1), ('zero zero',))
    """
    images, labels = grey_digits()
    names = [f"{first} {second}" for first, second in itertools.product(WORDS, WORDS)]
    unseen = np.random.default_rng(7).permuted(np.arange(100).reshape(10, 10), axis=1)[:, :UNSEEN]
    found: dict[str, Source] = {}
    for split, rows in split_rows(labels).items():
        rng = np.random.default_rng({"train": 0, "test": 1}[split])
        pairs = np.sort(unseen.ravel()) if split == "test" else np.setdiff1d(np.arange(100), unseen)
        pairs = np.repeat(pairs, PER_PAIR[split])
        of_class = [rows[labels[rows] == digit] for digit in range(10)]
        canvas = np.zeros((len(pairs), 16, 16), np.uint8)
        for side in (0, 1):
            digits = np.stack(np.divmod(pairs, 10))[side]
            chosen = np.array([rng.choice(of_class[digit]) for digit in digits])
            for row, (image, top) in enumerate(zip(images[chosen], rng.integers(0, 9, len(pairs)))):
                canvas[row, top : top + 8, 8 * side : 8 * side + 8] = image
        source = ArraySource("digit_pairs", canvas[..., None], pairs.astype(np.int32), names)
        templates = TEMPLATES if split == "train" else TEMPLATES[:1]
        found[split] = Captioned(source, [_captions(pair, templates) for pair in pairs.tolist()])
    return found


def digit_tones() -> dict[str, Source]:
    """Handwritten digits, each with the tone of its key on a telephone: 1,437 to train on and 360 to test.

    A tone is two frequencies (ITU-T Q.23) for .1 to .3 of .4 seconds, somewhere in white noise, as loud as by chance;
    what is drawn for an image stays.

    Example:
      >>> from jssl.data import sources
      >>> tones = sources.digit_tones()["test"]
      >>> tones.sounds().shape, tones.sound_rate
      ((360, 3200), 8000)
    """
    images, labels = grey_digits()
    rng = np.random.default_rng(0)
    sounds = np.stack([tone(digit, rng) for digit in labels.tolist()])
    return {
        split: Sounding(
            ArraySource("digit_tones", images[rows, ..., None], labels[rows]), sounds[rows], TONE_RATE
        )
        for split, rows in split_rows(labels).items()
    }


def tone(digit: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a telephone's key, int16[3200] at 8 kHz."""
    row, column = (3, 1) if digit == 0 else divmod(digit - 1, 3)
    length = int(rng.uniform(0.1, 0.3) * TONE_RATE)
    start = int(rng.integers(TONE_SAMPLES - length))
    times = 2 * np.pi * np.arange(length) / TONE_RATE
    wave = rng.normal(scale=rng.uniform(0.0, 0.05), size=TONE_SAMPLES)
    phases = rng.uniform(0, 2 * np.pi, 2)
    both = np.sin(ROW_HERTZ[row] * times + phases[0]) + np.sin(COLUMN_HERTZ[column] * times + phases[1])
    wave[start : start + length] += rng.uniform(0.05, 0.4) * both
    return np.round(32767 * np.clip(wave, -1, 1)).astype(np.int16)


def _captions(pair: int, templates: Sequence[str]) -> tuple[str, ...]:
    first, second = (WORDS[digit] for digit in divmod(pair, 10))
    return tuple(template.format(first, second) for template in templates)
