"""S4L with every term, and with methods of this library as terms, on tiny shapes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import parallel, rng
from jssl.config import view
from jssl.configs import s4l, semi
from jssl.data import augment, sources
from jssl.data.streams import DataInfo
from jssl.errors import UserError
from jssl.train import program
from tests.methods.semisupervised.terms import (
    CONTEXT,
    KEY,
    LABELED,
    OPTIONS,
    RANDOM,
    UNLABELED,
    VARIANTS,
    batch,
    begun,
    made,
)
from tests.methods.test_contract import ENCODER, close, one_step


@dataclasses.dataclass
class Started:
    name: str
    method: object
    params: object
    state: object
    step: object


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def started(request):
    method = made(request.param)
    method.check(batch())
    params, state = begun(method)
    return Started(request.param, method, params, state, one_step(method))


def test_the_loss_is_finite_and_reaches_every_parameter_and_nothing_else_moves(started):
    params, state = started.params, started.state
    abstract = jax.eval_shape(started.method.init, KEY, batch())
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(
        lambda x: (x.shape, x.dtype), (params, state)
    )
    value, output, grads, _, after = jax.device_get(started.step(params, state, batch(), CONTEXT))
    assert np.isfinite(value)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all(), path
        assert np.any(grad != 0), f"no gradient reaches {jax.tree_util.keystr(path)}"
    assert all(np.isfinite(metric) for metric in output.metrics.values())
    assert {"class/loss", "class/top1", "embedding/std"} <= set(output.metrics)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    for name, term in jax.device_get(state["terms"]).items():  # what a term keeps moves
        moved = [np.any(a != b) for a, b in zip(jax.tree.leaves(term), jax.tree.leaves(after["terms"][name]))]
        assert any(moved) or not moved, name


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_term_has_a_gradient_of_its_own_in_the_encoder(name):
    method = made("none", terms={name: semi.term(name, **OPTIONS[name])}, supervised_weight=0.0)
    params, state = begun(method)
    grads = jax.jit(jax.grad(lambda p: method.loss(p, state, batch(), CONTEXT)[0]))(params)
    assert all(np.any(g != 0) for g in jax.tree.leaves(jax.device_get(grads["encoder"])))


def test_a_term_of_weight_zero_and_no_class_loss_leave_no_gradient():
    method = made("none", terms={"vat": semi.term("vat", weight=0.0)}, supervised_weight=0.0)
    params, state = begun(method)
    grads = jax.jit(jax.grad(lambda p: method.loss(p, state, batch(), CONTEXT)[0]))(params)
    assert not any(np.any(g != 0) for g in jax.tree.leaves(jax.device_get(grads)))


def test_labels_of_the_unlabelled_stream_never_reach_a_loss(started):
    """Poisoned labels change nothing."""
    poisoned = batch()
    poisoned["unlabeled"]["label"] = jnp.full(UNLABELED, 2, jnp.int32)
    honest = started.step(started.params, started.state, batch(), CONTEXT)
    jax.tree.map(
        np.testing.assert_array_equal, started.step(started.params, started.state, poisoned, CONTEXT), honest
    )


def test_the_order_of_the_batch_does_not_matter(started):
    if started.name in RANDOM:
        pytest.skip("it draws a random change for every row")
    rng, shuffled = np.random.default_rng(1), {}
    for name, stream in batch().items():
        order = rng.permutation(len(stream["label"]))
        shuffled[name] = jax.tree.map(lambda x, order=order: np.asarray(x)[order], stream)
    value, _, grads, _, _ = started.step(started.params, started.state, batch(), CONTEXT)
    other, _, other_grads, _, _ = started.step(started.params, started.state, shuffled, CONTEXT)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    close(grads, other_grads, rtol=2e-3, atol=1e-4)


def test_eight_devices_compute_what_one_does(started, mesh8):
    params, state = started.params, started.state

    def run(params, state, batches):
        for rows in batches:
            value, output, _, params, state = started.step(params, state, rows, CONTEXT)
        return jax.device_get((value, output.metrics, params, state))

    whole, rows = parallel.replicated(mesh8), parallel.batch_sharding(mesh8)
    batches = [batch(0), batch(1)]
    eight = run(jax.device_put(params, whole), jax.device_put(state, whole), jax.device_put(batches, rows))
    close(eight, run(params, state, batches), rtol=2e-3, atol=5e-4)


def test_terms_add_up_each_times_its_weight_as_far_as_it_has_grown():
    names = ("rotation", "entropy_minimization")
    weights = {"rotation": 0.7, "entropy_minimization": 0.3}
    terms = {name: semi.term(name, weight=weights[name], ramp=1.0) for name in names}
    method = made("none", terms=terms, supervised_weight=0.5)
    value, output = jax.jit(method.loss)(*begun(method), batch(), CONTEXT)
    m = output.metrics
    expected = 0.5 * m["class/loss"] + 0.5 * sum(weights[name] * m[f"{name}/loss"] for name in names)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_turned_copies_of_labelled_images_are_in_the_class_loss_or_not():
    """Against cross entropies of a pass of its own; the statistics are those of all that passes."""
    for copies in (True, False):
        method = made("none", terms={"rotation": semi.term("rotation")}, class_on_copies=copies)
        params, state = begun(method)
        _, output = jax.jit(method.loss)(params, state, batch(), CONTEXT)
        views, other = batch()["labeled"]["views"]["weak"], batch()["unlabeled"]["views"]["weak"][0]
        turned = [np.rot90(views[0], q, axes=(1, 2)) for q in range(1, 4)]
        everything = [views[0], views[1], *(np.rot90(other, q, axes=(1, 2)) for q in range(4)), *turned]
        h, _ = jax.jit(functools.partial(ENCODER.apply, train=True))(
            params["encoder"], state["stats"]["encoder"], np.concatenate(everything)
        )
        logits = np.asarray(method.classifier.apply(params["classifier"], {}, h, train=True)[0], np.float64)
        parts = np.split(logits, np.cumsum([len(x) for x in everything])[:-1])
        labels = batch()["labeled"]["label"]
        log_p = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (parts[0], parts[1], *parts[6:])]
        each = [-p[np.arange(LABELED), labels].mean() for p in log_p]
        np.testing.assert_allclose(
            output.metrics["class/loss"], np.mean(each) if copies else each[0], rtol=1e-4
        )


def test_forward_decides_whose_batch_statistics():
    together, separate = (
        made("none", terms={"fixmatch": semi.term("fixmatch")}, forward=how)
        for how in ("together", "separate")
    )
    params, state = begun(together)
    brighter = batch()
    brighter["unlabeled"]["views"] = jax.tree.map(lambda x: 3 * x, brighter["unlabeled"]["views"])

    def class_loss(method, batch):
        return float(jax.jit(method.loss)(params, state, batch, CONTEXT)[1].metrics["class/loss"])

    assert class_loss(separate, batch()) == pytest.approx(class_loss(separate, brighter), rel=1e-6)
    assert abs(class_loss(together, batch()) - class_loss(together, brighter)) > 1e-3


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_the_averaged_weights_are_what_evaluators_see(every):
    method = made("none", average=0.5, average_every=every)
    params, state = begun(method)
    moved = jax.tree.map(lambda p: p + 1, params)
    after = method.after_update(moved, state, CONTEXT)
    decay = min(1 - 1 / 6, 0.5 ** (1 / 10 if every == "epoch" else 1))
    shared = {name: moved[name] for name in after["average"]}
    close(after["average"], jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state["average"], shared))
    images = batch()["labeled"]["views"]["weak"][0]
    averaged = {**params, **after["average"]}
    plain = made("none")
    expected = plain.outputs(averaged, state, images)
    assert set(expected) == {"features", "logits"}
    close(method.outputs(moved, after, images), expected, rtol=1e-6)


def test_predictions_may_be_means_over_turns():
    method, plain = made("none", rotate=True), made("none")
    params, state = begun(plain)
    images = batch()["labeled"]["views"]["weak"][0]

    def logits(method, quarters=0):
        return method.outputs(params, state, jnp.rot90(images, quarters, axes=(1, 2)))["logits"]

    each = [jax.nn.softmax(logits(plain, quarters)) for quarters in range(4)]
    np.testing.assert_allclose(jnp.exp(logits(method)), np.mean(each, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        (
            "none",
            {"terms": {"x": {"name": "fixmach"}}},
            "unknown method.terms.x.name 'fixmach': did you mean 'fixmatch'",
        ),
        (
            "none",
            {"terms": {"x": {"name": "vat", "sise": 1.0}}},
            "unknown key of method.terms.x 'sise': did you mean 'size'",
        ),
        (
            "none",
            {"terms": {"x": {"name": "simclr", "temperatur": 1.0}}},
            "key of method.terms.x 'temperatur'",
        ),
        ("none", {"terms": {"x": {"name": "vat", "weight": -1.0}}}, "weight=-1.0 must be at least 0"),
        ("none", {"terms": {"x": {"name": "vat", "ramp": 2.0}}}, "ramp=2.0 must be in"),
        ("none", {"terms": {"x": {"name": "vat", "size": 0.0}}}, "size=0.0 must be positive"),
        ("none", {"terms": {"x": {"name": "fixmatch", "threshold": 1.5}}}, "threshold=1.5 must be in"),
        ("none", {"forward": "both"}, "unknown method.forward 'both': valid are separate, together"),
        ("none", {"average": 1.0}, "method.average"),
        (
            "none",
            {"terms": {"x": {"name": "fixmatch", "strong": "hard"}}},
            "'hard': valid are first, second, strong, weak",
        ),
        ("none", {"terms": {"x": {"name": "pi_model", "view": "first", "other": "first"}}}, "first.copies=2"),
        (
            "none",
            {"terms": {"x": {"name": "exemplar", "view": "strong"}}},
            "'strong': valid are weak|to 2 or more",
        ),
        ("none", {"terms": {"x": {"name": "simclr", "views": ("first",)}}}, "SimCLR takes two views"),
    ],
)
def test_mistakes_are_named(variant, changes, message):
    with pytest.raises(UserError, match=message):
        made(variant, **changes).check(batch())


def test_a_run_needs_labels():
    rows = batch()
    del rows["labeled"]
    with pytest.raises(UserError, match=r"set data\.labeled\.batch_size"):
        made("none").check(rows)


def test_the_presets_of_s4l_name_their_terms():
    for name in ("rotation", "exemplar", "vat", "vat_entmin", "all", "simclr"):
        for scale in ("digits", "tiny"):
            config = s4l.get_config(f"{name},{scale}")
            assert config.name == f"s4l_{name}_{scale}"
            assert config.data.labeled.batch_size > 0
    with pytest.raises(UserError, match="unknown preset 'rotatoin': did you mean 'rotation'"):
        s4l.get_config("rotatoin")


@pytest.mark.parametrize(
    ("name", "rows"), [("rotation", 256), ("exemplar", 512), ("vat", 256), ("vat_entmin", 256), ("all", 128)]
)
def test_the_imagenet_presets_make_programs(name, rows, mesh8):
    """Of networks and images that are smaller; tests/official.py has the settings."""
    config = s4l.get_config(f"{name},imagenet")
    config.encoder.name = "convnet"
    for stream in (config.data.labeled, config.data.unlabeled):
        stream.views.weak.update({"size": 16, "hsv_prob": 0.0})
    prog = program.make_program(config, DataInfo(1281167, None, 3, 1000, 128000), mesh8)
    assert prog.clock.total_steps == 200 * 128000 // rows
    assert prog.streams["labeled"].views["weak"].copies == (8 if name == "exemplar" else 1)


@pytest.mark.parametrize(
    "name", ["autoencoder", "inpainting", "mae", "simmim", "colorization", "split_brain", "future"]
)
def test_a_generative_method_becomes_a_term_with_the_encoder_and_data_of_its_own_preset(name, mesh1):
    config = s4l.get_config(name)
    shape = sources.load(config.data.name, "train").image_shape
    prog = program.make_program(config, DataInfo(1437, shape, shape[-1], 10, 20), mesh1)
    params = prog.abstract_state().params
    assert set(params) == {"encoder", "classifier", "terms"}
    assert prog.method.auxiliary == (("terms/inpainting/discriminator",) if name == "inpainting" else ())


@pytest.mark.parametrize("name", ["dino", "swav", "barlow_twins", "moco", "nnclr", "instdisc"])
def test_a_method_becomes_a_term_by_config_alone(name, mesh1):
    config = s4l.get_config(name)
    config.encoder.convnet.update({"width": 4, "strides": (2,)})
    for stream in (config.data.labeled, config.data.unlabeled):
        for section in stream.views.values():
            section.update(view(8, flip_prob=0.5))
    prog = program.make_program(config, DataInfo(1437, (8, 8, 1), 1, 10, 20), mesh1)
    shapes = jax.eval_shape(prog.step, prog.abstract_state(), prog.abstract_batch())
    assert f"{name}/loss" in shapes[1]
    assert "encoder" not in shapes[0].params["terms"][name]


def test_mixed_images_have_mixed_labels():
    """Against a class loss of images and labels that are mixed by hand."""
    method = made("none", mixup=0.8, label_smoothing=0.1)
    one = batch()
    one["labeled"] = {**one["labeled"], "views": {"weak": one["labeled"]["views"]["weak"][:1]}}
    method.check(one)
    params, state = begun(method)
    value, _ = jax.jit(method.loss)(params, state, one, CONTEXT)
    key = rng.derive(CONTEXT.key, "mixing")
    part = float(augment.mixing_weights(key, 8, 8, 0.8).mean())
    (x,), labels = one["labeled"]["views"]["weak"], one["labeled"]["label"]
    assert 0 < part < 1
    h, _ = ENCODER.apply(
        params["encoder"], state["stats"]["encoder"], part * x + (1 - part) * x[::-1], train=True
    )
    logits = np.asarray(method.classifier.apply(params["classifier"], {}, h, train=True)[0], np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.eye(method.classes)[labels]
    targets = 0.9 * (part * targets + (1 - part) * targets[::-1]) + 0.1 / method.classes
    np.testing.assert_allclose(value, -(targets * log_p).sum(axis=1).mean(), rtol=1e-4)
    for own, seen in (
        (method, batch()),
        (made("none", cutmix=1.0, terms={"rotation": semi.term("rotation")}), one),
    ):
        with pytest.raises(UserError, match=r"method.mixup and method.cutmix are for one view"):
            own.check(seen)
