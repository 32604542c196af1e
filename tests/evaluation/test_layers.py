"""Linear accuracy by layer: pooling by definition, the best layer chosen without the test set, mistakes by name."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import jssl
from jssl.data import sources
from jssl.errors import UserError
from jssl.evaluation import pool_map
from jssl.evaluation.layers import best_layer
from jssl.report.tables import layers as layers_table
from tests.conftest import tiny_config

TINY = {
    "encoder__convnet__strides": (2, 2),
    "total_steps": 2,
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


def run(folder, data=None, **changes):
    return jssl.run(tiny_config(**{**TINY, **changes}), folder, data=data)


def test_every_layer_has_an_accuracy_beside_the_untrained_encoder(tmp_path):
    result = run(tmp_path / "run", evals__baselines=True, log__pictures=True)
    for prefix in ("", "untrained/"):
        names = [name for name in result.values if name.startswith(f"{prefix}layers/") and "top1" in name]
        assert names == [f"{prefix}layers/{name}/top1" for name in ("block1", "block2", "best")]
        depth = int(result[f"{prefix}layers/best/depth"])
        scores = [result[f"{prefix}layers/block{number}/held_out"] for number in (1, 2)]
        assert depth == 1 + np.argmax(scores)
        assert result[f"{prefix}layers/best/top1"] == result[f"{prefix}layers/block{depth}/top1"] > 0.3
    assert not any("layers/" in name for line in result.metrics() for name in line), "at the end only"
    assert not any(name.startswith("pixels/layers") for name in result.values)
    lines = layers_table(result.values).splitlines()
    assert lines[2].split() == ["untrained", "encoder", "this", "run"]
    assert [line.split()[0] for line in lines[3:]] == ["block1", "block2"]
    assert lines[3].split()[1] == f"{100 * result['untrained/layers/block1/top1']:.1f}"
    assert lines[2 + int(result["layers/best/depth"])].endswith("best on held-out training images")
    assert layers_table(result.values) in str(result)
    assert (tmp_path / "run" / "layers_accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run" / "untrained_layers_accuracy.png").exists()


def test_the_test_set_does_not_choose_the_layer(tmp_path):
    """Other labels of the test images, and accuracies there fall; the choice and the held-out accuracies stay."""
    train, test = (sources.load("digits", split) for split in ("train", "test"))
    right, wrong = (
        {"train": (train.images, train.labels()), "test": (test.images, labels)}
        for labels in (test.labels(), (test.labels() + 1) % 10)
    )
    found = [run(tmp_path / name, data).values for name, data in (("right", right), ("wrong", wrong))]
    chosen = [
        {name: value for name, value in values.items() if name.endswith(("held_out", "depth", "l2"))}
        for values in found
    ]
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1]
    assert found[0]["layers/best/top1"] > 0.3 > found[1]["layers/best/top1"]


def test_layers_that_are_named_are_measured_alone(tmp_path):
    result = run(tmp_path / "run", evals__layers__names=("block2",))
    assert {name.split("/")[1] for name in result.values if name.startswith("layers/")} == {"block2", "best"}
    assert result["layers/best/depth"] == 1


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
