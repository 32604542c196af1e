"""What every method of the table must do, on tiny shapes."""

import dataclasses
import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import methods, models, parallel
from jssl.config import defaults
from jssl.evaluation.extract import Features
from jssl.methods import Context, OnlineProbe, RunInfo, make_method
from jssl.methods.multimodal.audio_visual import AudioVisual
from jssl.methods.multimodal.windows import Clip
from jssl.models.vit import ViT
from tests.conftest import METHODS, SMALL_SIZES

CONVNET = {"name": "convnet", "convnet": {"width": 8, "strides": (2,)}}
ENCODER = models.encoder(CONVNET)
VIT = models.Network(ViT(features=16, layers=1, heads=2, patch_size=4, image_size=8))
FRAMES = models.encoder(
    {"name": "convnet", "convnet": {"width": 8, "strides": (2,), "norm": "layer"}, "per_frame": True}
)
ENCODERS = {  # where a ConvNet that sees everything does not do
    "mae": VIT,
    "simmim": VIT,
    "future": FRAMES,
    "colorization": models.encoder({**CONVNET, "channels": (0,)}),
    "split_brain": models.encoder({**CONVNET, "split_brain": True}),
    "audio_visual shifted": models.encoder({**CONVNET, "window": 2}),
}
ROWS = 16
VOCABULARY = 12
# The variants of a method that compute something else.
VARIANTS = {
    **{name: {} for name in METHODS},
    "moco memory_bank": {"mechanism": "memory_bank", "symmetric": True},
    "moco end_to_end": {"mechanism": "end_to_end"},
    "moco symmetric": {"symmetric": True, "version": 1},
    "instdisc all": {"negatives": 0},
    "byol alone": {"predictor": False},
    "audio_visual concat": {"fusion": "concat"},
    "audio_visual shifted": {"negative_sounds": "shifted", "min_shift": 0.1, "sound_over_time": True},
    "future": {"steps": 1},  # the views have three channels
    "future space": {"mode": "space", "steps": 1, "skip": 1, "patch": 4, "stride": 2},
}
NOT_SYMMETRIC = ("moco", "moco end_to_end")
SIDES = {"context": 12, "future space": 10}  # of views, where 8 pixels are too few
ROUNDING = {"rtol": 1e-3, "atol": 5e-5}  # of single precision, through batch statistics of 16 rows
KEY = jax.random.key(0)
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


@functools.cache
def config_of(variant):
    """The method section of the method's own config, with narrow heads."""
    name = variant.split()[0]
    config = importlib.import_module(f"jssl.configs.{name}").get_config().method
    config.update({key: value for key, value in SMALL_SIZES.items() if config.get(key)})
    config.update(VARIANTS[variant])
    config.update({"local_views": ("local",)} if "local_views" in config else {})
    return config


def batch(variant="simclr", seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    config = config_of(variant)
    names = config.views if "views" in config else (config.view,)
    side = SIDES.get(variant, 8)
    copies = {**dict.fromkeys(names, (side,)), **dict.fromkeys(config.get("local_views", ()), (6, 6))}
    copies |= {"global": (8, 8)} if "global" in copies else {}
    views = {
        name: tuple(jnp.asarray(rng.uniform(size=(rows, size, size, 3)), jnp.float32) for size in sizes)
        for name, sizes in copies.items()
    }
    index = jnp.arange(rows, dtype=jnp.int32)
    beside = {}
    if "text_features" in config:
        beside["text"] = captions(rng, rows)
    if "sound_width" in config:
        beside["audio"] = jnp.asarray(rng.normal(size=(rows, 6, 5, 1)), jnp.float32)
    return {"unlabeled": {"views": views, "index": index, "label": index % 3, **beside}}


def captions(rng, rows):
    """Tokens: a start (1), one to three words, an end (2), zeros."""
    tokens = np.zeros((rows, 6), np.int32)
    for row, words in zip(tokens, rng.integers(1, 4, rows)):
        row[: words + 2] = [1, *rng.integers(3, VOCABULARY, words), 2]
    return jnp.asarray(tokens)


@dataclasses.dataclass
class Started:
    """A method, its fresh parameters and state, and one step of its training by plain gradient descent."""

    name: str
    method: methods.Method
    params: object
    state: object
    step: object

    def batch(self, seed=0):
        return batch(self.name, seed)


EXAMPLES = 100


@dataclasses.dataclass
class Extracted:
    """What the loop gives `refresh`, of random images."""

    name: str
    method: methods.Method

    @property
    def labels(self):
        return np.arange(EXAMPLES) % 3

    def features(self, x):
        return Features(np.asarray(x), self.labels, np.arange(EXAMPLES))

    def __call__(self, params, state, output="features"):
        images = jax.tree.leaves(batch(self.name, 7, EXAMPLES)["unlabeled"]["views"])[0]
        return self.features(jax.jit(self.method.outputs)(params, state, images)[output])

    def training(self, params, state, function, key):
        return self.features(jax.jit(function)(params, state, batch(self.name, 7, EXAMPLES), key))


def one_step(method):
    def step(params, state, batch, ctx):
        (value, output), grads = jax.value_and_grad(method.loss, has_aux=True)(params, state, batch, ctx)
        moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        return value, output, grads, moved, method.after_update(moved, output.state, ctx)

    return jax.jit(step)


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def started(request):
    encoder = ENCODERS.get(request.param, ENCODER)
    facts = {"num_examples": EXAMPLES, "color_space": "lab", "text_vocabulary": VOCABULARY, "text_end": 2}
    facts["text_mask"] = VOCABULARY - 1
    facts["clip"] = Clip(frames=3, seconds=0.3, columns=5, hop=0.05)
    method = make_method(config_of(request.param), RunInfo(encoder, **facts))
    method.check(batch(request.param))
    params, state = jax.jit(method.init)(KEY, batch(request.param))
    if method.refresh_every:
        found = method.refresh(params, state, Extracted(request.param, method), KEY)
        params, state = jax.tree.map(jnp.asarray, (found.params, found.state))
    return Started(request.param, method, params, state, one_step(method))


def close(a, b, rtol=1e-4, atol=1e-5):
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def test_shapes_are_known_before_anything_is_computed(started):
    abstract = jax.eval_shape(started.method.init, KEY, started.batch())
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (started.params, started.state))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == shapes
    assert "encoder" in started.params


