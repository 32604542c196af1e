import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import config as schema
from jssl.configs import dino
from jssl.data import sources
from jssl.data.pipeline import BadImages, DeviceIterator, TrainBatches
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.train import optim, program
from tests.conftest import tiny, tiny_config

INFO = DataInfo(1437, (8, 8, 1), 1, 10)
DIGITS = sources.load("digits", "train")


def batches(config, steps=6):
    return TrainBatches(
        DIGITS, config.data.unlabeled.batch_size, 0, steps, DIGITS.labels(), process=0, processes=1
    )


def run(config, mesh, steps=3):
    """States and metrics of the first steps."""
    prog = program.make_program(config, INFO, mesh)
    data = DeviceIterator(batches(config), mesh, BadImages(DIGITS, 0.0))
    state, metrics = prog.init(), []
    for _ in range(steps):
        state, values = prog.step(state, {"unlabeled": next(data)})
        metrics.append(jax.device_get(values))
    return prog, jax.device_get(state), metrics


@pytest.fixture(scope="module")
def one_device(mesh1):
    return run(tiny_config(evals__online=True), mesh1)


def close(a, b, rtol=1e-5, atol=1e-6):
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=str(path))


def test_eight_devices_train_as_one(one_device, mesh8):
    prog, state, metrics = run(tiny_config(evals__online=True), mesh8)
    assert prog.step._cache_size() == 1, "compiled once"
    _, state1, metrics1 = one_device
    np.testing.assert_allclose([m["loss"] for m in metrics], [m["loss"] for m in metrics1], rtol=1e-5)
    close(state.method_state["stats"], state1.method_state["stats"], rtol=1e-4)
    # Adam divides by the gradient's size, so that rounding shows in parameters whose gradient is almost 0.
    close(state.params, state1.params, rtol=1e-3, atol=2e-5)


def test_it_is_built_and_compiled_without_data(mesh8):
    prog = program.make_program(tiny_config(), INFO, mesh8)
    compiled = prog.compile()
    state = prog.init()
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), prog.abstract_state())
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
    new, metrics = compiled(state, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), prog.abstract_batch()))
    assert int(new.step) == 1
    assert np.isfinite(float(metrics["loss"]))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))  # donated


def test_accumulation_is_the_mean_over_parts(mesh1, mesh8):
    """Parts are rows i::2, each with its own batch statistics and negatives; on any mesh."""
    changes = {"optim__name": "sgd", "optim__momentum": 0.0, "optim__lr": 1.0, "method__temperature": 1.0}
    config = tiny_config(optim__grad_accumulation=2, **changes)
    _, state1, metrics1 = run(config, mesh1, steps=2)
    _, state8, metrics8 = run(config, mesh8, steps=2)
    np.testing.assert_allclose(metrics1[1]["loss"], metrics8[1]["loss"], rtol=1e-5)
    close(state1.params, state8.params, rtol=1e-4, atol=5e-5)
    whole = run(tiny_config(**changes), mesh1, steps=1)[2][0]
    assert metrics1[0]["loss"] < whole["loss"]  # fewer negatives are easier


def test_the_first_views_are_those_of_the_first_step(mesh1):
    """The picture shows the truth: nt_xent of the drawn views is the loss that the step reports."""
    config = tiny_config(log__pictures=True)
    prog, _, metrics = run(config, mesh1, steps=1)
    batch = {"unlabeled": next(DeviceIterator(batches(config), mesh1, BadImages(DIGITS, 0.0)))}
    state = prog.init()
    from jssl.methods import Context

    ctx = Context(jax.random.key(0), jnp.zeros((), jnp.int32), jnp.zeros(()))
    value, _ = jax.jit(prog.method.loss)(state.params, state.method_state, prog.first_views(batch), ctx)
    np.testing.assert_allclose(value, metrics[0]["loss"], rtol=1e-5)


def test_the_online_probe_learns_and_does_not_touch_the_encoder(one_device, mesh1):
    _, with_probe, metrics = one_device
    _, without, _ = run(tiny_config(), mesh1)
    close(with_probe.params["encoder"], without.params["encoder"], rtol=1e-4, atol=1e-5)
    assert "online/top1" in metrics[0]
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(with_probe.params["probe"]))


