"""Linear accuracy by layer: pooling by definition, the best layer chosen without the test set, mistakes by name."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

import jssl
from jssl.data.datasets import open_data
from jssl.data.sources.arrays import ArraySource
from jssl.errors import UserError
from jssl.evaluation import pool_map
from jssl.evaluation.layers import best_layer
from jssl.evaluation.suite import Suite
from jssl.report.tables import layers as layers_table
from jssl.report.tables import table
from jssl.runs.pictures import draw_figures
from jssl.train.program import make_program
from tests.conftest import tiny_config

TINY = {
    "encoder__convnet__strides": (2, 2),
    "evals__knn__enabled": False,
    "evals__layers__enabled": True,
    "evals__layers__l2": (1e-2,),
    "evals__layers__max_iterations": 20,
    "evals__layers__max_dim": 32,
}


@pytest.mark.parametrize(
    ("shape", "max_dim", "side"),
    [
        ((2, 8, 8, 3), 48, 4),  # cells of equal size
        ((2, 7, 7, 3), 27, 3),  # that overlap
        ((2, 5, 9, 2), 1000, 5),  # no finer than the map
        ((2, 6, 6, 10), 9, 1),  # more channels than numbers
    ],
)
def test_pooling_by_definition(shape, max_dim, side):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    pooled = pool_map(x, max_dim)
    assert pooled.shape == (shape[0], side, side, shape[3])
    for row, col in np.ndindex(side, side):
        (top, bottom), (left, right) = (
            (int(np.floor(i * n / side)), int(np.ceil((i + 1) * n / side)))
            for i, n in ((row, shape[1]), (col, shape[2]))
        )
        expected = x[:, top:bottom, left:right].mean(axis=(1, 2))
        np.testing.assert_allclose(pooled[:, row, col], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "side"),
    [((112, 112, 64), 12), ((56, 56, 256), 6), ((28, 28, 512), 4), ((14, 14, 1024), 3), ((7, 7, 2048), 2)],
)
def test_the_sizes_of_the_paper(shape, side):
    """Goyal et al. (2019) pool the layers of ResNet-50 at 224 pixels to these."""
    image = jax.ShapeDtypeStruct((1, *shape), np.float32)
    assert jax.eval_shape(lambda x: pool_map(x, 9216), image).shape == (1, side, side, shape[-1])


def test_the_best_layer_is_that_of_the_held_out_images():
    found = {
        "block1": {"top1": 0.9, "held_out": 0.2},
        "block2": {"top1": 0.1, "held_out": 0.5},
        "block3": {"top1": 0.8, "held_out": 0.5},
    }
    assert best_layer(found) == {"best/top1": 0.1, "best/depth": 2.0}
    assert best_layer({"block1": {"top1": 0.9}}) == {}


def final(shifted_labels=0, **changes):
    """The closing evaluation of a fresh state; the labels of the test images may be others."""
    config = tiny_config(**{**TINY, **changes})
    data = open_data(config)
    labels = (data.test.labels() + shifted_labels) % 10
    data = dataclasses.replace(data, test=ArraySource("digits", data.test.images, labels))
    suite = Suite(make_program(config, data.info), data)
    return suite.final(suite.program.init())


def test_every_layer_has_an_accuracy_beside_the_untrained_encoder(tmp_path):
    found = final(evals__baselines=True)
    values = {**found.values, "evaluated_on": "test set"}
    for prefix in ("", "untrained/"):
        names = [name for name in values if name.startswith(f"{prefix}layers/") and name.endswith("top1")]
        assert names == [f"{prefix}layers/{name}/top1" for name in ("block1", "block2", "best")]
        depth = int(values[f"{prefix}layers/best/depth"])
        assert depth == 1 + np.argmax([values[f"{prefix}layers/block{number}/held_out"] for number in (1, 2)])
        assert values[f"{prefix}layers/best/top1"] == values[f"{prefix}layers/block{depth}/top1"] > 0.3
    assert not any(name.startswith("pixels/layers") for name in values)
    lines = layers_table(values).splitlines()
    assert lines[2].split() == ["untrained", "encoder", "this", "run"]
    assert [line.split()[0] for line in lines[3:]] == ["block1", "block2"]
    assert lines[3].split()[1] == f"{100 * values['untrained/layers/block1/top1']:.1f}"
    assert lines[2 + int(values["layers/best/depth"])].endswith("best on held-out training images")
    assert layers_table(values) in table(values)
    draw_figures(found.figures, tmp_path, enabled=True)
    assert [path.name for path in tmp_path.iterdir()] == ["layers_accuracy.png"]


def test_the_test_set_does_not_choose_the_layer():
    """Labels of the test images are others, and accuracies there fall; what was held out, and the choice, stay."""
    right, wrong = (final(shifted_labels).values for shifted_labels in (0, 1))
    chosen = {name for name in right if name.endswith(("held_out", "depth", "l2"))}
    assert len(chosen) == 5
    assert {name: right[name] for name in chosen} == {name: wrong[name] for name in chosen}
    assert right["layers/best/top1"] > 0.3 > wrong["layers/best/top1"]


def test_layers_that_are_named_are_measured_alone():
    values = final(evals__layers__names=("block2",)).values
    assert {name.split("/")[1] for name in values} == {"block2", "best"}
    assert values["layers/best/depth"] == 1


class Mean(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return x.mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("changes", "encoder", "message"),
    [
        (
            {"names": ("blok2",)},
            None,
            r"^unknown layer in evals\.layers\.names 'blok2': did you mean 'block2'",
        ),
        ({"l2": ()}, None, r"^evals\.layers\.l2=\(\) must be one or more numbers"),
        (
            {"baselines": ("pixels",)},
            None,
            r"^evals\.layers\.baselines=\('pixels',\) must be a tuple of 'untr",
        ),
        ({}, Mean(), r"^evals\.layers\.enabled: Mean records no layers; see jssl\.models\.record$"),
    ],
)
def test_mistakes_are_told_before_a_folder_is_made(tmp_path, changes, encoder, message):
    config = tiny_config(**{**TINY, **{f"evals__layers__{key}": value for key, value in changes.items()}})
    with pytest.raises(UserError, match=message):
        jssl.run(config, tmp_path / "run", encoder=encoder)
    assert not (tmp_path / "run").exists()
