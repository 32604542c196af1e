"""Boxes of a folder in COCO's layout: where the file may lie, what it says, and mistakes in it by name."""

import copy
import json

import numpy as np
import pytest
from PIL import Image

from jssl.data import sources
from jssl.errors import UserError
from tests.data.sources.files import png

GOOD = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 4, "height": 5},
        {"id": 3, "file_name": "b.png", "width": 4, "height": 5},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 0, 2, 5], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 2.5, 4, 2.5], "iscrowd": 1},
    ],
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        png(tmp_path / "pets", name, size=(4, 5))
    return tmp_path / "pets"


def write(folder, content=GOOD, name="annotations.json"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    "name", ["annotations.json", "_annotations.coco.json", "../annotations/instances_pets.json"]
)
def test_boxes_and_label_sets_of_a_folder(folder, name, caplog):
    write(folder, name=name)
    source = sources.load(str(folder), "train")
    assert "1 images of the folder are not in it, and count as images without objects" in caplog.text
    assert source.fields["boxes"].classes == ("cat", "dog")
    first, *others = source.boxes()
    np.testing.assert_allclose(first.where, [[0, 0.25, 1, 0.75], [0.5, 0, 1, 1]])
    assert (first.labels.tolist(), first.uncertain.tolist()) == ([1, 0], [False, True])
    assert [len(each.labels) for each in others] == [0, 0]
    assert sources.label_sets(source.boxes(), 2).tolist() == [[-1, 1], [0, 0], [0, 0]]
    assert source.take([2, 0]).boxes()[1].labels.tolist() == [1, 0]


def test_class_folders_have_boxes_too(tmp_path):
    for name in ("cats/a.png", "dogs/b.png"):
        png(tmp_path, name)
    content = copy.deepcopy(GOOD)
    for image, name in zip(content["images"], ("./cats/a.png", "dogs\\b.png")):
        image["file_name"] = name
    write(tmp_path, content)
    source = sources.load(str(tmp_path), "train")
    assert source.class_names == ("cats", "dogs")
    assert [len(each.labels) for each in source.boxes()] == [2, 0]


def test_a_folder_without_such_a_file_has_no_boxes(folder, caplog):
    assert "boxes" not in sources.load(str(folder), "train").fields
    write(folder, {"what": "of another kind"})
    source = sources.load(str(folder), "train")
    assert source.boxes() is None
    assert "is not read: it lacks COCO's lists images, annotations and categories" in caplog.text


def test_images_of_another_shape_than_the_file_says_are_told(folder, caplog):
    write(folder)
    sources.load(str(folder), "train")
    assert "another shape" not in caplog.text
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter, as phones note it
    Image.new("RGB", (4, 5)).save(folder / "a.png", exif=turned)
    sources.load(str(folder), "train")
    assert "1 of 1 images that were looked at have another shape than it says" in caplog.text
    assert "a.png is of 5 x 4 pixels and not of 4 x 5" in caplog.text


def changed(part, number, **values):
    content = copy.deepcopy(GOOD)
    content[part][number] |= values
    return content


def without(part, number, key):
    content = copy.deepcopy(GOOD)
    del content[part][number][key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"annotations\.json cannot be read as JSON: "),
        (
            changed("annotations", 1, image_id=9),
            r"annotation 2 is of image_id 9, which is in no list of the file$",
        ),
        (changed("annotations", 0, category_id=2), r"annotation 1 is of category_id 2, which is in no list"),
        (without("categories", 0, "name"), r"category 18 must have 'name', a text$"),
        (changed("categories", 0, name="cat"), r"two categories are called cat: rename one of them$"),
        (changed("images", 0, id=3), r"there are two of image 3$"),
        (changed("images", 0, width="4"), r"image 7 must have 'width', a whole number, not '4'$"),
        (without("annotations", 0, "bbox"), r"annotation 1 must have 'bbox', a list$"),
        (changed("annotations", 0, bbox=[1, 2, 3]), r"annotation 1: 'bbox' must be x, y, width and height"),
        (changed("annotations", 0, bbox=[1, 2, 3, None]), r"'bbox' must be x, y, width and height in pixels"),
        (
            changed("annotations", 0, bbox=[3, 0, 2, 5]),
            r"a\.png: the box \(0, 0\.75, 1, 1\.25\) leaves its image",
        ),
        (changed("annotations", 0, bbox=[3, 0, -2, 5]), r"a\.png: the box .* is turned around"),
        ({**GOOD, "images": [], "annotations": []}, r"names no image"),
        (
            {**GOOD, "images": [{**image, "file_name": f"x{image['id']}.png"} for image in GOOD["images"]]},
            r"2 of 2 images that it names are not there, x7\.png for one, and there is a\.png$",
        ),
        ("[" * 100_000, r"annotations\.json cannot be read as JSON: "),
        (changed("annotations", 0, bbox=[10**400, 0, 1, 1]), r"annotation 1: 'bbox' must be x, y"),
        (changed("images", 0, width=0), r"annotation 1: its image is said to be 0 x 5 pixels large$"),
        (changed("annotations", 0, iscrowd="0"), r"annotation 1: 'iscrowd' must be 0 or 1, not '0'$"),
        (changed("images", 1, file_name="./a.png"), r"images 7 and 3 are both a\.png: make them one$"),
        ({**GOOD, "annotations": ["x"]}, r"annotation 0 must have 'image_id', a whole number$"),
        ({**GOOD, "images": [None]}, r"image 0 of its list must have 'id', a whole number$"),
    ],
)
def test_mistakes_are_told_by_name(folder, content, message):
    write(folder, content)
    with pytest.raises(UserError, match=message) as error:
        sources.load(str(folder), "train")
    assert "\n" not in str(error.value)