def validated_program(config, mesh):
    """What a run does before anything else."""
    schema.validate(config)
    return program.make_program(config, INFO, mesh)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_steps": 0}, "no length"),
        (
            {"total_epochs": 1.0},
            "total_steps=6 and total_epochs=1|total_epochs=1 and total_steps=6",
        ),
        ({"total_steps": -5}, "total_steps=-5 must be 0 or more"),
        ({"data__unlabeled__batch_size": 12}, r"multiple of the 8 device.*try 16"),
        (
            {"data__unlabeled__batch_size": 0},
            "unlabeled.batch_size or labeled.batch_size must be more than 0",
        ),
        ({"data__unlabeled__batch_size": -8}, "batch_size=-8 must be at least 0"),
        ({"data__epochs_of": "labeled"}, "epochs_of='labeled': that stream has no batch_size"),
        ({"data__labeled__batch_size": 8}, "labeled.views is empty"),
        ({"optim__grad_accumulation": 3}, "grad_accumulation=3 must divide"),
        ({"optim__name": "sdg"}, "unknown optim.name 'sdg': did you mean 'sgd'"),
        ({"optim__schedule": "cosin"}, "did you mean 'cosine'"),
        ({"optim__lr_scaling": "liner"}, "did you mean 'linear'"),
        ({"optim__lr": 0.0}, "lr=0.0 must be positive"),
        ({"method__name": "simcrl"}, "unknown method.name 'simcrl': did you mean 'simclr'"),
        (
            {"method__temprature": 0.1},
            "unknown key of method 'temprature': did you mean 'temperature'",
        ),
        ({"method__temperature": -1.0}, "temperature=-1.0 must be positive"),
        ({"method__version": 3}, "valid are 1, 2"),
        ({"encoder__name": "resnet19"}, "resnet19.*did you mean 'resnet18'"),
        ({"encoder__convnet__width": 0}, "width"),
        ({"data__unlabeled__crop": "gpu"}, "crop 'gpu'"),
        ({"data__unlabeled__views__first__size": 9}, "views of one size, not 9 and 8"),
        ({"data__unlabeled__views__first__blur_prb": 0.5}, "blur_prb.*blur_prob"),
        ({"data__unlabeled__views__first__copies": 2}, "two views of every image.* are 3"),
        ({"data__unlabeled__views__second__gray_prob": 1.5}, "gray_prob"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_mistakes_are_named_before_anything_runs(mesh8, changes, message):
    config = tiny_config()
    with config.unlocked():
        for key, value in changes.items():
            *parents, last = key.split("__")
            node = config
            for parent in parents:
                node = node[parent]
            node[last] = value
    with pytest.raises(UserError, match=message):
        validated_program(config, mesh8)


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_runs_of_other_lengths_and_seeds_share_their_step(schedule, mesh1):
    """Seed, images, epochs, warm-up and waiting groups are not in the program, so a compiled one is found again."""
    texts, rates = [], []
    for images, epochs, warmup in ((640, 2.0, 10.0), (800, 5.0, 40.0)):
        config = tiny(dino.get_config("digits"))
        config.total_steps, config.total_epochs, config.optim.schedule = 0, epochs, schedule
        config.optim.update({"warmup_steps": 0, "warmup_percent": warmup, "step_at": (0.5, 0.75)})
        config.method.teacher_warmup_epochs, config.seed = 1.0, images
        prog = program.make_program(config, DataInfo(images, (8, 8, 1), 1), mesh1)
        texts.append(prog.traced.lower().as_text())
        state = prog.init()
        assert {
            key: float(value) for key, value in prog.lengths.items() if key.endswith(("steps", "warmup"))
        } == {
            "total_steps": images / 16 * epochs,
            "warmup": images / 16 * epochs * warmup / 100,
        }
        rates.append(optim.make_schedule(config.optim, prog.clock)(5))
        assert jax.tree.all(jax.tree.map(np.array_equal, state.constants, prog.constants))
    assert texts[0] == texts[1]
    assert rates[0] != rates[1]
