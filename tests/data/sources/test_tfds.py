import io
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jssl.data import sources
from jssl.data.sources import tfds as tfds_source
from jssl.errors import UserError
from tests.commands import HANG
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
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)  # is not even tried
    with pytest.raises(UserError, match=r"not prepared in .* cannot be reached.*TFDS_DATA_DIR"):
        sources.load("cifar10", "train", str(tmp_path))
    with pytest.raises(UserError, match="must be downloaded by hand"):
        sources.load("imagenet2012", "train", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_reachable_asks_once_and_briefly():
    """A server that never answers is asked once, no longer than the timeout, which only a test may shorten."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert not tfds_source.reachable(f"http://{address}/", timeout=0.1)
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert not tfds_source.reachable(f"http://{address}/", timeout=HANG)  # nobody listens any more: a refusal


@needs_tfds
def test_an_unknown_split_lists_those_there_are():
    with pytest.raises(UserError, match=r"no split 'validation'.*train \(50000\)"):
        sources.load("cifar10", "validation", TFDS)
