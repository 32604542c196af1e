"""Segmentation, detection, several classes an image, anomalies: on drawn shapes, beside definitions, and mistakes."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import jssl
from jssl.data import sources
from jssl.data.datasets import open_data
from jssl.data.sources import Boxes
from jssl.errors import UserError
from jssl.evaluation import anomaly, coreset, dense, detection, svm_scores
from jssl.evaluation.base import EvalContext
from jssl.evaluation.segmentation import values_of
from jssl.evaluation.suite import Suite
from jssl.report import pictures
from jssl.report.tables import table
from jssl.runs.pictures import draw_figures
from jssl.train.program import make_program
from tests.conftest import tiny_config

CLASSES = ("dark", "light")
TINY = {
    "encoder__convnet__strides": (2, 2),
    "evals__knn__enabled": False,
    "evals__linear__enabled": False,
}
SEGMENT = {
    "evals__segmentation__enabled": True,
    "evals__segmentation__layers": ("block1", "block2"),
    "evals__segmentation__size": 16,
    "evals__segmentation__steps": 60,
    "evals__segmentation__lr": 0.03,
    "evals__segmentation__images": 3,
}
DETECT = {
    "evals__detection__enabled": True,
    "evals__detection__layers": ("block1", "block2"),
    "evals__detection__size": 16,
    "evals__detection__steps": 60,
    "evals__detection__lr": 0.03,
    "evals__detection__images": 3,
}
MULTI = {"evals__multilabel__enabled": True, "evals__multilabel__costs": (1.0, 10.0)}
ANOMALY = {
    "evals__anomaly__enabled": True,
    "evals__anomaly__size": 16,
    "evals__anomaly__layers": ("block1",),
    "evals__anomaly__patches": 960,
    "evals__anomaly__sigma": 8.0,
    "evals__anomaly__images": 4,
}


def shapes(count, seed, stained=True, names=("good", "stained"), often=0.6):
    """Grey images 16 x 20, often of a dark or a light rectangle or both; every second one may have a stain."""
    rng = np.random.default_rng(seed)
    images = rng.normal(110, 4, (count, 16, 20, 1))
    masks, boxes, labels = np.zeros((count, 16, 20), np.uint8), [], np.arange(count) % 2 * stained
    for row in range(count):
        shown = [label for label in (0, 1) if rng.random() < often]
        where = []
        for label in shown:
            top, left = int(rng.integers(0, 10)), int(rng.integers(0, 4)) + 10 * label
            place = (row, slice(top, top + 6), slice(left, left + 6))
            images[place], masks[place] = (30, 190)[label], label + 1
            where.append([top / 16, left / 20, (top + 6) / 16, (left + 6) / 20])
        boxes.append(Boxes.of(where, shown))
    images[np.flatnonzero(labels), 6:10, 8:12] = 255
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return sources.ArraySource("shapes", pixels, labels, names), masks, boxes


@pytest.fixture(scope="module")
def both():
    """Train, of good images alone, and test, with masks of the rectangles and their boxes."""
    made = {}
    for seed, split in enumerate(("train", "test")):
        source, masks, boxes = shapes(48, seed, stained=split == "test")
        made[split] = source.with_masks(masks, ("ground", *CLASSES)).with_boxes(boxes, CLASSES)
    return made


def measured(data, folder=None, baselines=True, **changes):
    """The closing evaluation of a fresh state; nothing is drawn of baselines."""
    config = tiny_config(**TINY, evals__baselines=baselines, **changes)
    opened = open_data(config, own=data)
    suite = Suite(make_program(config, opened.info), opened)
    found = suite.final(suite.program.init())
    assert not any(name.startswith("untrained") for name in found.figures)
    if folder is not None:
        draw_figures(found.figures, folder, enabled=True)
    return found.values


@pytest.fixture(scope="module")
def found(both, tmp_path_factory):
    """All four evaluators at once, and the folder with their pictures."""
    folder = tmp_path_factory.mktemp("dense")
    stains = [None if not label else stain() for label in both["test"].labels()]
    train = shapes(48, 0, stained=False, names=("good",), often=0)[0]  # lacks a class of the test set
    data = {"train": train, "test": shapes(48, 1, often=0)[0].with_masks(stains)}
    return measured(both, folder, **SEGMENT, **DETECT, **MULTI) | measured(data, folder, **ANOMALY), folder


@pytest.fixture(scope="module")
def encoded(both):
    """A program, and its encoder at the start."""
    program = make_program(config := tiny_config(**TINY), open_data(config, own=both).info)
    state = program.init()
    return program, program.method.eval_encoder(state.params, state.method_state)


def stain():
    mask = np.zeros((16, 20), np.uint8)
    mask[6:10, 8:12] = 255
    return mask


def test_rectangles_are_segmented(found):
    values, folder = found
    assert (
        values["segmentation/miou"] > 0.5 > values["segmentation/commonest_class"] / 3
    )  # of naming it always
    parts = [values[f"segmentation/iou/{name}"] for name in ("ground", *CLASSES)]
    assert values["segmentation/miou"] == pytest.approx(np.mean(parts))
    assert 0 < values["untrained/segmentation/miou"] <= 1
    assert (folder / "segmentation_predictions.png").exists()


def test_rectangles_are_found_with_their_boxes(found):
    values, folder = found
    assert 0.3 < values["detection/ap"] < values["detection/ap50"] <= 1
    assert values["detection/ap75"] <= values["detection/ap50"]
    parts = [values[f"detection/ap/{name}"] for name in CLASSES]
    assert values["detection/ap"] == pytest.approx(np.mean(parts))
    assert 0 <= values["untrained/detection/ap50"] <= 1
    assert (folder / "detection_predictions.png").exists()


def test_dark_and_light_rectangles_are_told_from_images_without(found):
    values, _ = found
    assert values["multilabel/classes"] == 2
    parts = [values[f"multilabel/ap/{name}"] for name in CLASSES]
    assert values["multilabel/map"] == pytest.approx(np.mean(parts))
    assert values["pixels/multilabel/map"] > 0.8 > values["multilabel/chance"]
    assert {"untrained/multilabel/map", "untrained/multilabel/ap/dark"} <= values.keys()


def test_stains_are_found_among_good_images_and_where_they_are(found):
    values, folder = found
    assert values["anomaly/patchcore/auroc"] > 0.9
    assert values["anomaly/patchcore/pixel_auroc"] > 0.9
    for prefix, kind in itertools.product(("", "pixels/", "untrained/"), ("knn", "mahalanobis")):
        assert 0 <= values[f"{prefix}anomaly/{kind}/auroc"] <= 1
    assert not any(name.startswith("pixels/anomaly/patchcore") for name in values)
    assert (folder / "anomaly_heat.png").exists()


def test_the_table_has_them_beside_their_baselines(found):
    values, _ = found
    lines = table({**values, "evaluated_on": "test set"}).splitlines()
    assert not any("no accuracy to report" in line for line in lines)
    row = next(line for line in lines if line.startswith("segmentation, mean IoU"))
    both = (values[f"{prefix}segmentation/miou"] for prefix in ("untrained/", ""))
    assert row.split()[-2:] == [f"{100 * value:.1f}" for value in both]


def test_fine_tuning_changes_a_copy_of_the_encoder(both):
    frozen, tuned = (
        measured(
            both,
            baselines=False,
            **{**SEGMENT, "evals__segmentation__steps": 3},
            evals__segmentation__finetune=finetune,
            evals__segmentation__encoder_lr=0.03,
            evals__anomaly__enabled=True,
            evals__anomaly__size=16,
            evals__anomaly__images=0,
        )
        for finetune in (False, True)
    )
    assert frozen["segmentation/miou"] != tuned["segmentation/miou"]
    after = "anomaly/patchcore/auroc"  # measured after it, on the encoder as it was
    assert frozen[after] == tuned[after]


def test_classes_that_do_not_occur_have_no_overlap():
    values = values_of(np.diag([3, 0, 1]), ("a", "b", "c"))
    assert {name for name in values if name.startswith("iou/")} == {"iou/a", "iou/c"}
    assert values["miou"] == 1
    assert values["commonest_class"] == 0.75


@pytest.mark.parametrize(("seed", "size"), [(0, 2), (1, 3), (2, 4)])
def test_the_coreset_is_greedy_and_covers_within_twice_the_best(seed, size):
    """Beside the definition, and beside all subsets."""
    x = np.random.default_rng(seed).normal(size=(14, 3))
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    found = coreset(x, size, seed=seed)
    expected = [found[0]]
    while len(expected) < size:
        expected.append(int(distances[:, expected].min(axis=1).argmax()))
    assert found.tolist() == expected

    def radius(rows):
        return distances[:, list(rows)].min(axis=1).max()

    best = min(map(radius, itertools.combinations(range(14), size)))
    assert best <= radius(found) <= 2 * best


def test_a_coreset_of_everything_has_every_row_once():
    x = np.repeat(np.eye(4), 2, axis=0)  # of which some are equal
    assert sorted(coreset(x, 8).tolist()) == list(range(8))
    wide = np.random.default_rng(0).normal(size=(30, 500)).astype(np.float32)
    assert len(set(coreset(wide, 10).tolist())) == 10


def test_distances_are_those_of_every_place_from_the_nearest_of_all(encoded):
    program, encoder = encoded
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 16, 16, 1)).astype(np.float32)
    layer = np.array(program.method.encoder.layer_maps(*encoder, images)["block1"])
    memory = rng.normal(size=(5, layer.shape[-1])).astype(np.float32)
    found = anomaly.nearest_distances(program, ("block1",), *encoder, memory, images)
    ones = np.ones(layer.shape[1:3])
    kernel = np.ones((3, 3))
    count = ndimage.convolve(ones, kernel, mode="constant")
    for image, channel in np.ndindex(2, layer.shape[-1]):
        total = ndimage.convolve(layer[image, ..., channel], kernel, mode="constant")
        layer[image, ..., channel] = total / count
    expected = np.linalg.norm(layer[..., None, :] - memory, axis=-1).min(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_maps_of_several_layers_lie_on_the_finest_grid(encoded):
    program, encoder = encoded
    images = jnp.ones((2, 16, 16, 1))
    layers = program.method.encoder.layer_maps(*encoder, images)
    found = dense.maps(program, ("block2", "block1"), *encoder, images)
    assert found.shape == (2, 8, 8, sum(layer.shape[-1] for layer in layers.values()))
    np.testing.assert_array_equal(found[..., -layers["block1"].shape[-1] :], layers["block1"])
    np.testing.assert_array_equal(dense.maps(program, (), *encoder, images), layers["block2"])


def test_squares_are_made_once_for_all_models(both, encoded):
    ctx = EvalContext(encoded[0], None)
    assert dense.squares(both["train"], 16, ctx) is dense.squares(both["train"], 16, ctx)
    assert dense.squares(both["train"], 16, ctx).is_in_memory
    assert dense.squares(both["train"], 8, ctx).image_shape == (8, 8, 1)


def test_a_machine_of_one_class_chooses_its_cost_on_train():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    positive = x[:, 0] > 0.3
    scores = svm_scores(x[:40], positive[:40], x[40:])
    assert np.mean((scores > 0) == positive[40:]) > 0.85
    few = svm_scores(x[:40], np.arange(40) == 0, x[:40])  # too few for folds
    assert few.argmax() == 0


def plain(data):
    """Images of which nothing else is known."""
    return {split: shapes(48, 0)[0] for split in data}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            plain,
            SEGMENT,
            r"^evals\.segmentation\.enabled: the images of shapes \(train\) have no masks: a folder has",
        ),
        (
            plain,
            MULTI,
            r"^evals\.multilabel\.enabled: the images of shapes \(train\) have no boxes: TFDS",
        ),
        (
            plain,
            DETECT,
            r"^evals\.detection\.enabled: the images of shapes \(train\) have no boxes: TFDS",
        ),
        (
            lambda data: {**data, "train": shapes(48, 0)[0].with_boxes(flat(), CLASSES)},
            DETECT,
            r"^evals\.detection: none of \d+ images of shapes has a box with an area$",
        ),
        (
            lambda data: {**data, "test": data["test"].with_boxes(data["test"].boxes(), ("a", "b"))},
            DETECT,
            r"^evals\.detection: the boxes of shapes and shapes are of different classes$",
        ),
        (
            lambda data: data,
            {**SEGMENT, "evals__segmentation__layers": ("blok1",)},
            r"^unknown layer in evals\.segmentation\.layers 'blok1': did you mean 'block1'",
        ),
        (lambda data: data, {**MULTI, "evals__multilabel__costs": (0.0,)}, r"costs=\(0\.0,\) must be one or"),
        (
            lambda data: {**data, "test": data["test"].take(np.arange(0, 48, 2))},
            ANOMALY,
            r"^evals\.anomaly\.normal=\('good',\): what is scored of shapes has no other class$",
        ),
        (
            lambda data: data,
            {**ANOMALY, "evals__anomaly__normal": ("god",)},
            r"^unknown class in evals\.anomaly\.normal 'god': did you mean 'good'",
        ),
        (
            lambda data: data,
            {**ANOMALY, "evals__anomaly__normal": ("stained",)},
            r"^evals\.anomaly\.normal=\('stained',\): shapes has no images to train on$",
        ),
        (
            lambda data: {**data, "test": data["test"].with_masks(Wrong())},
            SEGMENT,
            r"^the mask of shapes\[0\] is of 3 x 3 pixels, its image of 16 x 20$",
        ),
        (
            lambda data: {**data, "train": shapes(8, 0, stained=False, names=("good",))[0]},
            {},
            r"^1 classes of 'test' are not in 'train' \(stained\)",
        ),
    ],
)
def test_mistakes_are_told_before_a_folder_is_made(tmp_path, both, change, settings, message):
    with pytest.raises(UserError, match=message):
        jssl.run(tiny_config(**TINY, **settings, data__labels="all"), tmp_path / "run", data=change(both))
    assert not (tmp_path / "run").exists()


def flat():
    """Boxes without an area, of 48 images."""
    return [Boxes.of([[0.1, 0.2, 0.1, 0.5]], [0])] * 48


def test_boxes_without_an_area_are_left_out(caplog):
    rows = np.array([[0.1, 0.2, 0.1, 0.5], [0, 0, 1, 1]])
    source = shapes(2, 0)[0].with_boxes([Boxes.of(rows, [0, 1]), Boxes.of([], [])], CLASSES)
    detection.check_boxes(source)
    assert "1 boxes have no area and are left out" in caplog.text
    assert detection.padded(detection.boxes_of(source)).tolist() == [
        [[0, 0, 1, 1, 1, 1]],
        [[0, 0, 0, 0, -1, 0]],
    ]


def test_the_surest_boxes_are_peaks_of_their_class():
    outputs = np.full((1, 6, 4, 2 + 4), -5.0, np.float32)
    outputs[0, 1, 1, 0], outputs[0, 1, 2, 0], outputs[0, 1, 2, 1], outputs[0, 5, 3, 0] = 3, 2, 1, 0
    outputs[..., 2:] = 0  # an eighth of the image to every side
    rows = np.asarray(detection.surest(outputs))[0]
    np.testing.assert_allclose(rows[:3, 4:], [[0, 0.9526], [1, 0.7311], [0, 0.5]], atol=1e-4)
    np.testing.assert_allclose(rows[0, :4], [0.125, 0.25, 0.375, 0.5])
    np.testing.assert_allclose(rows[2, :4], [1 - 1 / 12 - 0.125, 0.75, 1, 1], rtol=1e-6)  # cut off
    flipped = np.asarray(detection.flipped(jnp.array([[[0.1, 0.2, 0.3, 0.6, 1, 1]]])))
    np.testing.assert_allclose(flipped[0, 0], [0.1, 0.4, 0.3, 0.8, 1, 1], rtol=1e-6)


class Wrong(list):
    def __init__(self):
        super().__init__([np.zeros((3, 3), np.uint8)] * 48)


def test_a_normal_image_is_called_so_without_masks(tmp_path, monkeypatch):
    titles, images = [], np.zeros((2, 8, 8, 1), np.uint8)
    monkeypatch.setattr(pictures.Grid, "show", lambda self, row, column, image, title: titles.append(title))
    anomaly.draw(
        tmp_path / "heat.png", images, np.eye(8)[None].repeat(2, 0), [None, None], np.array([True, False])
    )
    assert titles == ["normal", "anomaly"]
