"""The schema: every key is checked, named when it is wrong, and documented; shipped configs pass it."""

import pathlib

import ml_collections
import pytest

import jssl
from jssl import config as schema
from jssl import config_help, methods
from jssl.errors import UserError
from tests.conftest import set_key


def get(spec, **changes):
    config = jssl.get_config(spec)
    for key, value in changes.items():
        set_key(config, key, value)
    return config


DOCS = pathlib.Path(__file__).parents[1] / "docs"
SHIPPED = sorted(
    path.stem
    for path in schema.configs_folder().glob("*.py")
    if path.stem not in ("__init__", "recipes", "semi")
)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_pass(name):
    schema.validate(jssl.get_config(name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim__lr": 0.0}, r"optim\.lr=0\.0 must be positive"),
        ({"optim__b1": 1.0}, r"optim\.b1=1\.0 must be at least 0 and less than 1"),
        ({"optim__lr": float("nan")}, r"optim\.lr=nan must be positive"),
        ({"optim__momentum": float("inf")}, r"optim\.momentum=inf must be"),
        ({"optim__name": "adma"}, r"unknown optim\.name 'adma': did you mean 'adamw'"),
        ({"optim__schedule": "cosin"}, r"unknown optim\.schedule 'cosin': did you mean 'cosine'"),
        ({"optim__lr_scaling": "square"}, r"optim\.lr_scaling 'square'"),
        ({"optim__layer_decay": 0.0}, r"layer_decay=0\.0 must be above 0 and at most 1"),
        *[
            ({f"optim__{name}": -3.0}, rf"optim\.{name}=-3\.0 must be at least 0")
            for name in (
                "weight_decay",
                "final_weight_decay",
                "clip_norm",
                "clip_each_norm",
                "final_lr_factor",
            )
        ],
        ({"optim__layer_decay": 1.5}, r"layer_decay=1\.5 must be above 0 and at most 1"),
        ({"optim__weight_decay": -1e-4}, r"weight_decay=-0\.0001 must be at least 0"),
        ({"optim__step_at": 0.5}, r"optim\.step_at=0\.5 must be numbers in parentheses"),
        ({"optim__grad_accumulation": 0}, r"grad_accumulation=0 must be at least 1"),
        ({"data__holdout": 1.0}, r"data\.holdout=1\.0 must be at least 0 and less than 1"),
        ({"data__threads": 0}, r"data\.threads=0 must be at least 1"),
        ({"data__mean": 0.5}, r"data\.mean=0\.5 must be numbers in parentheses"),
        (
            {"data__unlabeled__crop": "here"},
            r"data\.unlabeled\.crop 'here': .*valid are auto, device, host",
        ),
        ({"data__unlabeled__batch_size": 0}, r"batch_size must be more than 0"),
        ({"data__epochs_of": "labeled"}, r"data\.epochs_of='labeled': that stream has no batch_size"),
        ({"data__unlabeled__corruption": "jpg"}, r"corruption 'jpg': did you mean 'jpeg'"),
        ({"data__unlabeled__views__first__flip_prob": 1.5}, r"views\.first.*flip_prob=1\.5 must be"),
        ({"encoder__name": "resnet5"}, r"unknown encoder\.name 'resnet5': did you mean 'resnet50'"),
        ({"encoder__convnet__width": 0}, r"encoder\.convnet\.width=.* must be"),
        ({"method__temperature": -1.0}, r"method\.temperature=-1\.0 must be positive"),
        ({"method__name": "simcrl"}, r"unknown method\.name 'simcrl': did you mean 'simclr'"),
        ({"dtype": "float16"}, r"unknown dtype 'float16'"),
        ({"checkpoint__keep_last": 0}, r"checkpoint\.keep_last=0 must be at least 1"),
        ({"total_steps": 5}, r"total_steps=5 and total_epochs=100 are given at once"),
        (
            {"evals__every_epochs": -1.0, "evals__every_percent": 0.0},
            r"evals\.every_epochs=-1 must be 0 or more",
        ),
        ({"evals__knn__k": -1}, r"evals\.knn\.k=-1 must be at least 0"),
        ({"evals__per_class": (0,)}, r"evals\.per_class=\(0,\): numbers must be at least 1"),
        ({"evals__crop_fraction": 0.0}, r"evals\.crop_fraction=0\.0 must be from 0.1 to 1"),
        ({"log__every_steps": 0}, r"log\.every_steps=0 must be at least 1"),
        ({"mesh__fsdp": 1}, r"mesh\.fsdp=1 must be True or False"),
        ({"pseudo_labels__rule": "al"}, r"unknown pseudo_labels\.rule 'al': did you mean 'all'"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_key(changes, message):
    config = jssl.get_config("simclr")
    with config.ignore_type():
        for key, value in changes.items():
            set_key(config, key, value)
    with pytest.raises(UserError, match=message) as found:
        schema.validate(config)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: {"a": 1}, "a config is a ConfigDict, of jssl.get_config"),
        (lambda: ml_collections.ConfigDict({"lr": 1}), "order is missing: begin with a config of"),
        (lambda: get("moam", order=()), "order is empty: name the stages"),
        (
            lambda: get("simclr", method__name="byol"),
            "method.name='byol': the other keys of method are those of",
        ),
        (lambda: get("simclr", total_epochs=float("inf")), "total_epochs=inf must be 0 or more"),
        (lambda: jssl.get_config("configs/simclr.py:digits"), "is no name of a shipped config"),
        (lambda: jssl.get_config(None), "None is no name of a shipped config"),
        (lambda: jssl.get_config("noisy_student:digits,x"), "how many rounds"),
        (lambda: jssl.get_config("noisy_student:digits,0"), "how many rounds"),
    ],
)
def test_what_is_no_config_is_named(config, message):
    with pytest.raises(UserError, match=message):
        schema.validate(config())


