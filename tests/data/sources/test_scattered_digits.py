"""Scattered digits: whole, apart, and within their boxes."""

import numpy as np

from jssl.data import sources
from jssl.data.sources.scattered_digits import SIDE


def test_all_ink_lies_in_boxes_that_do_not_overlap():
    for split, length in (("train", 1500), ("test", 300)):
        source = sources.load("scattered_digits", split)
        assert (len(source), source.fields["boxes"].classes[3]) == (length, "3")
        images = source.gather(np.arange(40))["image"][..., 0]
        for image, boxes in zip(images, source.boxes()):
            covered = np.zeros((SIDE, SIDE), int)
            for y0, x0, y1, x1 in np.rint(boxes.where * SIDE).astype(int):
                covered[y0:y1, x0:x1] += 1
                assert image[y0:y1, x0:x1].any()
            assert 1 <= len(boxes.labels) <= 4
            assert not image[covered == 0].any()
            assert covered.max() == 1


def test_every_digit_occurs_and_splits_differ():
    train, test = (sources.load("scattered_digits", split) for split in ("train", "test"))
    for source in (train, test):
        assert set(np.concatenate([boxes.labels for boxes in source.boxes()])) == set(range(10))
    first = [source.gather([0])["image"] for source in (train, test)]
    assert (first[0] != first[1]).any()
