"""Videos as clips, of TFDS; and that a view draws its augmentation once for all frames."""

import jax
import numpy as np
import pytest

import jssl
from jssl.data import augment, host, sources
from jssl.data.sources.clips import ClipSpec, to_clip
from jssl.data.sources.tfds import TfdsVideo
from jssl.errors import UserError
from tests.clips import tiny_bounce
from tests.data.sources.files import TFDS, needs_prepared

RATE = 16000
CLIPS = ClipSpec(frames=10, size=16, seconds=1.0)


@needs_prepared("av_clips")
def test_videos_of_tfds_are_clips(tmp_path):
    source = sources.load("av_clips", "train", TFDS, clips=CLIPS, sound_rate=RATE)
    assert isinstance(source, TfdsVideo)
    assert (len(source), source.image_shape, source.sounds().shape) == (20, (16, 16, 10), (20, RATE))
    record = source._records[3]
    clip = source.decode(source.open(3), 3)
    begin = (37 / 12.5 - 1) / 2
    every = to_clip(record["video"], 16).astype(float)  # which of all frames each of the clip is
    found = [np.argmin(abs(every - clip[..., i, None]).mean(axis=(0, 1))) for i in range(10)]
    assert found == [int((begin + i / 10) * 12.5 + 1e-3) for i in range(10)]
    first = round(begin * RATE)
    np.testing.assert_array_equal(source.sounds()[3], record["audio"][first : first + RATE])
    with pytest.raises(UserError, match=r"lasts 2\.96 s, less than data.video.seconds=3"):
        sources.load("av_clips", "train", TFDS, clips=ClipSpec(seconds=3.0))
    config = tiny_bounce()
    config.data.update({"name": "av_clips", "data_dir": TFDS})
    config.data.audio.update({"rate": RATE, "window": 400, "hop": 320, "fft": 512})
    config.data.video.update({"frames": 16, "size": 20, "seconds": 1.6})
    result = jssl.run(config, tmp_path / "run")
    assert 0 <= result["correspondence/synchronisation"] <= 1
    config.data.audio.rate = 8000
    with pytest.raises(UserError, match="the sound of av_clips has 16000 samples a second"):
        jssl.run(config, tmp_path / "other")


MOVES = {"crop_area_min": 0.2, "flip_prob": 0.5, "degrees": 30.0, "translate": 0.2, "pad": 2}


def test_a_view_of_a_clip_draws_once_for_all_frames():
    """On the device and on the host: frames that are alike stay alike, wherever the clip is cut, turned or flipped."""
    still = np.random.default_rng(0).integers(0, 256, (12, 24, 24, 1), dtype=np.uint8)
    clips = np.repeat(still, 6, axis=-1)
    spec = augment.ViewSpec(size=12, jitter_prob=1.0, brightness=0.4, contrast=0.4, blur_prob=0.5, **MOVES)
    (views,) = jax.jit(lambda x: augment.views(jax.random.key(0), x, {"first": spec})["first"])(clips)
    np.testing.assert_allclose(views, np.repeat(views[..., :1], 6, axis=-1), atol=1e-6)
    assert len(np.unique(np.asarray(views).mean(axis=(1, 2, 3)))) == 12  # and every clip draws its own
    (crop,) = host.train_crops(clips[0], {"first": spec}, (0, 1), 6, np.uint8)["first"]
    np.testing.assert_array_equal(crop, np.repeat(crop[..., :1], 6, axis=-1))
    assert crop.shape == (12, 12, 6)
