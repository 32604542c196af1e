"""The suite is a loop over a table: an evaluator that is added runs, is validated, and has its baselines."""

import importlib.util
import json
import pathlib
import re
import sys

import numpy as np
import pytest

import jssl
from jssl import config as schema
from jssl import evaluation
from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.evaluation.suite import Suite
from jssl.train.program import make_program
from tests.conftest import set_key, tiny_config

DOC = pathlib.Path(__file__).parents[2] / "docs" / "adding_an_evaluator.md"


@pytest.fixture
def centroid(tmp_path, monkeypatch):
    """The evaluator of docs/adding_an_evaluator.md, with its line in the table."""
    path = tmp_path / "centroid.py"
    path.write_text(re.search(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location("centroid", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "centroid", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(evaluation.EVALUATORS, "centroid", module.Centroid)
    return module


def quiet(**changes):
    """A tiny run in which the evaluators of the library are silent."""
    changes = {"evals__knn__enabled": False, "evals__baselines": True, **changes}
    return tiny_config(**changes)


def test_an_evaluator_that_is_added_runs_with_all_that_belongs_to_it(centroid, tmp_path):
    config = quiet(evals__every_steps=2, evals__per_class=(2,), evals__draws=3, log__pictures=True)
    assert config.evals.centroid.to_dict() == {
        "enabled": True,
        "baselines": ("pixels", "untrained"),
        "power": 2.0,
    }
    result = jssl.run(config, tmp_path / "run")
    during = [line for line in result.metrics() if "val/centroid/top1" in line]
    assert [line["step"] for line in during] == [2, 4]
    found = {name for name in result.values if "centroid" in name}
    plain = {"centroid/top1", "centroid_2_per_class/top1", "centroid_2_per_class/top1_std"}
    assert found == plain | {f"{other}/{name}" for other in ("pixels", "untrained") for name in plain}
    data = open_data(config)
    flat = [source.images.reshape(len(source), -1) / 255 for source in (data.train, data.test)]
    means = np.stack([flat[0][data.train.labels() == label].mean(axis=0) for label in range(10)])
    nearest = np.argmin(np.linalg.norm(flat[1][:, None] - means, axis=-1), axis=1)
    assert result["pixels/centroid/top1"] == pytest.approx(np.mean(nearest == data.test.labels()))
    assert "centroid" in str(result)
    for name in ("centroid_errors", "pixels_centroid_errors", "untrained_centroid_errors"):
        assert (tmp_path / "run" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_its_baselines_are_those_that_are_asked_of_it(centroid, tmp_path):
    config = quiet(evals__centroid__baselines=("untrained",))
    result = jssl.run(config, tmp_path / "run")
    assert {name for name in result.values if "centroid" in name} == {
        "centroid/top1",
        "untrained/centroid/top1",
    }
    assert not list((tmp_path / "run").glob("*.png")), "log.pictures is off"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power": 0.5}, r"^evals\.centroid\.power=0\.5 must be at least 1$"),
        (
            {"baselines": ("raw",)},
            r"^evals\.centroid\.baselines=\('raw',\) must be a tuple of 'pixels', 'untrained'",
        ),
        ({"powr": 1.0}, r"unknown key of evals\.centroid 'powr': did you mean 'power'"),
    ],
)
def test_its_section_is_validated_before_a_folder_is_made(centroid, tmp_path, changes, message):
    config = quiet()
    config.evals.centroid = {**config.evals.centroid.to_dict(), **changes}
    with pytest.raises(UserError, match=message):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_evaluator_has_a_section_with_its_defaults_and_a_row_in_the_docs():
    evals = tiny_config().evals
    rows = (DOC.parent / "evaluation.md").read_text()
    for name, section in evaluation.defaults().items():
        assert {"enabled", "baselines"} <= set(section) == set(evals[name])
        (row,) = re.findall(rf"^\| `{name}` \|.*$", rows, re.MULTILINE)
        for key in set(section) - {"enabled", "baselines"}:
            assert f"`{key}`" in row, f"{name}.{key}"
        evaluator = evaluation.EVALUATORS[name].from_config(section)
        assert evaluator == evaluation.EVALUATORS[name]()
        assert set(evaluator.baselines) <= set(evaluator.possible_baselines)


@pytest.mark.parametrize(("name", "impossible"), [("sgd", "pixels"), ("health", "pixels"), ("knn", "random")])
def test_baselines_that_cannot_be_are_named(name, impossible):
    config = tiny_config()
    set_key(config, f"evals__{name}__baselines", (impossible,))
    with pytest.raises(UserError, match=rf"evals\.{name}\.baselines=\('{impossible}',\) must be a tuple of "):
        schema.validate(config)


def test_who_lacks_what_it_needs_is_passed_over():
    names = {}
    for labels in ("all", "none"):
        config = tiny_config(data__labels=labels, evals__online=True, evals__health__enabled=True)
        data = open_data(config)
        names[labels] = [e.name for e in Suite(make_program(config, data.info), data).evaluators]
    assert names == {"all": ["health", "knn"], "none": ["health"]}, "a probe beside a method is not its own"


def test_a_source_is_extracted_once_for_all_evaluators(monkeypatch):
    config = tiny_config(evals__linear__enabled=True, evals__per_class=(2, 3))
    data = open_data(config)
    suite, seen = Suite(make_program(config, data.info), data), []
    from jssl.evaluation import suite as module

    extract = module.extract_source
    monkeypatch.setattr(
        module, "extract_source", lambda *given: seen.append(len(given[2])) or extract(*given)
    )
    suite.final(suite.program.init())
    assert seen == [len(data.train), len(data.test)]


def test_a_run_from_before_an_evaluator_can_be_evaluated_with_it(tmp_path, monkeypatch):
    from tests.commands import called

    jssl.run(quiet(), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["evals"]["pseudo_label"], config["evals"]["knn"]["center"], config["data"]["video"]
    del config["data"]["unlabeled"]["views"]["first"]["hsv_prob"], config["method"]["temperature"]
    path.write_text(json.dumps(config))
    noted = json.loads((tmp_path / "run" / "splits.json").read_text())
    del noted["tokenizer"], noted["info"]["audio_samples"]
    (tmp_path / "run" / "splits.json").write_text(json.dumps(noted))
    status, out, err = called(
        f"--workdir={tmp_path / 'run'}", "--config.evals.knn.enabled=True", module="jssl.evaluate"
    )
    assert status == 0, err
    assert "knn/top1" in json.loads(out.splitlines()[-1])


def test_train_and_test_images_may_differ_in_size(tmp_path):
    """28 pixels and 64, raw pixels as a baseline: both are seen at the size of the views."""
    rng, labels = np.random.default_rng(0), np.arange(48) % 3
    shades = (60 * labels).astype(np.uint8)[:, None, None, None]
    small, large = (rng.integers(0, 120, (48, side, side, 1), dtype=np.uint8) + shades for side in (28, 64))
    data = {"train": (small, labels), "test": (large, labels)}
    config = tiny_config(evals__baselines=True, data__unlabeled__batch_size=8, evals__knn__k=5)
    result = jssl.run(config, tmp_path / "run", data=data)
    assert result["pixels/knn/top1"] > 0.9
    assert np.isfinite(result["knn/top1"])
