"""What methods show of test images: what they predict, and which patches they take for alike."""

import numpy as np
import pytest

import jssl
from jssl.configs import autoencoder, jigsaw
from jssl.report import pictures
from jssl.runs import run as runs
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
