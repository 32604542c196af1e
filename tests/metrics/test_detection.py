"""Average precision of boxes by cases made by hand, and beside its definition in NumPy."""

import sys

import numpy as np
import pytest

from jssl import metrics
from jssl.errors import UserError

OVERLAPS = np.linspace(0.5, 0.95, 10)
UNIT = [0.0, 0.0, 0.4, 0.4]
OTHER = [0.5, 0.5, 0.9, 0.9]


def image(*boxes, last):
    """The boxes of an image, each with its class, and a list of what they have besides."""
    where = np.array([box[:4] for box in boxes], float).reshape(-1, 4)
    return where, np.array([box[4] for box in boxes], int), np.array(last)


def iou(a, b):
    height, width = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    inner = height * width
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def precision_of_class(truth, found, label, least):
    """The mean precision at 101 points of recall, where every box is found once, by the surest that overlaps."""
    rows = sorted(
        (-score, number, tuple(box))
        for number, (boxes, labels, scores) in enumerate(found)
        for box, own, score in zip(boxes, labels, scores)
        if own == label
    )
    free = [[box for box, own in zip(boxes, labels) if own == label] for boxes, labels, _ in truth]
    count, right = sum(map(len, free)), []
    for _, number, box in rows:
        best = max(free[number], key=lambda other: iou(box, other), default=None)
        right.append(best is not None and iou(box, best) >= least)
        if right[-1]:
            free[number] = [other for other in free[number] if other is not best]
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(rows) + 1), hits / count
    points = [precision[recall >= at - 1e-12].max(initial=0) for at in np.linspace(0, 1, 101)]
    return np.mean(points)


def test_random_boxes_beside_the_definition():
    rng = np.random.default_rng(0)

    def boxes(count):
        corner = rng.uniform(0, 0.6, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (count, 2))], axis=1)

    truth, found = [], []
    for count in (3, 0, 5, 2):
        where, labels = boxes(count), rng.integers(0, 2, count)
        near = np.clip(where + rng.normal(0, 0.02, where.shape), 0, 1)
        truth.append((where, labels, np.zeros(count, bool)))
        whole = np.concatenate([near, boxes(3)]), np.concatenate([labels, rng.integers(0, 2, 3)])
        found.append((*whole, rng.random(count + 3)))
    values = metrics.box_precision(truth, found, 3)
    parts = np.array([[precision_of_class(truth, found, x, least) for x in (0, 1)] for least in OVERLAPS])
    assert 0.1 < parts.mean() < 0.9
    assert values["ap"] == pytest.approx(parts.mean())
    assert values["ap50"] == pytest.approx(parts[0].mean())
    assert values["ap75"] == pytest.approx(parts[5].mean())
    np.testing.assert_allclose(values["of_class"], [*parts.mean(axis=0), np.nan])


def test_what_is_found_is_right():
    truth = [image((*UNIT, 0), (*OTHER, 1), last=[False, False])]
    values = metrics.box_precision(truth, [image((*OTHER, 1), (*UNIT, 0), last=[0.2, 0.9])], 2)
    assert [values[x] for x in ("ap", "ap50", "recall")] == pytest.approx([1, 1, 1])


def test_a_box_is_found_once_and_of_its_class_alone():
    truth = [image((*UNIT, 0), last=[False])]
    twice = [image((*UNIT, 0), (*UNIT, 0), last=[0.9, 0.8])]
    before = [image((*OTHER, 0), (*UNIT, 0), last=[0.9, 0.8])]
    assert metrics.box_precision(truth, twice, 1)["ap"] == pytest.approx(
        1
    )  # the second comes after all is found
    assert metrics.box_precision(truth, before, 1)["ap"] == pytest.approx(0.5)
    assert metrics.box_precision(truth, [image((*UNIT, 1), last=[0.9])], 2)["ap"] == 0


def test_an_overlap_of_six_tenths_counts_at_three_of_ten():
    truth = [image((0, 0, 1, 1, 0), last=[False])]
    values = metrics.box_precision(truth, [image((0, 0, 1, 0.62, 0), last=[0.9])], 1)  # .5, .55, .6
    assert [values[x] for x in ("ap", "ap50", "ap75")] == pytest.approx([0.3, 1, 0])


def test_crowds_count_neither_way():
    truth = [image((*UNIT, 0), (*OTHER, 0), last=[False, True])]
    within = [0.6, 0.6, 0.8, 0.8]
    values = metrics.box_precision(truth, [image((*within, 0), (*UNIT, 0), last=[0.9, 0.8])], 1)
    assert [values[x] for x in ("ap", "recall")] == pytest.approx([1, 1])


def test_nothing_found_is_nothing():
    truth = [image((*UNIT, 0), last=[False])]
    assert metrics.box_precision(truth, [image(last=[])], 1)["ap"] == 0


def test_mistakes_are_told(monkeypatch):
    crowd = [image((*UNIT, 0), last=[True])]
    with pytest.raises(UserError, match=r"^there is no box to be found$"):
        metrics.box_precision(crowd, crowd, 1)
    with pytest.raises(UserError, match=r"^boxes of 1 images and predictions of 0"):
        metrics.box_precision(crowd, [], 1)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(UserError, match=r"pip install pycocotools \(or 'jssl\[detection\]'\)$"):
        metrics.box_precision(crowd, crowd, 1)
