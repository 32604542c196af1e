"""Boxes beside a folder of images in COCO's layout: `annotations.json` with images, annotations and categories."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from jssl.data.sources.annotations import Boxes
from jssl.data.sources.images import DECODER_ERRORS, Path, open_image, upright_size
from jssl.errors import UserError, shown

FILES = ("annotations.json", "_annotations.coco.json")  # in the folder
NAMED = 3  # files in a message
LARGEST = 1e9  # pixels
LOOKED_AT, TOLERANCE = 50, 0.05  # images whose shapes are compared; a part of the ratio of sides
PARTS = ("images", "annotations", "categories")


@dataclasses.dataclass(frozen=True)
class FolderBoxes:
    """The boxes of the images of a folder.

    Attributes:
      boxes: of every image; none of those that the file does not name.
      classes: names of the categories, in the order of their ids.
    """

    boxes: list[Boxes]
    classes: tuple[str, ...]


def folder_boxes(paths: Sequence[Path], root: Path) -> FolderBoxes | None:
    """The boxes of images, from a file in their folder or from COCO's own place for it; None if there is no such file.

    The file is annotations.json, _annotations.coco.json, or annotations/instances_FOLDER.json beside the folder. Its
    boxes are x, y, width and height in pixels.

    Args:
      paths: of the images.
      root: the folder, which the names of files in it begin from.

    Raises:
      UserError: if the file cannot be read, contradicts itself, or names none of the images.
    """
    there = [root / name for name in FILES]
    there.append(root.parent / "annotations" / f"instances_{root.name}.json")
    path = next((path for path in there if path.exists()), None)
    content = None if path is None else _content(path)
    if path is None or content is None:
        return None
    name, images = shown(path), _by_id("image", content["images"], shown(path))
    categories = dict(sorted(_by_id("category", content["categories"], name).items()))
    classes = [
        _value(category, "name", str, f"{name}: category {key}") for key, category in categories.items()
    ]
    twice = [each for each, count in collections.Counter(classes).items() if count > 1]
    if twice:
        raise UserError(f"{name}: two categories are called {twice[0]}: rename one of them")
    labels = {key: label for label, key in enumerate(categories)}
    found = collections.defaultdict[Any, list[tuple[list[float], int, bool]]](list)
    for number, each in enumerate(content["annotations"]):
        what = f"{name}: annotation {each.get('id', number) if isinstance(each, Mapping) else number}"
        image, label = (
            _known(each, key, ids, what) for key, ids in (("image_id", images), ("category_id", labels))
        )
        size = [_value(images[image], side, int, f"{name}: image {image}") for side in ("height", "width")]
        corners = _corners(_value(each, "bbox", list, what), size, what)
        crowd = each.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{what}: 'iscrowd' must be 0 or 1, not {crowd!r}")
        found[image].append((corners, labels[label], bool(crowd)))
    files = dict[str, Any]()
    for key, image in images.items():
        file = _normal(_value(image, "file_name", str, f"{name}: image {key}"))
        if file in files:
            raise UserError(f"{name}: images {files[file]} and {key} are both {shown(file)}: make them one")
        files[file] = key
    places = {str(path.relative_to(root)): place for place, path in enumerate(paths)}
    _check_names(files, places, name)
    there_too = {file: images[key] for file, key in files.items() if file in places and found[key]}
    _compare_shapes({paths[places[file]]: image for file, image in there_too.items()}, name)
    boxes = [Boxes.of([], [])] * len(paths)
    for file, key in files.items():
        if file in places and found[key]:
            where, own, crowds = zip(*found[key])
            boxes[places[file]] = Boxes.of(where, own, crowds, f"{name}: {shown(file)}", len(classes))
    return FolderBoxes(boxes, tuple(classes))


def _content(path: Path) -> dict[str, list[Any]] | None:
    """What a file says; None if it is of another kind."""
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{shown(path)} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(part), list) for part in PARTS):
        logging.warning("%s is not read: it lacks COCO's lists %s, %s and %s", *(shown(path), *PARTS))
        return None
    return found


def _by_id(kind: str, rows: Sequence[Any], name: str) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for number, row in enumerate(rows):
        key = _value(row, "id", int, f"{name}: {kind} {number} of its list")
        if key in found:
            raise UserError(f"{name}: there are two of {kind} {key}")
        found[key] = row
    return found


def _value(row: Any, key: str, kind: type, what: str) -> Any:
    """A value of an object; raises UserError if it is not there or of another kind."""
    found = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(found, kind) or isinstance(found, bool) or found == "":
        words = {str: "a text", int: "a whole number", list: "a list"}[kind]
        raise UserError(f"{what} must have {key!r}, {words}" + ("" if found is None else f", not {found!r}"))
    return found


def _known(row: Any, key: str, ids: Mapping[Any, Any], what: str) -> Any:
    """The id of an image or a category; raises UserError if there is none of it."""
    found = _value(row, key, int, what)
    if found not in ids:
        raise UserError(f"{what} is of {key} {found}, which is in no list of the file")
    return found


def _corners(box: Sequence[Any], size: Sequence[int], what: str) -> list[float]:
    """Corners y0, x0, y1, x1 as parts of the sides, of a box x, y, width, height in pixels."""
    numbers = [x for x in box if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= LARGEST]
    if not 1 <= min(size) <= max(size) <= LARGEST:
        raise UserError(f"{what}: its image is said to be {size[1]} x {size[0]} pixels large")
    if len(box) != 4 or len(numbers) != 4:
        raise UserError(f"{what}: 'bbox' must be x, y, width and height in pixels, not {box!r}")
    x, y, width, height = numbers
    return [y / size[0], x / size[1], (y + height) / size[0], (x + width) / size[1]]


def _compare_shapes(sizes: Mapping[Path, Mapping[str, Any]], name: str) -> None:
    """Warns of images, some are looked at, whose sides have another ratio than the file says."""
    files = list(sizes)
    some = [files[i] for i in np.linspace(0, len(files) - 1, min(LOOKED_AT, len(files))).astype(int)]
    wrong = []
    for file in some:
        try:
            width, height = upright_size(open_image(file))
        except DECODER_ERRORS:
            continue  # it is told when it is read
        said = sizes[file]["width"], sizes[file]["height"]
        if abs(math.log(said[0] / said[1] * height / width)) > TOLERANCE:
            wrong.append(
                f"{shown(file.name)} is of {width} x {height} pixels and not of {said[0]} x {said[1]}"
            )
    if wrong:
        logging.warning(
            "%s: %d of %d images that were looked at have another shape than it says, so that boxes may lie elsewhere: "
            "%s. Photographs are turned as their camera noted",
            *(name, len(wrong), len(some), wrong[0]),
        )


def _normal(name: str) -> str:
    return str(pathlib.PurePosixPath(name.replace("\\", "/")))


def _check_names(files: Mapping[str, Any], places: Mapping[str, int], name: str) -> None:
    """Tells images that the file or the folder lacks; raises UserError if the file names none, or most are missing."""
    missing = [file for file in files if file not in places]
    named = len(files) - len(missing)
    if not files:
        raise UserError(f"{name} names no image: its list 'images' is empty")
    if not named or len(missing) > named:
        example = (
            f", {shown(missing[0])} for one, and there is {shown(next(iter(places)))}" if missing else ""
        )
        raise UserError(f"{name}: {len(missing)} of {len(files)} images that it names are not there{example}")
    others = len(places.keys() - files.keys())
    for count, words in (
        (len(missing), f"images are not there: {', '.join(map(shown, missing[:NAMED]))}"),
        (others, "images of the folder are not in it, and count as images without objects"),
    ):
        if count:
            logging.warning("%s: %d %s", name, count, words)
