"""The page of a run: what it says, and that it needs nothing else."""

import html.parser
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from jssl.report import page as pages
from jssl.report.page import Shown, health, page, verdict

VALUES = {
    "knn/top1": 0.9,
    "pixels/knn/top1": 0.8,
    "untrained/knn/top1": 0.95,
    "linear/top1": 0.97,
    "pixels/linear/top1": 0.9,
    "untrained/linear/top1": 0.5,
    "health/features/rank_me": 12.3,
    "images_per_second": 1234.5,
    "evaluated_on": "test set",
    "step": 10,
}
LINES = [{"step": n, "loss": 2.0 - n / 10, "lr": 0.1} for n in range(1, 11)]


def png(side=4):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def shown(name="mine", **changes):
    given = {"values": VALUES, "lines": LINES, "pictures": {"views": png(), "features": png()}, "unread": ()}
    return Shown(name, **{**given, "command": "python -m jssl.main", "made": "in no time", **changes})


class Elements(html.parser.HTMLParser):
    """All start tags with their attributes, and the headings' levels."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_it_needs_nothing_else_and_can_be_heard():
    elements = Elements(page([shown(), shown("other")]))
    for tag, attributes in elements.found:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/", "#"))
    assert all(image["alt"] for image in elements.named("img"))
    assert elements.named("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert {a["href"] for a in elements.named("a")} == {f"#{name}" for name in ids}


def test_names_of_files_are_text():
    evil = "<script>alert(1)</script>.png"
    text = page([shown(evil, unread=[evil], command=f"--workdir={evil}", pictures={evil: png()})])
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 4


def test_a_page_of_one_run_says_first_what_it_is_worth(monkeypatch):
    text = page([shown()])
    assert text.index("90.0 % of the test set right") < text.index("<h3>Curves")
    assert "<td>this run</td><td>90.0</td><td>97.0</td>" in text
    assert "Effective rank 12" in text
    monkeypatch.setattr(pages, "LARGEST", 10)
    assert "Not shown for their size: features.png, views.png." in page([shown()])


def test_several_runs_stand_beside_each_other_with_their_curves_in_one():
    text = page([shown("a"), shown("b", values={"evaluated_on": "nothing: no labels"}, lines=[])])
    assert "<td>a</td><td>90.0</td><td>97.0</td><td>12.3</td><td>1,234</td>" in text
    assert "<td>b</td><td></td><td></td><td></td><td></td>" in text
    assert text.count("svg+xml") == 2  # loss and rate


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (VALUES, "better than raw pixels and in part better than the untrained encoder."),
        (
            {**VALUES, "linear/top1": 0.1},
            "in part better than raw pixels and worse than the untrained encoder.",
        ),
        ({"evaluated_on": "nothing: no labels"}, "No labels: no accuracy."),
        ({"evaluated_on": "test set", "classifier/top1": 0.5}, "50.0 % of the test set right (classifier)."),
    ],
)
def test_verdicts(values, words):
    assert words in verdict(values)


def test_alarms_are_told():
    assert "COLLAPSED" in page([shown(values={**VALUES, "collapsed": True})])
    assert "WORSE THAN AT THE START" in page([shown(values={**VALUES, "linear/top1": 0.1})])
    assert health({}) == []
