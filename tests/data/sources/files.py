"""Files and data sets that the tests of sources share."""

import os
import pathlib

import pytest
from PIL import Image

TFDS = os.environ.get("TFDS_DATA_DIR", str(pathlib.Path(__file__).parents[4] / "shared" / "tfds"))


def needs_prepared(name):
    """Skips a test where a TFDS set is not there."""
    return pytest.mark.skipif(
        not pathlib.Path(TFDS, name).is_dir(), reason=f"no prepared {name} below TFDS_DATA_DIR"
    )


needs_tfds = needs_prepared("cifar10")


def png(folder, name, colour=(10, 20, 30), size=(5, 4)):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path
