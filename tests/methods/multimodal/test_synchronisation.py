"""Synchronisation: windows of clips and sound on one grid, nothing that gives the answer away, and a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import jssl
from jssl import models
from jssl.configs import audio_visual
from jssl.data.augment import sound
from jssl.errors import UserError
from jssl.evaluation.correspondence import synchronisation
from jssl.methods import Context
from jssl.methods.multimodal.audio_visual import AudioVisual
from jssl.methods.multimodal.windows import Clip, Windows
from tests.clips import clips_of, tiny_bounce
from tests.conftest import tiny

ROWS, CLIP = 8, Clip(frames=8, seconds=0.8, columns=40, hop=0.02)
WINDOWS = Windows(CLIP, window=4, min_shift=0.2)
KEYS = jax.random.split(jax.random.key(0), 400)


def test_frames_and_sound_are_cut_on_one_grid():
    begins = jnp.array([0, 1, 4])
    clips = jnp.broadcast_to(jnp.arange(8), (3, 2, 2, 8))
    pictures = jnp.broadcast_to(jnp.arange(40)[None, None, :, None], (3, 5, 40, 1))
    seen, heard = WINDOWS.seen(clips, begins), WINDOWS.heard(pictures, begins)
    assert (seen.shape, heard.shape) == ((3, 2, 2, 4), (3, 5, 20, 1))
    np.testing.assert_array_equal(seen[:, 0, 0], begins[:, None] + np.arange(4))
    np.testing.assert_array_equal(heard[:, 0, :, 0], 5 * begins[:, None] + np.arange(20))
    np.testing.assert_array_equal(WINDOWS.middle_of(pictures)[0, 0, :, 0], 10 + np.arange(20))
    encoder = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}, "window": 4})
    params, stats = encoder.init(jax.random.key(0), clips)
    whole, _ = encoder.apply(params, stats, clips.astype(jnp.float32), train=False)
    middle, _ = encoder.apply(params, stats, clips[..., 2:6].astype(jnp.float32), train=False)
    np.testing.assert_array_equal(whole, middle)  # evaluators see what `middle_of` hears
    short = dataclasses.replace(WINDOWS, clip=dataclasses.replace(CLIP, columns=38))  # of whole frames alone
    assert short.width == 18


def test_both_windows_are_drawn_alike_and_far_enough_apart():
    begins = np.asarray(WINDOWS.draw(KEYS))
    assert set(map(tuple, begins.tolist())) == set(map(tuple, WINDOWS.pairs.tolist()))
    assert abs(begins[:, 0] - begins[:, 1]).min() == 2
    np.testing.assert_array_equal(np.sort(WINDOWS.pairs[:, 0]), np.sort(WINDOWS.pairs[:, 1]))


def test_the_sound_alone_does_not_tell_which_is_shifted():
    """Sounds whose pitch rises tell their time exactly: a shift by a seam, or from the middle, would be heard."""
    rng = np.random.default_rng(0)
    times = np.arange(3200) / 4000
    rising = np.sin(2 * np.pi * (300 + 800 * times) * times) + rng.normal(scale=0.1, size=(400, 3200))
    view = sound.SoundView(rate=4000, window=128, hop=80, fft=128, bands=20, low=100.0, high=2000.0)
    pictures = view.pictures(jnp.asarray(0.3 * rising, jnp.float32))
    windows = dataclasses.replace(WINDOWS, clip=dataclasses.replace(CLIP, columns=pictures.shape[2]))
    begins = windows.draw(KEYS)
    assert told(pictures, windows, begins[:, 0], begins[:, 1]) == pytest.approx(0.5, abs=0.1)
    middle = jnp.full(400, 2)
    assert told(pictures, windows, middle, jnp.where(begins[:, 0] == 2, 0, begins[:, 0])) > 0.95


def told(pictures, windows, own, shifted):
    """How well a linear classifier of sounds tells windows from others, on sounds that it has not seen."""
    x = np.concatenate([np.asarray(windows.heard(pictures, begins)) for begins in (own, shifted)])
    x, y, trains = x.reshape(800, -1), np.repeat([1, 0], 400), np.tile(np.arange(400) < 200, 2)
    return LogisticRegression(C=0.1, max_iter=2000).fit(x[trains], y[trains]).score(x[~trains], y[~trains])


@pytest.fixture(scope="module")
def shifted():
    encoder = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}, "window": 4})
    sizes = {"hidden_dim": 8, "proj_dim": 6, "sound_width": 4, "sound_strides": (2,)}
    method = AudioVisual(
        encoder=encoder, clip=CLIP, negative_sounds="shifted", min_shift=0.2, shifted_from=0.5, **sizes
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.uniform(size=(ROWS, 6, 6, 8)), jnp.float32)
    sounds = jnp.asarray(rng.normal(size=(ROWS, 5, 40, 1)), jnp.float32)
    part = {"views": {"first": (images,)}, "audio": sounds, "index": jnp.arange(ROWS)}
    return method, {"unlabeled": part}


def test_negatives_are_of_others_first_and_then_shifted(shifted, monkeypatch):
    method, batch = shifted
    params, state = jax.jit(method.init)(jax.random.key(0), batch)
    begins = np.stack([np.arange(ROWS) % 3, 2 + np.arange(ROWS) % 3], axis=1)
    monkeypatch.setattr(Windows, "draw", lambda self, keys: jnp.asarray(begins))
    part = batch["unlabeled"]
    seen = jnp.stack([x[..., b : b + 4] for x, b in zip(part["views"]["first"][0], begins[:, 0])])
    both = [jnp.stack([x[:, 5 * b : 5 * b + 20] for x, b in zip(part["audio"], own)]) for own in begins.T]
    key = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(())).key
    stats = state["stats"]
    a = jax.jit(method.forward)(params, stats, seen, key=key)[0]["projector"]
    heard = jax.jit(method.forward_beside)(params, stats, jnp.concatenate(both), key=key)[0]
    b, later = np.split(np.asarray(heard["sound_projector"]), 2)
    loss = jax.jit(method.loss)
    for progress, other in ((0.0, np.roll(b, -1, axis=0)), (0.49, np.roll(b, -1, axis=0)), (0.5, later)):
        logits = np.concatenate([method.pair_logits(params, a, x) for x in (b, other)]).astype(np.float64)
        right = logits[np.arange(2 * ROWS), np.repeat([1, 0], ROWS)]
        expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - right)
        ctx = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.float32(progress))
        assert float(loss(params, state, batch, ctx)[0]) == pytest.approx(expected, rel=1e-4)
    quarter = dataclasses.replace(method, shifted_fraction=0.25)
    many = {"unlabeled": {"views": {}, "index": jnp.arange(400)}}
    many["unlabeled"]["views"]["first"] = (jnp.zeros((400, 1)),)
    early, late = (np.asarray(quarter._shifts(ctx._replace(progress=p), many)) for p in (0.4, 0.6))
    assert not early.any()
    assert late.mean() == pytest.approx(0.25, abs=0.08)


def test_silence_scores_a_half(tmp_path):
    result = jssl.run(tiny_bounce(), tmp_path / "run", data=clips_of(np.zeros(6400, np.int16)))
    assert result["correspondence/synchronisation"] == pytest.approx(0.5, abs=1e-9)
    assert result["correspondence/accuracy"] == 0.5
    assert "retrieval/image_to_sound/r1" not in result.values


def test_a_classifier_that_hears_alone_scores_a_half_and_one_that_compares_more():
    """Whatever it makes of sounds, even of ones that tell their time exactly."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 5 * 3)).astype(np.float32)

    def hears(_, sounds):
        return np.stack([0 * sounds[:, 0], sounds[:, 1]], axis=1)

    def compares(images, sounds):
        return np.stack([0 * images[:, 0], 1 - abs(images - sounds).sum(axis=1)], axis=1)

    assert synchronisation(WINDOWS, hears, images, images)["synchronisation"] == pytest.approx(0.5, abs=1e-9)
    found = synchronisation(WINDOWS, compares, images, images)
    assert found["in_step"] == 1
    assert found["shifted"] > 0.9


def test_what_is_wrong_is_said_before_a_folder_is_made(tmp_path):
    data = clips_of()
    for changes, window, words in (
        ({"min_shift": 1.0}, 8, r"min_shift=1: windows of 8 of 16 frames are at most 0\.8 seconds apart"),
        ({}, 0, "set encoder.window from 1 to 15, not 0"),
        ({}, 16, "set encoder.window from 1 to 15, not 16"),
        ({}, 17, "set encoder.window from 1 to 15, not 17"),
        ({"min_shift": 0.0}, 8, "min_shift=0.0 must be positive"),
        ({"negative_sounds": "shift"}, 8, "negative_sounds 'shift'.*did you mean 'shifted'"),
    ):
        config = tiny_bounce(**changes)
        config.encoder.window = window
        with pytest.raises(UserError, match=words):
            jssl.run(config, tmp_path / "run", data=data)
    config = tiny(audio_visual.get_config())
    config.method.negative_sounds = "shifted"
    with pytest.raises(
        UserError, match="takes clips, images whose channels are frames: these have 1 channel"
    ):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
