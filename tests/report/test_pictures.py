"""Pictures never end a run."""

import logging

import numpy as np
from etils import epath

import jssl
from jssl.report import pictures
from tests.conftest import tiny_config


def test_names_that_are_formulas_elsewhere_are_text(tmp_path):
    names = (r"$\frac{$", "a_b^c", "$5 and $6", "<b>")
    x, labels = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 4
    path = epath.Path(tmp_path / "features.png")
    pictures.feature_map(path, x.astype(np.float32), labels, names)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, caplog):
    def full(path, content):
        if path.suffix == ".png":
            raise OSError(28, "No space left on device")
        return write_whole(path, content)

    write_whole = pictures.storage.write_whole
    monkeypatch.setattr(pictures.storage, "write_whole", full)
    config = tiny_config(log__pictures=True)
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert jssl.run(config, tmp_path / "run")["step"] == 6
    said = [r.getMessage() for r in caplog.records if "was not drawn: OSError" in r.getMessage()]
    assert {text.split()[0] for text in said} == {"views.png", "curves.png", "features.png", "neighbours.png"}
    assert (tmp_path / "run" / "result.json").exists()


def drawn(monkeypatch):
    """The figures that are saved, instead of their files."""
    figures = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: figures.append(figure))
    return figures


def test_curves_have_baselines_and_the_end_and_show_the_range(monkeypatch):
    figures = drawn(monkeypatch)
    lines = [{"step": 1, "loss": 2.0}, {"step": 2, "val/knn/top1": 0.95}, {"step": 4, "val/knn/top1": 0.97}]
    final = {"step": 6, "knn/top1": 0.96, "pixels/knn/top1": 0.94, "untrained/knn/top1": 0.93}
    pictures.curves(epath.Path("x"), lines, final)
    axes = figures[0].axes[1]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["val/knn/top1", "knn/top1, raw pixels", "knn/top1, untrained"]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "*"] == [[6]]
    low, high = axes.get_ylim()
    assert 0.9 < low < 0.93
    assert 0.97 < high < 1.0


def test_curves_of_a_run_without_labels_are_its_health(monkeypatch):
    figures = drawn(monkeypatch)
    line = {"step": 2, "health/features/rank_me": 20.0, "health/features/uniformity": -2.0}
    pictures.curves(epath.Path("x"), [line, {**line, "step": 4}])
    assert [text.get_text() for text in figures[0].axes[1].get_legend().get_texts()] == [*pictures.UNLABELLED]
    pictures.curves(epath.Path("x"), [{"step": 1, "loss": 1.0}])
    assert figures[1].axes[1].texts[0].get_text() == "no evaluation during training"


def test_neighbours_are_of_all_classes_with_right_and_wrong(monkeypatch):
    figures = drawn(monkeypatch)
    x, labels = np.eye(6)[[0, 0, 1, 1, 2, 2]] + 0.01, np.array([0, 0, 1, 1, 2, 0])
    images = np.zeros((6, 4, 4, 1), np.uint8)
    pictures.neighbours(
        epath.Path("x"), x, images, rows=3, count=1, labels=labels, class_names=("a", "b", "c")
    )
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts[::2]] == ["a", "b", "c"]
    colours = [frame.get_edgecolor() for frame in axes.patches]
    assert colours[0] == colours[1] != colours[2]  # the neighbour of the 2 is a 0
    pictures.neighbours(epath.Path("x"), x, images, rows=2, count=1)
    assert [text.get_text()[:2] for text in figures[1].axes[0].texts] == ["im", "1.", "1."]


def test_the_map_has_images_at_their_places_and_clusters_where_there_are_no_labels(monkeypatch):
    figures = drawn(monkeypatch)
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(4, 6)
    x = (centres[np.arange(40) % 4] + 0.01 * rng.normal(size=(40, 6))).astype(np.float32)
    images = rng.integers(0, 65536, (40, 5, 7, 5)).astype(np.uint16)
    pictures.feature_map(epath.Path("map.png"), x, np.zeros(40, int), None, images)
    left, right = figures[0].axes
    assert 2 <= len(left.images) <= 40  # no two over one another
    boxes = [image.get_extent() for image in left.images]
    for number, (a, b, c, d) in enumerate(boxes):
        for e, f, g, h in boxes[:number]:
            assert b <= e or f <= a or d <= g or h <= c
    colours = right.collections[0].get_array()
    for group in range(4):  # images of one place are of one cluster
        assert len(set(colours[group::4])) <= 2
    assert right.get_legend().get_texts()[0].get_text() == "cluster 1"


def test_a_map_of_features_that_collapsed(monkeypatch):
    figures = drawn(monkeypatch)
    images = np.zeros((6, 4, 4, 1), np.uint8)
    for x in (np.ones((6, 3), np.float32), np.zeros((6, 1), np.float32)):
        pictures.feature_map(epath.Path("map.png"), x, np.zeros(6, int), None, images)
    assert [len(figure.axes[0].images) for figure in figures] == [1, 1]


def test_clusters_show_their_most_typical_images_the_largest_first(monkeypatch):
    figures = drawn(monkeypatch)
    p = np.full((12, 6), 0.01)
    owners = [3] * 6 + [1] * 4 + [0, 5]
    p[np.arange(12), owners] = np.linspace(0.5, 0.9, 12)  # later ones are more typical
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    pictures.clusters(epath.Path("x"), p, images, rows=4, count=3)
    assert "4 of 6 clusters are not empty" in figures[0].get_suptitle()
    rows = {}
    for image in figures[0].axes[0].images:
        row = rows.setdefault(int(image.get_extent()[2]), [])
        row.append(round(255 * float(image.get_array()[0, 0])))
    shown = [rows[row] for row in sorted(rows)]
    assert shown[:2] == [[5, 4, 3], [9, 8, 7]]
    assert sorted(shown[2:]) == [[10], [11]]
