"""How evaluators see images: the same whatever they come in."""

import numpy as np
import pytest
from PIL import Image

from jssl.data.sources import ArraySource, FolderSource
from jssl.data.streams import DataInfo
from jssl.evaluation.extract import extract_source
from jssl.runs.encoder import Encoder
from jssl.train.program import make_program
from tests.conftest import tiny_config

SIDE = 40


@pytest.fixture(scope="module")
def images():
    """Smooth colour, since resampling noise twice is not resampling it once."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for x in coarse]
    )


@pytest.mark.parametrize("fraction", [1.0, 0.8])
def test_an_array_a_folder_and_a_call_give_the_same_features(images, fraction, tmp_path, mesh1):
    config = tiny_config(evals__crop_fraction=fraction, evals__batch_size=8)
    config.data.mean, config.data.std = (0.5,), (0.25,)
    for view in config.data.unlabeled.views.values():
        view.size = 16
    program = make_program(config, DataInfo(64, (SIDE, SIDE, 3), 3), mesh1)
    state = program.init()
    encoder = Encoder(program, state)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i:02}.png")
    of_array = encoder.embed(ArraySource("a", images)).x
    of_folder = encoder.embed(FolderSource(tmp_path)).x
    called = encoder(images)
    spread = of_array.std(axis=0).mean()
    np.testing.assert_allclose(called, of_array, atol=1e-5)
    assert np.abs(of_folder - of_array).max() < 0.1 * spread
    # and what is outside of the square is not seen
    framed = images.copy()
    edge = round(SIDE * (1 - fraction) / 2)
    if edge:
        framed[:, : edge - 1] = framed[:, -edge + 1 :] = 0
        np.testing.assert_allclose(encoder(framed), called, atol=1e-5)


def test_many_images_pass_in_batches_of_few_sizes(images, mesh1):
    program = make_program(tiny_config(evals__batch_size=8), DataInfo(64, (SIDE, SIDE, 3), 3), mesh1)
    encoder = Encoder(program, program.init())
    many = np.concatenate([images, images[::-1]])
    whole = encoder(many)
    assert whole.shape[0] == 24
    for count in (1, 3, 5, 8, 13):
        np.testing.assert_allclose(encoder(many[:count]), whole[:count], atol=1e-5)
    assert program.features._cache_size() <= 4


def test_features_of_a_source_are_in_its_order(images, mesh1):
    program = make_program(tiny_config(evals__batch_size=8), DataInfo(64, (SIDE, SIDE, 3), 3), mesh1)
    state = program.init()
    found = extract_source(
        program, lambda x: program.features(state.params, state.method_state, x), ArraySource("a", images)
    )
    np.testing.assert_array_equal(found.index, np.arange(12))
    np.testing.assert_allclose(found.x, Encoder(program, state)(images), atol=1e-5)
