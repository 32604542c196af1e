"""The shipped configs, shrunk, on real files: each is built, trained for some steps and evaluated."""

import importlib

import jax
import numpy as np
import pytest
from PIL import Image

import jssl
from jssl import models
from jssl.config import defaults, view
from jssl.configs import dino, moco, recipes, simclr, vicreg
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.runs.restore import open_run
from jssl.train import durations, program
from tests.conftest import METHODS, set_key, tiny

SMALL = {
    "total_epochs": 0.0,
    "total_steps": 2,
    "encoder__name": "convnet",
    "encoder__convnet__width": 4,
    "encoder__convnet__strides": (2,),
    "method__proj_hidden_dim": 16,
    "data__unlabeled__batch_size": 16,
    "data__workers": 0,
    "data__holdout": 0.0,
    "evals__batch_size": 16,
    "evals__sgd__epochs": 1.0,
    "evals__sgd__batch_size": 16,
    "optim__warmup_epochs": 0.0,
    "optim__warmup_percent": 0.0,
    "checkpoint__every_epochs": 0.0,
    "checkpoint__every_percent": 0.0,
    "evals__every_epochs": 0.0,
    "evals__every_percent": 0.0,
    "evals__linear__enabled": False,
    "evals__health__enabled": False,
    "evals__per_class": (),
    "log__every_steps": 1,
    "log__progress": False,
    "log__pictures": False,
}


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """train/ and validation/ with three classes that differ in colour, images of mixed sizes."""
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 6)):
        for number, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (*rng.integers(40, 70, 2), 3), dtype=np.uint8)
                pixels[..., number] += 120
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return root


@pytest.fixture(scope="module")
def arrays(classes):
    """32-pixel images of three colours, as CIFAR-10 would come."""
    rng = np.random.default_rng(1)
    labels = np.arange(48) % 3
    images = rng.integers(0, 120, (48, 32, 32, 3), dtype=np.uint8)
    images[np.arange(48), :, :, labels] += 120
    path = classes / "arrays.npz"
    np.savez(path, images=images, labels=labels, test_images=images[:24], test_labels=labels[:24])
    return path


def shrunk(preset, **changes):
    config = simclr.get_config(preset)
    for key, value in {**SMALL, **changes}.items():
        set_key(config, key, value)
    return config


@pytest.mark.parametrize("preset", ["cifar10", "imagenet", "folder"])
def test_presets_run_to_a_result(preset, classes, arrays, tmp_path):
    data = {"data__name": str(arrays if preset == "cifar10" else classes), "data__test": "test"}
    views = {}
    if preset == "imagenet":  # its protocol is SGD on augmented images
        for view in ("data__unlabeled__views__first", "data__unlabeled__views__second", "evals__sgd__view"):
            views[f"{view}__size"] = 32
    if preset == "cifar10":
        data["evals__online"] = True
    result = jssl.run(shrunk(preset, **data, **views), tmp_path / "run")
    assert result["knn/top1"] >= 1 / 3
    assert result["pixels/knn/top1"] > 0.9  # the colours are the classes
    assert ("sgd/top1" in result.values) == (preset == "imagenet")
    assert result["step"] == 2


