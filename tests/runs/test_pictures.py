"""What methods show of test images: what they predict, and which patches they take for alike, where a sound is."""

import numpy as np
import pytest
from etils import epath

import jssl
from jssl.configs import audio_visual, autoencoder, jigsaw
from jssl.data import datasets
from jssl.evaluation import suite
from jssl.report import pictures
from jssl.runs import run as runs
from jssl.runs.pictures import draw_sound
from jssl.train import program
from tests.conftest import tiny


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, by the name of the file; figures that every method has are left out."""
    found = {}
    for name in ("draw_views", "draw_features", "draw_curves"):
        monkeypatch.setattr(runs, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(
        pictures, "reconstructions", lambda path, columns, dtype: found.update({path.name: columns})
    )
    monkeypatch.setattr(pictures, "neighbours", lambda path, *args, **more: found.update({path.name: args}))
    return found


def test_reconstructions_stand_beside_what_was_seen_and_the_truth(drawn, tmp_path):
    config = tiny(autoencoder.get_config("digits"))
    config.log.pictures = True
    jssl.run(config, tmp_path / "run")
    columns = drawn["reconstruction.png"]
    assert list(columns) == ["input", "prediction", "truth"]
    assert {images.shape for images in columns.values()} == {(8, 8, 8, 1)}
    np.testing.assert_allclose(columns["input"], columns["truth"], atol=1e-5)  # nothing was hidden
    assert not np.allclose(columns["prediction"], columns["truth"], atol=0.05)
    assert 0 <= columns["truth"].min() < columns["truth"].max() <= 1


def test_near_patches_are_those_of_tiles(drawn, tmp_path):
    config = tiny(jigsaw.get_config("digits"))
    config.log.pictures = True
    jssl.run(config, tmp_path / "run")
    features, patches, rows = drawn["patches.png"]
    assert 128 * 2 <= len(patches) <= 128 * 4  # the flatter half is left out
    assert patches.shape[1:] == (3, 3, 1)
    assert patches.std(axis=(1, 2, 3)).min() > 0
    assert patches.dtype == np.uint8
    assert len(features) == len(patches)
    assert rows == 8
    assert "reconstruction.png" not in drawn


def test_maps_of_sound_are_cosines_of_places_with_its_own_and_with_anothers(monkeypatch, mesh8, tmp_path):
    found = {}
    monkeypatch.setattr(pictures, "similarity_maps", lambda *args: found.update({args[0].name: args[1:]}))
    config = tiny(audio_visual.get_config())
    config.log.pictures = True
    data = datasets.open_data(config)
    prog = program.make_program(config, data.info, mesh8)
    state = prog.init()
    evaluator = suite.Suite(prog, data)
    draw_sound(evaluator, state, epath.Path(tmp_path))
    images, maps = found["sound.png"]
    assert images.shape == (8, 8, 8, 1)
    assert list(maps) == ["its sound", "another's"]
    some = data.test.take(np.arange(8) * len(data.test) // 8)
    places = np.asarray(
        prog.output("embedding_map")(state.params, state.method_state, some.gather(range(8))["image"])
    )
    heard = np.asarray(prog.sound(state.params, state.method_state, some.sounds())["embedding"])
    for row in range(8):
        for name, sound in (("its sound", heard[row]), ("another's", heard[(row + 1) % 8])):
            lengths = np.linalg.norm(places[row], axis=-1) * np.linalg.norm(sound)
            cosines = (
                places[row] @ sound / np.maximum(lengths, 1e-9)
            )  # the embedding of an empty place may be 0
            np.testing.assert_allclose(maps[name][row], cosines, rtol=1e-3, atol=1e-4)
            assert abs(cosines).max() > 0.1
    found.clear()
    config.log.pictures = False
    draw_sound(evaluator, state, epath.Path(tmp_path))
    assert not found
