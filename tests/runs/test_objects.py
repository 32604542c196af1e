"""A user's own method, encoder, optimiser and data in the place of what a config names."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jssl
from jssl import models
from jssl.data import sources
from jssl.errors import UserError
from jssl.methods import Output, RunInfo, SemiSupervised, Term
from jssl.methods.contrastive.simclr import SimCLR
from jssl.methods.pretext.rotation import Rotation
from jssl.runs.objects import Objects
from tests.commands import called
from tests.conftest import tiny_config


class Net(nn.Module):
    """Not in the table of encoders."""

    @nn.compact
    def __call__(self, x, train):
        del train
        return jnp.mean(nn.relu(nn.Conv(6, (3, 3), strides=2)(x)), axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class Warm(SimCLR):
    """SimCLR with another default, and a metric more."""

    temperature: float = 0.5

    def loss(self, params, state, batch, ctx):
        value, output = super().loss(params, state, batch, ctx)
        return value, output._replace(
            metrics={**output.metrics, "temperature": jnp.float32(self.temperature)}
        )


def digits(count=96):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count) % 3


def config():
    found = tiny_config(total_steps=4)
    found.evals.knn.enabled = True
    return found


OWN = {"method": Warm, "encoder": models.Network(Net()), "optimizer": optax.sgd(0.05)}


def test_own_objects_train_are_noted_and_open_again(tmp_path):
    images, labels = digits()
    folder = tmp_path / "run"
    result = jssl.run(
        config(), folder, **OWN, data={"train": (images, labels), "test": (images[:20], labels[:20])}
    )
    line = next(line for line in result.metrics() if "loss" in line)
    assert line["temperature"] == 0.5
    assert "lr" not in line, "nobody knows the rate of somebody else's optimiser"
    assert 0 <= result["knn/top1"] <= 1
    assert result["evaluated_on"] == "test set"
    features = jssl.load(folder, **OWN)(images[:5])
    assert features.shape == (5, 6)
    with pytest.raises(
        UserError,
        match=r"made with .*test_objects\.Warm, a method of your own: open it from Python and give method=\.\.\.",
    ):
        jssl.load(folder)
    with pytest.raises(UserError, match=r"test_objects\.Net, an encoder of your own"):
        jssl.load(folder, method=Warm)
    with pytest.raises(UserError, match="made with an optimizer of your own"):
        jssl.load(folder, method=Warm, encoder=OWN["encoder"])
    status, _, err = called(f"--workdir={folder}", module="jssl.evaluate")
    assert status == 2
    assert "a method of your own" in err
    with pytest.raises(UserError, match="holds a run of another config"):
        jssl.run(config(), folder)


def test_a_method_may_be_an_instance_or_made_of_what_the_program_knows(tmp_path):
    seen = []

    def make(info):
        seen.append(info)
        return SimCLR(info.encoder, proj_hidden_dim=16, proj_dim=4, temperature=0.2)

    source = sources.ArraySource("mine", digits()[0])
    result = jssl.run(config(), tmp_path / "made", method=make, data=source)
    assert isinstance(seen[0], RunInfo)
    assert seen[0].num_examples == 86  # a tenth is held out
    whole = SimCLR(models.Network(Net()), proj_hidden_dim=16, proj_dim=4, temperature=0.2)
    other = jssl.run(config(), tmp_path / "whole", method=whole, data=source)
    assert np.isfinite([result.metrics()[-1]["loss"], other.metrics()[-1]["loss"]]).all()
    changed = dataclasses.replace(whole, temperature=0.3)
    with pytest.raises(UserError, match=r"method\.temperature: 0\.2 there, 0\.3 now"):
        jssl.run(config(), tmp_path / "whole", method=changed, data=source)


def test_a_flax_module_is_an_encoder_with_dropout_too(tmp_path):
    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.Dropout(0.5, deterministic=not train)(nn.Dense(6)(x))
            return x.mean(axis=(1, 2))

    folder = tmp_path / "run"
    jssl.run(config(), folder, encoder=Dropping(), data=digits()[0])
    assert jssl.load(folder, encoder=Dropping())(digits()[0][:3]).shape == (3, 6)


def test_a_sum_of_terms_needs_no_labels(tmp_path):
    """Rotation and SimCLR over one encoder, without a classifier."""

    def make(info):
        terms = {
            "rotation": Term(Rotation(info.encoder, view="first"), weight=0.5),
            "simclr": Term(SimCLR(info.encoder, proj_hidden_dim=8, proj_dim=4)),
        }
        return SemiSupervised(info.encoder, terms=terms)

    result = jssl.run(config(), tmp_path / "run", method=make, data=digits()[0])
    line = [line for line in result.metrics() if "loss" in line][-1]
    expected = 0.5 * line["rotation/loss"] + line["simclr/loss"]
    assert line["loss"] == pytest.approx(expected, rel=1e-5)


def test_mistakes_are_one_line_before_a_folder_is_made(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Growing(SimCLR):
        def loss(self, params, state, batch, ctx):
            value, output = super().loss(params, state, batch, ctx)
            return value, Output({**output.state, "more": jnp.zeros(2)}, output.metrics)

    class Alone(SimCLR):
        def loss(self, params, state, batch, ctx):
            return super().loss(params, state, batch, ctx)[0]

    class Mute(SimCLR):
        def outputs(self, params, state, inputs, modality="image"):
            return {}

    class Stale(SimCLR):
        refresh_every = "2 steps"

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Needy(SimCLR):
        size: int

    class Map(nn.Module):
        def __call__(self, x, train):
            return x

    class Untrained(nn.Module):
        def __call__(self, x):
            return x.mean(axis=(1, 2))

    images, labels = digits()
    cases = [
        ({"method": Alone}, r"Alone\.loss must return a scalar and an Output"),
        ({"method": Mute}, r"Mute\.outputs must have 'features'"),
        ({"method": Stale}, r"Stale has refresh_every='2 steps', but no refresh"),
        ({"method": Needy}, r"Needy\.size is missing: it has no default"),
        ({"method": lambda: None}, "cannot be made .*a function takes a RunInfo"),
        ({"method": "simclr"}, "method='simclr': give a jssl.methods.Method"),
        ({"encoder": "resnet18"}, "encoder='resnet18': give a Flax module"),
        ({"encoder": Map()}, r"Map must give features, .*and gives \[\d+, 8, 8, 1\]"),
        ({"encoder": Untrained()}, r"Untrained cannot be called as module\(x, train\)"),
        ({"optimizer": "adam"}, "optimizer='adam': give an optax transformation"),
        ({"optimizer": optax.adam}, "give an optax transformation"),
        ({"data": [images, labels]}, "data is list: give images as an array"),
        ({"data": (images, labels, labels)}, "data is tuple: give images as an array"),
        ({"method": Growing}, r"Growing: `loss` must return a scalar, .*a state like that of `init`"),
        ({"method": lambda info: "no method"}, "makes str, not a jssl.methods.Method"),
        ({"data": {"test": digits()[0]}}, "data has no split 'train', only test"),
        ({"data": digits()[0].astype(complex)}, r"images must be uint8, uint16 or floats\[N, H, W, C\]"),
    ]
    for number, (objects, message) in enumerate(cases):
        folder = tmp_path / str(number)
        with pytest.raises(UserError, match=message) as found:
            jssl.run(config(), folder, **objects)
        assert "\n" not in str(found.value)
        assert not folder.exists()
    with pytest.raises(UserError, match="run its stages one by one"):
        jssl.run(jssl.get_config("moam"), tmp_path / "stages", **OWN)
    assert Objects().sources() is None
