"""Small clips with sound, and a small run on clips: one shape, so that tests share what is compiled."""

import numpy as np

from jssl.configs import audio_visual
from jssl.data.sources import ArraySource
from jssl.data.sources.bouncing_digits import clip
from tests.conftest import tiny


def tiny_bounce(**method):
    config = tiny(audio_visual.get_config("bounce"))
    config.encoder.window = 8
    config.evals.knn.enabled = config.evals.linear.enabled = False
    config.data.audio.noise = 0.0
    config.data.holdout = 0.0
    config.method.update(method)
    return config


def clips_of(sounds=None):
    """40 clips to train on and 24 to test, with their own sounds or all with one."""
    found = {}
    digits = np.full((4, 8, 8), 200, np.uint8)
    for split, (seed, count) in {"train": (0, 40), "test": (1, 24)}.items():
        frames, own = (np.stack(part) for part in zip(*(clip(digits, seed, i) for i in range(count))))
        source = ArraySource("clips", frames, np.zeros(count, np.int32), ["digit"])
        found[split] = source.with_sounds(
            own if sounds is None else np.broadcast_to(sounds, own.shape).copy(), 4000
        )
    return found
