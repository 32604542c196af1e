import io
import time

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.sources import tfds as tfds_source
from jssl.errors import UserError
from tests.data.sources.files import TFDS, needs_tfds


@needs_tfds
def test_tfds_decodes_to_what_pil_decodes():
    source = sources.load("cifar10", "test[:64]", TFDS)
    assert (len(source), source.image_shape, source.class_names[3]) == (64, (32, 32, 3), "cat")
    (encoded,) = source.handles([5])
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    memory = sources.in_memory(source)
    np.testing.assert_array_equal(memory.images[5], pixels)
    np.testing.assert_array_equal(memory.labels(), source.labels())
    assert np.bincount(memory.labels()).size <= 10


def test_an_unprepared_set_fails_soon_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "reachable", lambda url: False)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not prepared in .* cannot be reached.*TFDS_DATA_DIR"):
        sources.load("cifar10", "train", str(tmp_path))
    with pytest.raises(UserError, match="must be downloaded by hand"):
        sources.load("imagenet2012", "train", str(tmp_path))
    assert time.monotonic() - start < 10
    assert not list(tmp_path.iterdir())


def test_reachable_asks_once_and_briefly():
    start = time.monotonic()
    assert not tfds_source.reachable("http://127.0.0.1:9/", timeout=1)  # nobody listens on the discard port
    assert time.monotonic() - start < 3


@needs_tfds
def test_an_unknown_split_lists_those_there_are():
    with pytest.raises(UserError, match=r"no split 'validation'.*train \(50000\)"):
        sources.load("cifar10", "validation", TFDS)
