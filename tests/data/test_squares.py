"""Whole images as squares: masks and boxes stay on what they are of."""

import numpy as np
import pytest

from jssl.data import sources
from jssl.data.sources import Boxes
from jssl.data.squares import Squared, check_masks, nearest
from jssl.errors import UserError


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (5, np.uint16)])
@pytest.mark.parametrize("shape", [(40, 64), (64, 40), (24, 24)])
def test_a_drawn_object_stays_in_its_mask_and_box(shape, channels, dtype):
    height, width = shape
    rows, columns = slice(height // 8, height // 2), slice(width // 4, width * 3 // 4)
    image, mask = np.zeros((1, *shape, channels), dtype), np.zeros(shape, np.uint8)
    image[0, rows, columns], mask[rows, columns] = np.iinfo(dtype).max, 1
    where = [[rows.start / height, columns.start / width, rows.stop / height, columns.stop / width]]
    source = sources.ArraySource("drawn", image).with_masks([mask])
    source = Squared(source.with_boxes([Boxes.of(where, [0])], ("object",)), 32)
    pixels = source.decode(source.open(0), 0)
    assert (pixels.shape, pixels.dtype) == ((32, 32, channels), dtype)
    bright = pixels[..., 0] > np.iinfo(dtype).max // 2
    found, (box,) = source.masks()[0], source.boxes()
    top, left, bottom, right = np.round(32 * box.where[0]).astype(int)
    inside = np.zeros((32, 32), bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(bright, found == 1)
    np.testing.assert_array_equal(bright, inside)


def test_nearest_pixels_by_definition():
    mask = np.random.default_rng(0).integers(0, 9, (13, 7)).astype(np.uint8)
    small = nearest(mask, 5)
    for row, column in np.ndindex(5, 5):
        y, x = (row + 0.5) * 13 / 5, (column + 0.5) * 7 / 5
        assert small[row, column] == mask[int(y), int(x)]


def test_masks_of_another_size_are_named():
    masks = sources.Masks(1, lambda index: np.zeros((5, 4), np.uint8))
    source = sources.ArraySource("one", np.zeros((1, 4, 5, 1), np.uint8))
    source.masks = lambda: masks
    with pytest.raises(UserError, match=r"^the mask of one\[0\] is of 5 x 4 pixels, its image of 4 x 5$"):
        check_masks(source)