def test_keys_are_those_of_the_schema():
    config = jssl.get_config("simclr")
    config.optim.clip_nrm = 1.0
    with pytest.raises(UserError, match=r"unknown key of optim 'clip_nrm': did you mean 'clip_norm'"):
        schema.validate(config)
    config = jssl.get_config("simclr")
    del config.data["holdout"]
    with pytest.raises(UserError, match=r"data\.holdout is missing"):
        schema.validate(config)


def test_mistakes_in_stages_have_their_place_in_the_message():
    config = jssl.get_config("moam")
    config.stages.step2.optim.lr = -1.0
    with pytest.raises(UserError, match=r"^stage step2: optim\.lr=-1\.0 must be positive"):
        schema.validate(config)


def test_shipped_configs_by_name():
    assert jssl.get_config("simclr:cifar10").name == "simclr_cifar10"
    assert jssl.get_config("s4l:rotation,tiny").name == "s4l_rotation_tiny"
    with pytest.raises(UserError, match="unknown config 'simlcr': did you mean 'simclr'"):
        jssl.get_config("simlcr")
    with pytest.raises(UserError, match="unknown preset 'cifar': did you mean 'cifar10'"):
        jssl.get_config("simclr:cifar")


def test_every_key_says_what_it_is():
    silent = [f"{path}.{name}" for path, name, _, _, words in config_help.documented() if not words]
    assert not silent
    sections = {path for path, *_ in config_help.documented()}
    assert {f"method ({name})" for name in methods.METHODS} <= sections
    text = config_help.describe(jssl.get_config("dino"))
    assert "--config.optim.lr=" in text
    assert "--config.method.center_momentum=0.9\n    how much of the centre an update keeps" in text
    assert "length of the run" in text
    assert "--config.encoder.convnet.width=16\n    channels of the first" in text
    text = config_help.describe(jssl.get_config("moam"))
    assert "--config.stages.step1.method.terms.rotation.weight=" in text
    silent = [line for line, after in zip(text.splitlines(), text.splitlines()[1:]) if after.startswith("--")]
    assert not [line for line in silent if line.startswith("--") and not line.endswith("={}")]


def test_the_page_of_keys_is_up_to_date():
    assert (DOCS / "config.md").read_text() == config_help.page(), (
        "python -m jssl.config_help > docs/config.md"
    )


def test_importing_jssl_is_light_and_rooms_come_when_asked_for():
    import subprocess
    import sys

    code = "import sys, jssl; assert 'jax' not in sys.modules; assert jssl.losses.nt_xent; print(sorted(dir(jssl)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'losses'" in out
    assert "'get_config'" in out