def test_the_loss_is_finite_and_reaches_every_parameter_and_no_target(started):
    found = started.step(started.params, started.state, started.batch(), CONTEXT)
    value, output, grads, moved, after = jax.device_get(found)
    assert value.shape == ()
    assert np.isfinite(value)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        learns = path[0].key not in started.method.frozen
        assert np.any(grad != 0) == learns, f"a gradient reaches {jax.tree_util.keystr(path)}: {not learns}"
    for name, metric in output.metrics.items():
        assert metric.shape == (), name
        assert np.isfinite(metric), name
    assert {"embedding/std", "embedding/effective_rank"} <= set(output.metrics)
    assert jax.tree.structure(output.state) == jax.tree.structure(started.state)
    assert jax.tree.structure(after) == jax.tree.structure(started.state)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), started.state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == shapes
    assert output.features.shape[0] == output.labels.shape[0] == ROWS
    if "target" in started.state:  # only by EMA, towards what the optimiser made
        decay = started.method.momentum
        expected = jax.tree.map(
            lambda t, p: decay * t + (1 - decay) * p,
            jax.device_get(started.state["target"]["params"]),
            {name: moved[name] for name in started.method.averaged},
        )
        close(after["target"]["params"], expected, atol=1e-7)
        close(output.state["target"]["params"], started.state["target"]["params"], 0, 0)


def test_it_is_a_pure_function_compiled_once(started):
    first = started.step(started.params, started.state, started.batch(), CONTEXT)
    compiled = started.step._cache_size()
    again = started.step(started.params, started.state, started.batch(), CONTEXT)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    later = Context(jax.random.key(2), jnp.ones((), jnp.int32), jnp.ones(()))
    started.step(first[3], first[4], started.batch(1), later)
    assert started.step._cache_size() == compiled


def test_the_order_of_the_batch_does_not_matter(started):
    if isinstance(started.method, AudioVisual):
        pytest.skip("an image meets the sound of the next one in the batch")
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = jax.tree.map(lambda x: np.asarray(x)[order], started.batch())
    value, _, grads, _, _ = started.step(started.params, started.state, started.batch(), CONTEXT)
    other, _, other_grads, _, _ = started.step(started.params, started.state, shuffled, CONTEXT)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    close(grads, other_grads, **ROUNDING)


def test_views_may_be_swapped_exactly_where_the_loss_is_symmetric(started):
    views = started.batch()["unlabeled"]["views"]
    if sum(map(len, views.values())) == 1:
        pytest.skip("it takes one view: there is nothing to swap")
    swapped = started.batch()
    if "global" in views:
        swapped["unlabeled"]["views"] = {**views, "global": views["global"][::-1]}
    else:
        swapped["unlabeled"]["views"] = {"first": views["second"], "second": views["first"]}
    value, _, grads, _, _ = started.step(started.params, started.state, started.batch(), CONTEXT)
    other, _, other_grads, _, _ = started.step(started.params, started.state, swapped, CONTEXT)
    if started.name in NOT_SYMMETRIC:  # a query is no key
        assert abs(other - value) > 1e-3 * abs(value)
        return
    np.testing.assert_allclose(other, value, rtol=1e-5)
    close(grads, other_grads, **ROUNDING)


