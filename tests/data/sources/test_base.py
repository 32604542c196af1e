"""What can be made of a source."""

import numpy as np
import pytest

from jssl.data import sources
from jssl.errors import UserError


def arrays(count, seed, shape=(8, 8, 3), name="a"):
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    return sources.ArraySource(name, images, np.arange(count) % 2)


def test_arrays_stay_arrays_without_labels():
    a, b = arrays(3, 0), arrays(2, 1)
    both = a.concat(b)
    np.testing.assert_array_equal(both.images, np.concatenate([a.images, b.images]))
    assert both.labels() is None
    assert both.class_names is None


def test_files_are_read_in_place(photos):
    folder = sources.FolderSource(photos)
    both = folder.concat(arrays(2, 1))
    assert len(both) == len(folder) + 2
    order = [len(folder) + 1, 3, len(folder), 0]
    for index, handle in zip(order, both.handles(order)):
        which, place = (1, index - len(folder)) if index >= len(folder) else (0, index)
        part = both.parts[which]
        expected = part.decode(part.open(place), place)
        np.testing.assert_array_equal(both.decode(both.open_handle(handle, index), index), expected)
        assert both.filename(index) == part.filename(place)


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 6, 3)])
def test_images_that_are_not_alike_cannot_be_joined(shape):
    with pytest.raises(UserError, match="they must be alike"):
        arrays(3, 0).concat(arrays(3, 1, shape))
