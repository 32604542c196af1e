"""Masks and boxes: where they are found, that they follow their images, and mistakes in them by name."""

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.data.sources import Boxes, label_sets
from jssl.data.sources.annotations import read_mask
from jssl.errors import UserError
from tests.data.sources.files import TFDS, needs_prepared


def write(root, name, value, size=(6, 8)):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def found(source):
    masks = source.masks()
    return [None if mask is None else int(mask.max()) for mask in masks]


LAYOUTS = {
    "beside": ({"images/a.png": "masks/a.png", "images/b.png": "masks/b.png"}, "train"),
    "by split, outside": ({"images/train/a.png": "masks/train/a.png", "images/test/a.png": None}, "train"),
    "by split, inside": ({"train/images/a.png": "train/masks/a.png", "test/images/a.png": None}, "train"),
    "MVTec": (
        {
            "train/good/0.png": None,
            "test/good/0.png": None,
            "test/crack/0.png": "ground_truth/crack/0_mask.png",
        },
        "test",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_where_data_sets_have_them(tmp_path, layout):
    files, split = LAYOUTS[layout]
    for number, (image, mask) in enumerate(files.items()):
        write(tmp_path, image, 100)
        if mask is not None:
            write(tmp_path, mask, number + 1)
    source = sources.load(str(tmp_path), split)
    assert source.fields["mask"].kind == "mask"
    expected = {"beside": [1, 2], "MVTec": [3, None]}.get(layout, [1])
    assert found(source) == expected
    names = [source.filename(index) for index in range(len(source))]
    assert not any("mask" in name or "ground_truth" in name for name in names)


def test_classes_that_are_called_like_masks_are_none(tmp_path):
    for name in ("cats/1.png", "dogs/1.png", "labels/1.png"):
        write(tmp_path, name, 3)
    source = sources.load(str(tmp_path), "train")
    assert source.class_names == ("cats", "dogs", "labels")
    assert source.masks() is None
    assert "mask" not in source.fields


def annotated():
    """Three images; the first pixel of each, its mask and the corner of its box say which it is."""
    images = np.zeros((3, 4, 5, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(3)
    masks = [np.full((4, 5), 7, np.uint8), None, np.full((4, 5), 9, np.uint8)]
    boxes = [Boxes.of([[0.1 * number, 0, 1, 1]], [number]) for number in range(3)]
    source = sources.ArraySource("three", images, np.arange(3))
    return source.with_masks(masks, ("a", "b")).with_boxes(boxes, ("x", "y", "z"))


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source,
        lambda source: source.map(lambda pixels, place: pixels),
        lambda source: source.converted(3, np.uint8),
        lambda source: source.renamed(("2", "1", "0")),
        lambda source: source.exact(),
        lambda source: sources.in_memory(source.map(lambda pixels, place: pixels)),
    ],
)
def test_they_follow_their_images(change):
    source = change(annotated()).take([2, 0]).take([1, 0])
    assert found(source) == [7, 9]
    assert [int(each.labels[0]) for each in source.boxes()] == [0, 2]
    assert [round(float(each.where[0, 0]), 3) for each in source.boxes()] == [0.0, 0.2]
    assert [int(source.decode(source.open(place), place)[0, 0, 0]) for place in range(2)] == [0, 2]
    assert source.fields["boxes"].classes == ("x", "y", "z")
    assert source.fields["mask"].classes == ("a", "b")


def test_other_masks_or_boxes_are_other_data():
    base = sources.ArraySource("one", np.zeros((1, 4, 5, 1), np.uint8))
    checksums = {
        base.content_checksum(),
        *(base.with_masks([np.full((4, 5), x, np.uint8)]).content_checksum() for x in (1, 2)),
        *(base.with_boxes([Boxes.of([[0, 0, 1, x]], [0])], ("a",)).content_checksum() for x in (0.5, 1)),
    }
    assert len(checksums) == 5


def test_the_classes_of_an_image_are_those_of_its_boxes():
    everywhere = [[0, 0, 1, 1]]
    boxes = [
        Boxes.of(everywhere * 3, [0, 2, 2], [False, True, False]),
        Boxes.of(everywhere, [1], [True]),
        Boxes.of([], []),
    ]
    assert label_sets(boxes, 3).tolist() == [[1, 0, 1], [0, -1, 0], [0, 0, 0]]


def test_boxes_that_leave_an_image_by_a_hair_are_cut():
    assert Boxes.of([[-0.004, 0, 1.004, 1]], [0]).where.tolist() == [[0, 0, 1, 1]]


ONE = sources.ArraySource("one", np.zeros((1, 4, 5, 1), np.uint8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: Boxes.of([[0, 0, 1, 1.2]], [0], name="a.png"),
            r"^a\.png: the box \(0, 0, 1, 1\.2\) leaves its",
        ),
        (lambda: Boxes.of([[0.5, 0, 0.4, 1]], [0]), r"is turned around: give y0, x0, y1, x1$"),
        (lambda: Boxes.of([[0, 0, 1, 1]], []), r"1 boxes and 0 labels"),
        (
            lambda: ONE.with_boxes([Boxes.of([[0, 0, 1, 1]], [2])], ("a", "b")),
            r"^one\[0\]: labels of boxes are from 0 to 1, not 2 to 2$",
        ),
        (lambda: ONE.with_boxes([], ("a",)), r"boxes of 0 images for 1"),
        (lambda: ONE.with_masks([]), r"0 masks for 1 images"),
        (
            lambda: ONE.with_masks([np.zeros((5, 4), np.uint8)]).masks()[0],
            r"^the mask of one\[0\] is of 5 x 4 pixels, its image of 4 x 5$",
        ),
        (lambda: read_mask(np.zeros((4, 4, 3), np.uint8), "m.png"), r"^m\.png: a mask has one channel"),
        (lambda: read_mask(np.full((4, 4), 256), "m.png"), r"from 0 to 255"),
        (lambda: read_mask(b"nothing", "m.png"), r"^m\.png: "),
    ],
)
def test_mistakes_are_told(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()


def test_a_palette_does_not_change_the_numbers_of_a_mask(tmp_path):
    numbers = np.array([[0, 1], [2, 255]], np.uint8)
    image = Image.fromarray(numbers).convert("P")
    image.putpalette([value for number in range(256) for value in (255 - number, number, 7)])
    image.putdata(numbers.ravel().tolist())
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", "mask"), numbers)


@needs_prepared("camvid")
def test_masks_of_a_prepared_data_set():
    source = sources.load("camvid", "test", TFDS).take([5, 3])
    mask = source.masks()[0]
    assert mask.shape == source.image_shape[:2]
    assert mask.max() <= 11
    image = source.decode(source.open(0), 0)
    assert image.shape[-1] == 3, "the mask, which is an image, too, is not taken for it"


@needs_prepared("coco128")
def test_boxes_of_a_prepared_data_set():
    source = sources.load("coco128", "train", TFDS)
    assert sum(len(each.labels) for each in source.boxes()) > 800
    assert label_sets(source.boxes(), len(source.fields["boxes"].classes)).max() == 1