def test_eight_devices_compute_what_one_does(started, mesh8):
    """Two steps, so that what the first leaves in queues, banks, targets and centres counts."""
    params, state, batches = started.params, started.state, [started.batch(0), started.batch(1)]

    def run(params, state, batches):
        for rows in batches:
            value, output, _, params, state = started.step(params, state, rows, CONTEXT)
        return jax.device_get((value, output.metrics, params, state))

    whole = parallel.replicated(mesh8)
    split = parallel.row_shardings(
        {name: state[name] for name in started.method.sharded if name in state}, mesh8
    )
    shardings = {**jax.tree.map(lambda _: whole, state), **split}
    eight = run(
        jax.device_put(params, whole),
        jax.device_put(state, shardings),
        jax.device_put(batches, parallel.batch_sharding(mesh8)),
    )
    close(eight, run(params, state, batches), rtol=1e-3)


def test_features_are_those_of_the_image_alone(started):
    images = jax.tree.leaves(started.batch()["unlabeled"]["views"])[0]
    outputs = jax.jit(started.method.outputs)
    found = outputs(started.params, started.state, images)
    alone = outputs(
        started.params, started.state, images.at[5:].set(images[0]).at[:2].set(0.5)
    )  # rows 2 to 4
    assert set(found) >= {"features"} | (
        {"embedding"}
        if not isinstance(started.method, methods.ViewTask) and started.name != "audio_visual concat"
        else set()
    )
    for name in {"features", "embedding"} & set(found):
        assert found[name].dtype == jnp.float32
        np.testing.assert_allclose(found[name][2:5], alone[name][2:5], rtol=1e-4, atol=1e-6)
        assert np.std(found[name], axis=0).max() > 0
    if "assignments" in found:
        assert found["assignments"].shape[0] == ROWS
        np.testing.assert_allclose(np.sum(found["assignments"], axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize("started", ["simclr", "dino"], indirect=True)  # a plain one, one with a teacher
def test_a_probe_beside_it_changes_nothing(started):
    for name in ("sharded", "auxiliary", "refresh_every", "refresh", "collapse_causes", "check", "outputs"):
        assert getattr(OnlineProbe, name) is not getattr(methods.Method, name)
    params, state = started.params, started.state
    probed = OnlineProbe(started.method.encoder, started.method, 3)
    with_probe, same_state = jax.jit(probed.init)(KEY, started.batch())
    close({k: with_probe[k] for k in params}, params, 0, 0)
    close(same_state, state, 0, 0)
    step = one_step(probed)
    value, output, grads, _, _ = step(with_probe, state, started.batch(), CONTEXT)
    alone, _, expected, _, _ = started.step(params, state, started.batch(), CONTEXT)
    np.testing.assert_allclose(value - alone, np.log(3), rtol=1e-4)  # zero-initialised: uniform over classes
    assert 0 <= output.metrics["online/top1"] <= 1
    close({k: grads[k] for k in params}, expected)
    assert all(np.any(g != 0) for g in jax.tree.leaves(jax.device_get(grads["probe"])))
    assert probed.auxiliary == (*started.method.auxiliary, "probe")
    assert "logits" in jax.eval_shape(
        probed.outputs, with_probe, state, jax.tree.leaves(started.batch()["unlabeled"]["views"])[0]
    )
    hidden = started.batch()
    hidden["unlabeled"]["label"] = jnp.full(ROWS, -1, jnp.int32)
    silent = step(with_probe, state, hidden, CONTEXT)[0]
    np.testing.assert_allclose(silent, alone, rtol=1e-5)  # without labels it has nothing to say


@pytest.mark.parametrize("name", sorted(METHODS))
def test_its_config_declares_every_setting_and_the_docs_have_a_row(name):
    module = importlib.import_module(f"jssl.configs.{name}")
    fields = {field.name for field in dataclasses.fields(METHODS[name])} - set(methods.INJECTED_FIELDS)
    for preset in ("digits", "small", "cifar10", "imagenet", "folder", "large"):
        if not hasattr(module, preset):
            continue
        assert set(module.get_config(preset).method) == fields | {"name"}
    text = (pathlib.Path(__file__).parents[2] / "docs" / "methods.md").read_text()
    assert f"configs/{name}.py" in text
    assert defaults("simclr").keys() == module.get_config().keys()
