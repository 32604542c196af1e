"""Runs on sounds alone: any method, pictures, kNN beside raw spectrograms, a loaded encoder that hears, embedding."""

import jax
import numpy as np
import pytest

import jssl
from jssl import embed
from jssl.config import view
from jssl.configs import recipes, simclr
from jssl.data import sources
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.train import planner, program
from tests.conftest import tiny

soundfile = pytest.importorskip("soundfile", reason="needs jssl[audio]")
FORMAT = sources.SoundFormat(8000, 4000)


def tiny_tones(**audio):
    config = tiny(simclr.get_config("tones"))
    config.data.audio.update({"bands": 16, **audio})
    for each in config.data.unlabeled.views.values():
        each.size = 16
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones") / "run"
    config = tiny_tones()
    config.log.pictures = config.evals.baselines = True
    config.evals.knn.baselines = ("pixels",)
    return jssl.run(config, folder), folder


def test_a_run_learns_from_spectrograms(finished):
    result, folder = finished
    assert result["step"] == 6
    assert result["pixels/knn/top1"] > 0.8  # the tones are their spectra
    assert 0 < result["knn/top1"] <= 1
    assert {"views.png", "features.png", "neighbours.png"} <= {path.name for path in folder.iterdir()}


def test_whoever_asks_hears_the_same(finished, tmp_path):
    folder = finished[1]
    model, tones = jssl.load(folder), sources.load("tones", "test[:6]", sound=FORMAT)
    features = model.embed(tones).x
    waves = (tones.gather(np.arange(6))["image"][:, 0, :, 0].astype(np.int32) - 32768).astype(np.int16)
    np.testing.assert_allclose(model.audio(waves), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(embed.of_sounds(model, tones).x, features)
    for number, wave in enumerate(waves):
        soundfile.write(tmp_path / f"{number}.wav", wave, 8000)
    files = sources.load(str(tmp_path), "train", sound=model.sound_format)
    np.testing.assert_allclose(model.embed(files).x, features, rtol=1e-2, atol=1e-3)
    with pytest.raises(UserError, match=r"audio takes int16\[N, 4000\]"):
        model.audio(waves[:, :100])
    with pytest.raises(UserError, match=r"takes uint16\[B, H, W, 1\]"):
        model(np.zeros((2, 8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "views", "method"),
    [
        ("byol", {}, {}),
        ("mae", {"first": view(32)}, {}),
        ("rotation", {"weak": view(32)}, {}),
        ("jigsaw", {"weak": view(32)}, {"tile": 12}),
        ("dino", {"global": view(32, copies=2), "local": view(16, copies=2)}, {"local_views": ("local",)}),
    ],
)
def test_methods_of_images_are_built_of_sounds(name, views, method, mesh1):
    config = jssl.get_config(f"{name}:digits")
    encoder = config.encoder.copy_and_resolve_references()
    config = recipes.tones(config)
    config.encoder = encoder
    config.data.unlabeled.views = views or config.data.unlabeled.views
    config.method.update(method)
    info = DataInfo(1295, (1, 4000, 1), 1, 10, dtype="uint16", stored_dtype="uint16")
    prog = program.make_program(config, info, mesh1)
    (seen, *_) = jax.tree.leaves(prog.views["unlabeled"]["views"])
    assert seen.shape == (64, 32, 32, 1)
    features = jax.eval_shape(
        prog.features,
        *(prog.abstract_state().params, prog.abstract_state().method_state),
        jax.ShapeDtypeStruct((5, 1, 4000, 1), np.uint16),
    )
    assert features.shape[0] == 5


def test_a_plan_counts_what_sounds_cost(mesh1):
    info = DataInfo(1295, (1, 4000, 1), 1, 10, dtype="uint16", stored_dtype="uint16")
    prog = program.make_program(tiny_tones(), info, mesh1)
    assert planner.evaluation_flops(prog) > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.audio.enabled": True}, "not both"),
        ({"data.mean": "estimate"}, "give numbers"),
        ({"data.value_range": (0, 9)}, "is of images"),
        ({"data.unlabeled.resolution": 4}, "not sounds"),
        ({"data.unlabeled.crop": "host"}, "on the device"),
        ({"data.audio.crop": 100}, "fewer than one transform takes"),
        ({"data.audio.as_images": False}, "tones are sounds"),
        ({"data.name": "digits"}, "digits are images"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_a_folder_is_made(changes, words, tmp_path):
    config = tiny_tones()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        place = config
        for part in section.split("."):
            place = place[part]
        with place.ignore_type():
            place[name] = value
    with pytest.raises(UserError, match=words):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_of_a_user_are_no_sounds(tmp_path):
    images = np.zeros((40, 8, 8, 1), np.uint8)
    with pytest.raises(UserError, match=r"are images and no sounds; .* sources\.waveforms"):
        jssl.run(tiny_tones(), tmp_path / "run", data=(images, np.arange(40) % 2))
