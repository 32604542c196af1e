"""Sounds alone: files of any rate and channels, TFDS, arrays, tones; and that a middle is a middle."""

import pickle

import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources.sounds import as_pixels, fitted, resampled
from jssl.errors import UserError
from tests.data.sources.files import TFDS, needs_prepared

soundfile = pytest.importorskip("soundfile", reason="needs jssl[audio]")
FORMAT = sources.SoundFormat(rate=8000, length=800)


def sine(hertz, rate, seconds, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def wave_of(source, index):
    """A sound of a source in [-1, 1]."""
    return source.decode(source.open(index), index).ravel().astype(np.float64) / 32768 - 1


def loudest(wave, rate=8000):
    return np.fft.rfftfreq(len(wave), 1 / rate)[np.abs(np.fft.rfft(wave)).argmax()]


@pytest.fixture
def folder(tmp_path):
    """Two classes; mono and stereo, 8 to 44.1 kHz, of 16 bits and of floats."""
    for name, samples, rate, kind in (
        ("high/a.wav", sine(1500, 44100, 0.5), 44100, "PCM_16"),
        ("high/b.flac", np.stack([sine(1500, 16000, 0.05), np.zeros(800)], axis=1), 16000, "PCM_24"),
        ("low/c.wav", sine(500, 8000, 0.1), 8000, "FLOAT"),
        ("low/d.WAV", sine(500, 11025, 0.2), 11025, "PCM_U8"),
    ):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=kind)
    return tmp_path / "sounds"


def test_files_of_any_rate_become_sounds_of_one(folder):
    source = sources.load(str(folder), "train", sound=FORMAT)
    assert (source.image_shape, source.dtype, source.class_names) == ((1, 800, 1), np.uint16, ("high", "low"))
    assert source.labels().tolist() == [0, 0, 1, 1]
    waves = [wave_of(source, index) for index in range(4)]
    assert [abs(loudest(wave) - hertz) <= 20 for wave, hertz in zip(waves, (1500, 1500, 500, 500))] == [
        True
    ] * 4
    assert abs(waves[0]).max() == pytest.approx(0.5, abs=0.02)
    assert abs(waves[1]).max() == pytest.approx(
        0.25, abs=0.02
    )  # the mean of two channels, one of which is silent
    assert np.flatnonzero(abs(waves[1]) > 0.01)[[0, -1]] == pytest.approx(
        [200, 599], abs=3
    )  # .05 s in the middle
    copy = pickle.loads(pickle.dumps(source))  # as workers get it
    np.testing.assert_array_equal(wave_of(copy, 1), waves[1])
    np.testing.assert_array_equal(
        sources.in_memory(source).gather([1])["image"][0].ravel() / 32768 - 1, waves[1]
    )


def test_folders_of_sounds_have_splits_and_name_other_files(folder, caplog):
    (folder / "low").rename(folder / "test")
    (folder / "high").rename(folder / "train")
    (folder / "train" / "notes.txt").write_text("x")
    assert [len(sources.load(str(folder), split, sound=FORMAT)) for split in ("train", "test")] == [2, 2]
    assert "2 sounds, 1 other files left out: 1 .txt" in caplog.text
    assert sources.has_split(str(folder), "test", FORMAT)
    with pytest.raises(UserError, match="no images below"):
        sources.load(str(folder), "train")
    (folder / "train" / "pictures").mkdir()
    with pytest.raises(UserError, match=r"no sounds below .*expected files ending in \.flac"):
        sources.load(str(folder / "train" / "pictures"), "train", sound=FORMAT)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"RIFF", r"bad\.wav: Format not recognised"),
        (None, "it holds no sound"),
        (np.nan, "samples are not finite"),
    ],
)
def test_files_that_are_no_sound_are_like_unreadable_images(folder, content, words):
    path = folder / "bad.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(
            path, np.full(0 if content is None else 9, 0.0 if content is None else content), 8000, "FLOAT"
        )
    source = sources.load(str(folder), "train", sound=FORMAT)
    index = [source.filename(i) for i in range(len(source))].index("bad.wav")
    with pytest.raises(sources.BadImage, match=words):
        source.open(index)
    assert index in sources.in_memory(source).bad


@needs_prepared("fsdd")
def test_a_tfds_set_of_sounds(caplog):
    source = sources.load("fsdd", "train[:20]", TFDS, sound=FORMAT)
    assert (len(source), source.image_shape, source.class_names) == (20, (1, 800, 1), tuple("0123456789"))
    assert all(abs(wave_of(source, index)).max() > 0.01 for index in range(20))
    assert set(source.labels().tolist()) <= set(range(10))
    with pytest.raises(UserError, match=r"has no image: .*for sounds set data\.audio\.as_images=True"):
        sources.load("fsdd", "train", TFDS)


@needs_prepared("mnist")
def test_a_tfds_set_of_images_has_no_sound():
    with pytest.raises(UserError, match="mnist has no sound"):
        sources.load("mnist", "train", TFDS, sound=FORMAT)


def test_arrays_and_tones():
    waves = np.array([[-32768, 0, 32767]], np.int16)
    assert sources.waveforms(waves, np.array([3])).gather([0])["image"].ravel().tolist() == [0, 32768, 65535]
    with pytest.raises(UserError, match=r"int16\[N, samples\], not float64\[1, 3\]"):
        sources.waveforms(waves / 2)
    tones = sources.load("tones", "test", sound=sources.SoundFormat(8000, 3200))
    beside = sources.digit_tones()["test"]
    np.testing.assert_array_equal(tones.images[:, 0, :, 0], as_pixels(beside.sounds()))
    np.testing.assert_array_equal(tones.labels(), beside.labels())
    with pytest.raises(UserError, match="tones are sounds"):
        sources.load("tones", "train")
    with pytest.raises(UserError, match=r"data set 'fsdds'.* or give a folder of \.wav or \.flac files"):
        sources.load("fsdds", "train", "/nowhere", sound=FORMAT)
    with pytest.raises(UserError, match="digits are images"):
        sources.load("digits", "train", sound=FORMAT)


def test_middles_and_rates():
    wave = np.arange(1, 6, dtype=np.int16)
    assert [fitted(wave, n).tolist() for n in (3, 2, 5, 8)] == [
        [2, 3, 4],
        [2, 3],
        [1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 5, 0, 0],
    ]
    assert len(resampled(np.zeros(441, np.int16), 44100, 8000)) == 80
    with pytest.raises(ValueError, match="cannot become"):
        resampled(wave, 1, 192000)
