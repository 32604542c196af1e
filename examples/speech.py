"""Spoken digits without labels, and voices that training never heard: a method of images learns from spectrograms.

python examples/speech.py [CONFIG] [EPOCHS] [WORKDIR]

Wants the Free Spoken Digit Dataset (prepared as TFDS `fsdd`: int16 at 8 kHz, a file name and a label) in TFDS_DATA_DIR.
File names are DIGIT_SPEAKER_NUMBER.wav: two of the six speakers are the test set.
"""

import os
import sys

import numpy as np
import tensorflow_datasets as tfds

import jssl
from jssl.data import sources

HELD_OUT = ("jackson", "yweweler")


def speakers():
    """Who speaks in every recording."""
    records = tfds.builder("fsdd", data_dir=os.environ.get("TFDS_DATA_DIR")).as_data_source(split="train")
    return np.array([record["audio/filename"].decode().split("_")[1] for record in records])


def main(name="simclr:speech", epochs=0.0, workdir=""):
    config = jssl.get_config(name)
    config.data.update({"train": "train", "test": "test"})
    config.total_epochs = float(epochs) or config.total_epochs
    audio = config.data.audio
    sounds = sources.load("fsdd", "train", sound=sources.SoundFormat(audio.rate, audio.length))
    unheard = np.isin(speakers(), HELD_OUT)
    data = {"train": sounds.take(np.flatnonzero(~unheard)), "test": sounds.take(np.flatnonzero(unheard))}
    return jssl.run(config, workdir or f"runs/{config.name}", data=data)


if __name__ == "__main__":
    from jssl.report import tables

    result = main(*sys.argv[1:4])
    print(tables.table(result.values))
