"""A run's model on other data: other classes, other sizes, other channels."""

import numpy as np
import pytest
from PIL import Image

import jssl
from jssl.data import sources
from jssl.errors import UserError
from jssl.evaluation.suite import Suite
from jssl.runs import transfer, workdir
from tests.commands import called
from tests.conftest import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "run"
    jssl.run(tiny_config(total_steps=2), folder)
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder of colour images of mixed sizes, two classes, without a test set; and the same as arrays."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("shapes")
    for label, name in enumerate(("dark", "light")):
        (root / "images" / name).mkdir(parents=True)
        for number in range(30):
            size = (int(rng.integers(10, 40)), int(rng.integers(10, 40)), 3)
            pixels = rng.integers(120 * label, 120 * label + 100, size, dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{number}.png")
    return root / "images"


def opened(folder, name, evals=("knn", "linear"), **given):
    config = workdir.read_config(folder)
    transfer.only(config, evals)
    config.evals.knn.k = 3
    config.evals.finetune.update({"least_steps": 2, "epochs": 0.1, "batch_size": 16})
    config.evals.finetune.view.size = 8
    return transfer.open_transfer(folder, config, str(name), **given)


def test_other_classes_sizes_and_channels_without_a_test_set(run, shapes):
    program, data, state = opened(run, shapes, ("knn", "linear", "finetune"))
    assert (data.test, len(data.val), len(data.train)) == (None, 12, 48)
    assert data.train.channels == 1
    found = Suite(program, data).final(state).values
    assert {"knn/top1", "linear/top1", "finetune/all/top1"} <= found.keys()
    assert found["linear/top1"] > 0.9  # dark and light


def test_features_are_those_that_the_run_itself_would_give(run):
    program, data, state = opened(run, "colored_digits")
    found = Suite(program, data).features(state, data.test)
    expected = jssl.load(run).embed(sources.load("colored_digits", "test"))
    np.testing.assert_allclose(found.x, expected.x, atol=1e-5)
    assert data.num_classes == 10


@pytest.mark.parametrize(
    ("evals", "message"),
    [
        (("knn", "lineal"), r"unknown evaluator in --evals 'lineal': did you mean .*linear"),
        (("classifier",), r"^--evals=classifier is about the run's own classes"),
    ],
)
def test_evaluators_that_cannot_be(run, evals, message):
    with pytest.raises(UserError, match=message):
        opened(run, "digits", evals)


def test_images_of_other_kinds_are_refused(run, tmp_path):
    np.savez(tmp_path / "five.npz", images=np.zeros((8, 8, 8, 5), np.uint8), labels=np.arange(8) % 2)
    with pytest.raises(UserError, match=r"has images of 5 channels, uint8: give images of 1, uint8"):
        opened(run, tmp_path / "five.npz")


def test_the_command_line(run, shapes, tmp_path):
    status, out, err = called(
        *(f"--workdir={run}", f"--data={shapes}", "--evals=linear,layers", "--config.evals.baselines=False"),
        *("--config.evals.layers.l2=(0.01,)", f"--pictures={tmp_path / 'new' / 'pictures'}"),
        module="jssl.evaluate",
    )
    assert status == 0, err
    assert (tmp_path / "new" / "pictures" / "layers_accuracy.png").exists()
    assert "linear" in out
    assert "knn" not in out
    for arguments, word in (
        (("--data=/nowhere",), "/nowhere"),
        (("--test=test[:9]",), "--test is about other data"),
        (("--evals=",), "--evals is empty"),
        (
            (f"--data={shapes}", "--evals=zero_shot"),
            "--evals=zero_shot needs labels of two classes or more and text",
        ),
    ):
        status, _, err = called(f"--workdir={run}", *arguments, module="jssl.evaluate")
        assert (status, err.count("\n")) == (2, 1)
        assert word in err
