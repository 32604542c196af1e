"""Video files as clips: frames and sound on one time grid, labels, and files that cannot be read."""

import fractions
import importlib.util

import numpy as np
import pytest

import jssl
from jssl.data import sources
from jssl.data.sources.video import VideoFolder
from jssl.errors import UserError
from tests.clips import tiny_bounce
from tests.data.sources.files import png
from tests.data.sources.test_clips import CLIPS, RATE

av = pytest.importorskip("av", reason="PyAV is not installed")

FPS, FRAMES = 20, 40  # of files of two seconds
CODECS = {"mp4": ("mpeg4", "aac"), "avi": ("mpeg4", "pcm_s16le"), "webm": ("libvpx", "libopus")}


def encode(path, click=1.0, late=0.0, frames=FRAMES, sound=True):
    """Frames that become brighter by 6 a frame; sound that is silent until it clicks, whose track begins `late`."""
    video, audio = CODECS[path.suffix[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(video, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.bit_rate = 2_000_000
        heard = file.add_stream(audio, rate=48000 if audio == "libopus" else RATE) if sound else None
        for number in range(frames):
            pixels = np.full((32, 48, 3), 6 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, fractions.Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if heard is not None:
            rate = heard.rate
            wave = np.zeros((1, int((frames / FPS - late) * rate)), np.int16)
            first = int((click - late) * rate)
            wave[:, first : first + rate // 100] = 20000 * np.sign(np.sin(np.arange(rate // 100)))
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = rate, fractions.Fraction(1, rate)
            frame.pts = int(late * rate)
            file.mux(heard.encode(frame))
            file.mux(heard.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes; of every container one, and an mp4 whose sound begins late."""
    root = tmp_path_factory.mktemp("videos")
    for name in CODECS:
        encode(root / "train" / "first" / f"clip.{name}")
    encode(root / "train" / "second" / "late.mp4", late=0.75)
    for path in sorted(root.rglob("*.*")):  # four times as many, for a batch
        for again in range(3):
            path.with_stem(f"{path.stem}_{again}").write_bytes(path.read_bytes())
    encode(root / "test" / "first" / "a.mp4", click=1.25)
    encode(root / "test" / "second" / "b.mp4", click=0.75)
    return root


def test_frames_and_sound_lie_on_one_grid(folder):
    source = sources.load(str(folder), "train", clips=CLIPS, sound_rate=RATE)
    assert isinstance(source, VideoFolder)
    assert (len(source), source.image_shape, source.class_names) == (16, (16, 16, 10), ("first", "second"))
    assert source.labels().tolist() == [0] * 12 + [1] * 4
    assert source.sounds().shape == (16, RATE)
    for index in range(0, 16, 4):
        pixels = source.decode(source.open(index), index).astype(int)
        brightness = pixels.mean(axis=(0, 1))  # of every second frame from the tenth on
        np.testing.assert_allclose(
            brightness, 6 * (10 + 2 * np.arange(10)), atol=5, err_msg=source.filename(index)
        )
        loud = np.flatnonzero(abs(source.sounds()[index].astype(int)) > 5000)
        assert loud[0] / RATE == pytest.approx(0.5, abs=0.005), source.filename(
            index
        )  # a second after the begin
        assert loud[-1] / RATE == pytest.approx(0.51, abs=0.01), source.filename(index)
    test = sources.load(str(folder), "test", clips=CLIPS, sound_rate=8000)
    clicks = [np.flatnonzero(abs(wave.astype(int)) > 5000)[0] / 8000 for wave in test.sounds()]
    np.testing.assert_allclose(clicks, [0.75, 0.25], atol=0.005)


def test_what_cannot_be_read_is_an_unreadable_image(folder, tmp_path):
    whole = encode(tmp_path / "a.mp4").read_bytes()
    encode(tmp_path / "short.mp4", click=0.2, frames=10)
    encode(tmp_path / "silent.mp4", sound=False)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.avi").write_text("no video")
    source = sources.load(str(tmp_path), "train", clips=CLIPS, sound_rate=RATE)
    assert [source.filename(i) for i in range(5)] == [
        "a.mp4",
        "cut.mp4",
        "short.mp4",
        "silent.mp4",
        "text.avi",
    ]
    assert not source.sounds()[1:].any()
    source.open(0)
    reasons = ("cut.mp4: ", "lasts 0.5.* s, less than data.video.seconds=1", "no audio track", "text.avi: ")
    for index, words in enumerate(reasons, 1):
        with pytest.raises(sources.BadImage, match=words):
            source.open(index)
    deaf = sources.load(str(tmp_path), "train", clips=CLIPS)
    assert deaf.sounds() is None
    deaf.open(3)


def test_a_folder_with_images_is_one_of_images(folder, tmp_path):
    png(tmp_path, "a.png")
    encode(tmp_path / "b.mp4", sound=False, frames=4)
    assert sources.load(str(tmp_path), "train").image_shape is None
    assert sources.has_split(str(folder), "test")
    assert not sources.has_split(str(folder), "validation")


def test_without_pyav_it_is_said_what_to_install(folder, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else found(name))
    with pytest.raises(UserError, match=r"holds videos, which need: pip install 'jssl\[video\]'"):
        sources.load(str(folder), "train", clips=CLIPS)


def test_a_run_on_files(folder, tmp_path):
    config = tiny_bounce()
    config.data.name = str(folder)
    config.data.video.update({"frames": 16, "size": 20, "seconds": 1.6})
    result = jssl.run(config, tmp_path / "run")
    assert 0 <= result["correspondence/synchronisation"] <= 1
    for key, value, words in (
        (
            "seconds",
            3.0,
            r"none of 16 videos below .*train.*/clip.avi: it lasts 2[^,]*, less than data.video.seconds=3",
        ),
        ("frames", 0, "data.video.frames=0 must be at least 1"),
    ):
        config.data.video[key] = value
        with pytest.raises(UserError, match=words):
            jssl.run(config, tmp_path / "other")
