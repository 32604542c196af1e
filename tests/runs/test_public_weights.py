"""Runs that begin with the encoder of a file, and the way back into one."""

import json
import shutil

import jax
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import jssl
from jssl.data.datasets import open_data
from jssl.errors import UserError
from jssl.models import weights
from jssl.models.network import Network
from jssl.models.vit import ViT
from jssl.runs import export, public_weights
from jssl.train.program import make_program
from tests.commands import called
from tests.conftest import tiny_config

OPTIONS = {"patch_size": 4, "image_size": 8, "registers": 1, "layer_scale": 0.5, "heads": 2}


def configured(path, **changes):
    """SimCLR on grey digits with a small ViT."""
    config = tiny_config(encoder__name="vit_mini", encoder__weights=str(path), total_steps=2, **changes)
    config.encoder.vit.update(OPTIONS)
    return config


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An encoder of grey images as others would write it, and its parameters."""
    network = Network(ViT(features=128, layers=4, **OPTIONS))
    params, stats = network.init(jax.random.key(7), np.zeros((1, 8, 8, 1), np.float32))
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    weights.write(
        path, {f"teacher.backbone.{k}": x for k, x in weights.save(params, stats, network, 1).items()}
    )
    return path, params


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("continued") / "run"
    config = configured(file[0], evals__baselines=True, evals__knn__enabled=True, optim__lr=1e-30)
    config.optim.weight_decay = 0.0
    return jssl.run(config, folder), folder


def test_a_run_begins_with_the_encoder_and_its_baseline_is_that_one(run, file):
    """At a rate of nothing both are the same."""
    result, _ = run
    assert result["untrained/knn/top1"] == result["knn/top1"]
    config = configured(file[0])
    program = make_program(config, open_data(config).info)
    state = public_weights.beginning(program)(program, program.init())
    jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], file[1])
    assert program.step(state, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), program.abstract_batch()))


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_what_a_run_exports_is_what_it_began_with(run, file, kind, tmp_path):
    written = export.export(str(run[1]), tmp_path / "out", kind)
    assert [path.name for path in written] == [f"model.{kind}", "config.json", "README.md"]
    tensors = weights.read(tmp_path / "out" / f"model.{kind}")
    for name, x in weights.read(file[0]).items():
        np.testing.assert_allclose(tensors[name.removeprefix("teacher.backbone.")], x, atol=1e-20)
    about = json.loads((tmp_path / "out" / "config.json").read_text())
    assert about["options"]["registers"] == 1
    assert about["input"]["size"] == [1, 8, 8]
    assert (about["input"]["color_space"], about["input"]["value_range"]) == ("rgb", [])
    assert "simclr" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(UserError, match="is there already"):
        export.export(str(run[1]), tmp_path / "out", kind)


def test_what_an_encoder_sees_is_told_whole():
    sees = {"size": [3, 8, 8], "mean": [0.0], "std": [1.0], "color_space": "lab", "value_range": [0, 4095]}
    about = {
        "architecture": "vit",
        "method": "simclr",
        "data": "cells",
        "step": 1,
        "jssl": "0",
        "input": sees,
    }
    card = export.card(about, {}, "run")
    assert (
        "8 x 8 pixels in [0, 1] (black is 0, white 4095), as CIE Lab (L - 50, a, b) / 50, less [0.0]" in card
    )


def test_a_stablehlo_program_gives_the_features_of_any_number_of_images(run, tmp_path):
    export.export(str(run[1]), tmp_path / "out", "stablehlo")
    program = jax.export.deserialize(bytearray((tmp_path / "out" / "encoder.stablehlo").read_bytes()))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    expected = jssl.load(run[1])(images)
    found = np.concatenate([program.call(x / np.float32(255)) for x in (images[:2], images[2:])])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_onnx_model_gives_the_features_too(run, tmp_path):
    export.export(str(run[1]), tmp_path / "out", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    (found,) = session.run(None, {"images": (images / np.float32(255)).transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(found, jssl.load(run[1])(images), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__weights": "/nowhere.npz"}, r"^encoder\.weights=/nowhere\.npz: there is no file"),
        ({"encoder__vit__registers": 0}, r"no place for teacher\.backbone\.register_tokens: .*registers=1"),
        ({"encoder__name": "convnet"}, r"^encoder\.weights=.* there is no layout of files for ConvNet"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_a_folder_is_made(file, changes, message, tmp_path):
    config = configured(file[0])
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[last] = value
    with pytest.raises(UserError, match=message):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """A file of a ViT that has a name here, of colour images."""
    network = Network(ViT(features=128, layers=4, patch_size=16, image_size=32))
    params, stats = network.init(jax.random.key(1), np.zeros((1, 32, 32, 3), np.float32))
    path = tmp_path_factory.mktemp("colour") / "vit.npz"
    weights.write(path, weights.save(params, stats, network))
    return path, network, params


def test_an_encoder_of_a_file_embeds_without_a_run(colour, tmp_path):
    path, network, params = colour
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    encoder = jssl.load(weights=str(path), encoder="vit_mini", size=32)
    found = encoder(np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))))  # of which it sees the centre
    seen = (images / 255.0 - public_weights.MEAN) / np.float32(public_weights.STD)
    expected, _ = network.apply(params, {}, seen, train=False)
    assert found.shape == (3, 128)
    assert np.corrcoef(found.ravel(), np.ravel(expected))[0, 1] > 0.9
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    arguments = (
        f"--weights={path}",
        "--size=32",
        f"--data={tmp_path / 'images'}",
        f"--out={tmp_path / 'f.npz'}",
    )
    status, _, err = called(*arguments, module="jssl.embed")
    assert status == 0, err
    assert np.load(tmp_path / "f.npz")["features"].shape == (3, 128)


def test_mistakes_are_told(colour, tmp_path):
    for given, message in (
        ({"weights": str(colour[0]), "encoder": "vit_s"}, r"encoder='vit_s': .* holds vit_mini"),
        ({"weights": str(colour[0]), "size": 40}, r"size=40 must divide into patches of 16"),
        ({}, r"load takes the folder of a run, or weights=FILE"),
    ):
        with pytest.raises(UserError, match=message):
            jssl.load(**given)
    status, _, err = called(str(colour[0]), str(tmp_path / "out.safetensors"), module="jssl.convert")
    assert status == 0, err
    assert (tmp_path / "out.safetensors").exists()
    status, _, err = called(str(colour[0]), module="jssl.convert")
    assert (status, err.count("\n")) == (2, 1)


def test_a_run_is_evaluated_though_the_file_has_gone(run, file, tmp_path):
    gone = tmp_path / "gone"
    shutil.copytree(run[1], gone)
    path = gone / "config.json"
    path.write_text(path.read_text().replace(str(file[0]), str(tmp_path / "nowhere.safetensors")))
    status, out, err = called(f"--workdir={gone}", "--evals=knn", module="jssl.evaluate")
    assert status == 0, err
    assert "no baseline 'untrained'" in err
    assert "untrained/knn/top1" not in out
