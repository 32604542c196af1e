"""A run on images of 16 bits and five channels, from its config to its features."""

import logging

import numpy as np
import pytest
import tifffile

import jssl
from jssl.data import datasets, normalization, sources
from jssl.errors import UserError
from jssl.runs import workdir
from tests.conftest import tiny_config

IMAGES = np.random.default_rng(0).integers(20, 900, (32, 12, 10, 5)).astype(np.uint16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A config and the folder of its finished run."""
    folder = tmp_path_factory.mktemp("deep")
    np.savez(folder / "a.npz", images=IMAGES)
    config = tiny_config(data__name=str(folder / "a.npz"), data__holdout=0.0, total_steps=4)
    config.data.mean = config.data.std = ("estimate",)
    config.log.pictures = True
    for view in config.data.unlabeled.views.values():
        view.update({"saturation": 0.4, "gray_prob": 0.2})
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    jssl.run(config, folder / "run")
    logger.removeHandler(handler)
    return config, folder / "run", [record.getMessage() for record in records]


def test_what_the_views_go_without_is_said_once(finished):
    lines = [line for line in finished[2] if "colours" in line]
    assert lines == ["images of 5 channels have no colours: the views go without gray_prob, saturation"]
    assert (finished[1] / "views.png").exists()


def test_the_estimate_is_noted_and_used_again(finished, monkeypatch):
    config, folder, _ = finished
    info = workdir.read_info(folder)
    assert (info.dtype, info.channels) == ("uint16", 5)
    np.testing.assert_allclose(info.mean, IMAGES.mean(axis=(0, 1, 2)) / 65535, rtol=1e-5)
    np.testing.assert_allclose(info.std, IMAGES.std(axis=(0, 1, 2)) / 65535, rtol=1e-5)
    monkeypatch.setattr(normalization, "estimate", lambda *_: pytest.fail("estimated anew"))
    encoder = jssl.load(folder)
    assert encoder._program.main.mean == info.mean
    workdir.write_splits(folder, datasets.open_data(config, workdir.recorded_info(folder)))  # still the same


def test_the_encoder_takes_what_it_was_trained_on(finished):
    encoder = jssl.load(finished[1])
    features = encoder(IMAGES[:8])
    assert features.shape[0] == 8
    assert features.std(axis=0).max() > 1e-3  # the values fill their range: images differ
    with pytest.raises(
        UserError, match=r"takes uint16\[B, H, W, 5\], as it was trained on, not uint8\[2, 12, 10, 5\]"
    ):
        encoder(IMAGES[:2].astype(np.uint8))
    with pytest.raises(UserError, match=r"not uint16\[2, 12, 10, 3\]"):
        encoder(IMAGES[:2, ..., :3])


def test_tiffs_of_floats_train_and_whatever_holds_them_gives_the_same_features(tmp_path):
    images = (IMAGES - 300.0).astype(np.float32)
    (tmp_path / "scans").mkdir()
    for number, image in enumerate(images):
        tifffile.imwrite(
            tmp_path / "scans" / f"{number:02}.tif", image, photometric="minisblack", planarconfig="contig"
        )
    config = tiny_config(data__name=str(tmp_path / "scans"), data__holdout=0.25, total_steps=2)
    for view in config.data.unlabeled.views.values():
        view.size = 10
    jssl.run(config, tmp_path / "run")
    info = workdir.read_info(tmp_path / "run")
    assert (info.dtype, info.stored_dtype) == ("uint16", "float32")
    assert info.value_range == (images.min(), images.max())
    encoder = jssl.load(tmp_path / "run")
    of_folder = encoder.embed(sources.load(str(tmp_path / "scans"), "train")).x
    of_array = encoder.embed(sources.ArraySource("a", images[:, 1:-1])).x  # the central squares
    np.testing.assert_allclose(of_folder, of_array, atol=1e-4)
    np.testing.assert_allclose(encoder(images[:, 1:-1].astype(np.float64)), of_array, atol=1e-4)
    with pytest.raises(UserError, match=r"the pixels of b are uint16, those of the training images float32"):
        encoder.embed(sources.ArraySource("b", IMAGES))
