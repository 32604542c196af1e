"""Written digits find spoken ones: real images and real voices, and no label of either is learnt from.

python examples/spoken_digits.py [EPOCHS] [WORKDIR]

Wants MNIST (TFDS `mnist`) and the Free Spoken Digit Dataset (prepared as TFDS `fsdd`: int16 at 8 kHz, a file name and a
label), in TFDS_DATA_DIR. Every image is given one recording of its digit, once; that is all the method is told. The
test images have the voices of two speakers that training never heard.
"""

import os
import sys

import numpy as np
import tensorflow_datasets as tfds

import jssl
from jssl.data import sources

RATE, SAMPLES = 8000, 6400  # .8 seconds: nine of ten recordings are shorter
HELD_OUT = ("theo", "nicolas")
IMAGES = {"train": 20_000, "test": 2_000}


def recordings():
    """All recordings int16[N, 6400], in the middle of silence, their digits, and who speaks."""
    records = tfds.builder("fsdd", data_dir=os.environ.get("TFDS_DATA_DIR")).as_data_source(split="train")
    waves, labels, speakers = np.zeros((len(records), SAMPLES), np.int16), [], []
    for row, record in zip(waves, records):
        wave = record["audio"][:SAMPLES]
        start = (SAMPLES - len(wave)) // 2
        row[start : start + len(wave)] = wave
        labels.append(int(record["label"]))
        speakers.append(record["audio/filename"].decode().split("_")[1])
    return waves, np.array(labels), np.array(speakers)


def spoken(split, waves, digits):
    """MNIST, every image with a recording of its digit."""
    images = sources.in_memory(sources.load("mnist", f"{split}[:{IMAGES[split]}]"))
    rng = np.random.default_rng(0)
    of_digit = [np.flatnonzero(digits == digit) for digit in range(10)]
    chosen = [rng.choice(of_digit[label]) for label in images.labels()]
    return images.with_sounds(waves[chosen], RATE)


def main(epochs=15.0, workdir="runs/spoken_digits"):
    waves, digits, speakers = recordings()
    unheard = np.isin(speakers, HELD_OUT)
    data = {
        "train": spoken("train", waves[~unheard], digits[~unheard]),
        "test": spoken("test", waves[unheard], digits[unheard]),
    }
    config = jssl.get_config("audio_visual")
    config.name, config.total_epochs = "spoken_digits", float(epochs)
    config.encoder.convnet.strides = (2, 2, 2)
    config.method.update({"sound_width": 16, "sound_strides": (2, 2, 2, 2)})
    config.data.audio.update({"low": 100.0, "high": 4000.0, "mask_bands": 6, "mask_frames": 8})
    config.data.unlabeled.views = {"first": jssl.config.view(28, pad=2)}
    config.data.unlabeled.batch_size = 64
    config.evals.linear.enabled = config.evals.baselines = False
    return jssl.run(config, workdir, data=data)


if __name__ == "__main__":
    main(*sys.argv[1:3])