@pytest.mark.parametrize("name", ["byol", "fixmatch"])
def test_a_folder_of_photographs_is_for_every_method(name, classes, tmp_path):
    config = jssl.get_config(f"{name}:folder")
    for stream in (config.data.unlabeled, config.data.labeled):
        stream.batch_size = min(stream.batch_size, 8)
        for each in stream.views.values():
            each.update({"size": each.size // 6, "copies": min(2, each.copies)})
    for key, value in SMALL.items():
        if not key.startswith(("method", "data__unlabeled", "data__holdout")):
            set_key(config, key, value)
    if "proj_hidden_dim" in config.method:
        config.method.update({"proj_hidden_dim": 16, "proj_dim": 8})
    config.data.update({"name": str(classes), "test": "validation", "labels": "2 per class"})
    config.data.holdout = 0.2
    result = jssl.run(config, tmp_path / "run")
    assert result["step"] == 2
    assert np.isfinite(result["classifier/top1" if name == "fixmatch" else "knn/top1"])


DIGITS = {  # images of the digits preset that are clips, or in colour
    "future": (20, 20, 8),
    "colorization": (8, 8, 3),
    "split_brain": (8, 8, 3),
    "clip": (16, 16, 1),
    "siglip": (16, 16, 1),
    "mlm": (16, 16, 1),
    "audio_visual": (8, 8, 1),
    "avid": (8, 8, 1),
}


def built(config, info, mesh):
    """The program of a config, of a smaller encoder where depth does not matter."""
    if config.encoder.name.startswith("resnet"):
        config.encoder.name = "convnet"
        config.encoder.convnet.batch_norm_groups = config.encoder.resnet.batch_norm_groups
    config.encoder.convnet.strides = (2,)
    if config.encoder.name.startswith("vit"):
        config.encoder.name, config.encoder.vit.heads = "vit_mini", 4
    if "decoder_layers" in config.method:
        config.method.decoder_layers = 1
    return program.make_program(config, info, mesh)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_preset_of_every_method_is_built_and_may_be_shortened(name, mesh8, monkeypatch):
    """One key makes a run short; warm-up and waiting groups shrink along."""
    monkeypatch.setitem(models.ENCODERS, "vit_mini", ("vit", {"features": 64, "layers": 1}))
    module = importlib.import_module(f"jssl.configs.{name}")
    presets = ("digits", "small", "cifar10", "imagenet", "imagenet_vit", "folder", "large")
    for preset in [preset for preset in presets if hasattr(module, preset)]:
        config = module.get_config(preset)
        assert config.name == f"{name}_{preset}"
        config.total_epochs = 2.0
        if "clusters" in config.method:  # more than the images of this test
            config.method.clusters = 64
        shape = {"digits": DIGITS.get(name, (8, 8, 1)), "small": (32, 32, 3), "cifar10": (32, 32, 3)}.get(
            preset
        )
        beside = {
            "text_context": config.data.text.context,
            "text_vocabulary": 300,
            "text_end": 2,
            "text_mask": 3,
        }
        beside["audio_samples"] = 3200 if config.data.audio.enabled else 0
        info = DataInfo(10 * config.data.unlabeled.batch_size, shape, shape[-1] if shape else 3, 10, **beside)
        assert built(config, info, mesh8).clock.total_steps == 20


def test_the_digits_run_of_another_method_goes_to_its_result(tmp_path):
    """Multi-crop with crops of two sizes, a teacher, waiting prototypes, the online probe, and a picture of each."""
    config = tiny(dino.get_config("digits"))
    config.method.local_views = ("local",)
    config.data.unlabeled.views["local"] = view(6, copies=2)
    config.total_steps, config.evals.online, config.log.pictures = 3, True, True
    config.evals.health.enabled, config.evals.baselines = True, False
    result = jssl.run(config, tmp_path / "run")
    assert result["health/teacher/entropy"] > 0
    encoder = jssl.load(tmp_path / "run")
    state = open_run(tmp_path / "run")[2]
    same = jax.tree.map(np.array_equal, encoder.params, state.method_state["target"]["params"]["encoder"])
    assert all(jax.tree.leaves(same))  # the teacher's, as the features are
    assert not (tmp_path / "run" / "attention.png").exists()  # a ConvNet has none
    assert np.isfinite(result["knn/top1"])


def test_views_go_by_their_names_alone(mesh8):
    """A misspelt one is told, a large local one too, and no name comes before another."""
    info = DataInfo(1437, (8, 8, 1), 1, 10)
    config = tiny(dino.get_config("digits"))
    config.data.unlabeled.views = {"wide": recipes.digit(8, copies=2), "close": recipes.digit(4, copies=2)}
    with pytest.raises(UserError, match=r"DINO needs, 'global': valid are close, wide"):
        program.make_program(config, info, mesh8)
    config.method.views = ("wide",)
    with pytest.raises(
        UserError, match=r"unlabeled\.views\.close is used by nothing: .* \(which names wide\)"
    ):
        program.make_program(config, info, mesh8)
    config.method.local_views = ("close",)
    prog = program.make_program(config, info, mesh8)
    assert prog.size == 8
    config.method.update({"views": ("close",), "local_views": ("wide",)})
    with pytest.raises(
        UserError, match=r"local crops must not be larger than global ones \(4, 4, 8, 8 pixels\)"
    ):
        program.make_program(config, info, mesh8)


def test_what_only_the_networks_can_tell_is_said_before_a_folder_is_made(tmp_path):
    config = tiny(moco.get_config("digits"))
    config.encoder.convnet.batch_norm_groups = 3
    with pytest.raises(UserError, match="a batch of 16 does not divide by 3 groups: change the batch size"):
        jssl.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_parts_of_an_accumulated_batch_are_checked(mesh1):
    config = tiny(vicreg.get_config("digits"))
    config.optim.grad_accumulation = 16
    with pytest.raises(UserError, match=r"batch_size \(over optim.grad_accumulation\) must be > 1"):
        program.make_program(config, DataInfo(1437, (8, 8, 1), 1, 10), mesh1)


@pytest.mark.parametrize("mechanism", ["queue", "memory_bank", "end_to_end"])
def test_one_key_chooses_where_negatives_come_from(mechanism, mesh8):
    config = tiny(moco.get_config("digits"))
    config.method.mechanism = mechanism
    state = program.make_program(config, DataInfo(1437, (8, 8, 1), 1, 10), mesh8).abstract_state()
    found = set(state.method_state) - {"stats"}
    assert found == {"queue": {"queue", "target"}, "memory_bank": {"bank"}, "end_to_end": set()}[mechanism]


def test_the_papers_recipe_stands_in_the_imagenet_preset():
    config = simclr.get_config("imagenet")
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("lars", 0.3, 1e-6)
    assert config.data.unlabeled.batch_size == 4096
    assert config.method.temperature == 0.1
    clock = durations.make_clock(config, 1281167)
    assert clock.steps(config.optim, "warmup") == 3128
    assert clock.steps(config.checkpoint, "every") == 313


def test_the_views_of_a_config_are_two_things():
    config = simclr.get_config("cifar10")
    config.data.unlabeled.views.first.blur_prob = 0.5
    assert config.data.unlabeled.views.second.blur_prob == 0.0


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(
        UserError, match=r"unknown preset 'cifar': did you mean 'cifar10'.*digits, folder, imagenet"
    ):
        simclr.get_config("cifar")


def test_every_key_is_declared():
    config = defaults("simclr")
    with pytest.raises(AttributeError):
        config.lock().optim.lrr = 1
