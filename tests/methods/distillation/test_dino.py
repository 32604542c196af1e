import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import models
from jssl.configs import dino
from jssl.errors import UserError
from jssl.methods import DINO
from jssl.models.network import Network
from jssl.models.vit import ViT
from jssl.train import durations, optim
from jssl.train.collapse import collapse_symptoms
from tests.methods.reference import (
    ENCODER,
    context,
    cross_entropy,
    forward,
    listed,
    loss_of,
    moved,
    named,
    same,
    softmax,
    start,
    trained,
    value_and_grad_of,
    vectors,
)

SMALL = {"proj_hidden_dim": 8, "proj_dim": 6, "prototypes": 10, "layers": 2, "momentum": 0.9}
CROPS = vectors(4)
STUDENT_T = 0.1


@pytest.fixture(scope="module")
def started():
    """A warm-up of the teacher's temperature, a teacher that is not the student, and a centre that is not 0."""
    method = DINO(
        ENCODER,
        **SMALL,
        teacher_temperature_start=0.04,
        teacher_temperature=0.08,
        teacher_warmup_epochs=2.0,
    )
    params, state = start(method, CROPS)
    state["target"]["params"] = moved(state["target"]["params"])
    state["center"] = jnp.asarray(np.random.default_rng(3).normal(size=10) / 10, jnp.float32)
    return method, params, state


@pytest.fixture(scope="module")
def step(started):
    (value, output), grads = value_and_grad_of(*started, CROPS, context())
    return value, output, grads


def networks(started):
    """All crops are of one size, so that they share one batch in the student; the globals do in the teacher."""
    method, params, state = started
    views, target = listed(CROPS), state["target"]
    student, stats = forward(method, params, state["stats"], jnp.concatenate(views))
    teacher, target_stats = forward(method, target["params"], target["stats"], jnp.concatenate(views[:2]))
    return student, stats, teacher, target_stats


def by_hand(started, temperature):
    student, _, teacher, _ = networks(started)
    center = np.asarray(started[2]["center"], np.float64)
    s = np.split(np.asarray(student["prototypes"], np.float64), 4)
    t = [softmax((x - center) / temperature) for x in np.split(np.asarray(teacher["prototypes"]), 2)]
    terms = [cross_entropy(s[j] / STUDENT_T, t[i]) for i in range(2) for j in range(4) if i != j]
    assert len(terms) == 6
    return np.mean(terms), t


def test_every_crop_but_the_same_meets_the_teachers_global_crops(started, step):
    value, output, _ = step
    expected, targets = by_hand(started, 0.04)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    _, stats, teacher, target_stats = networks(started)
    same(output.state["stats"], stats)
    same(output.state["target"], {**started[2]["target"], "stats": target_stats})
    np.testing.assert_allclose(output.features, teacher["encoder"][:8], rtol=1e-4, atol=1e-5)
    entropy = -np.mean(np.sum(targets[0] * np.log(targets[0] + 1e-30), axis=1))
    np.testing.assert_allclose(output.metrics["teacher/entropy"], entropy, rtol=1e-3, atol=1e-5)


def test_the_centre_moves_after_the_loss_to_the_mean_of_both_global_crops(started, step):
    _, output, _ = step
    _, _, teacher, _ = networks(started)
    mean = np.asarray(teacher["prototypes"], np.float64).mean(axis=0)
    expected = 0.9 * started[2]["center"] + 0.1 * mean
    np.testing.assert_allclose(output.state["center"], expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected - started[2]["center"]).max() > 1e-2
    fresh = jax.eval_shape(started[0].init, jax.random.key(0), CROPS)[1]
    assert fresh["center"].shape == (10,)  # in the state, so in the checkpoint


@pytest.mark.parametrize(("step", "temperature"), [(10, 0.06), (20, 0.08), (90, 0.08)])
def test_the_teachers_temperature_warms_up(started, step, temperature):
    (value, _), _ = value_and_grad_of(*started, CROPS, context(step=step))
    np.testing.assert_allclose(value, by_hand(started, temperature)[0], rtol=1e-4)


def test_the_teacher_is_a_constant_of_the_gradient(started, step):
    method, params, state = started
    targets = [jnp.asarray(t, jnp.float32) for t in by_hand(started, 0.04)[1]]

    def loss(params):
        found, _ = forward(method, params, state["stats"], jnp.concatenate(listed(CROPS)))
        log_p = [jax.nn.log_softmax(x / STUDENT_T) for x in jnp.split(found["prototypes"], 4)]
        terms = [
            -jnp.mean(jnp.sum(targets[i] * log_p[j], axis=1)) for i in range(2) for j in range(4) if i != j
        ]
        return sum(terms) / 6

    same(step[2], jax.jit(jax.grad(loss))(params), rtol=1e-3)


def test_users_keep_the_teacher(started):
    method, params, state = started
    target, images = state["target"], listed(CROPS)[0]
    same(method.eval_encoder(params, state), (target["params"]["encoder"], target["stats"]["encoder"]), 0, 0)
    found, _ = forward(method, target["params"], target["stats"], images, False)
    outputs = method.outputs(params, state, images)
    np.testing.assert_allclose(outputs["features"], found["encoder"], rtol=1e-5)
    np.testing.assert_allclose(outputs["embedding"], found["projector"], rtol=1e-4, atol=1e-5)
    expected = softmax((np.asarray(found["prototypes"]) - state["center"]) / 0.08)
    np.testing.assert_allclose(outputs["assignments"], expected, rtol=1e-4, atol=1e-6)


def test_the_head_has_gelu_no_batch_norm_and_unit_prototypes(started):
    _, params, state = started
    assert set(params["projector"]) == {"dense0", "dense1"}
    assert not state["stats"]["projector"]
    assert set(params["prototypes"]) == {"kernel"}  # the gain of the weight normalisation is 1, not learned
    assert set(state["target"]["params"]) == {"encoder", "projector", "prototypes"}
    scaled = {**params, "prototypes": {"kernel": 5 * params["prototypes"]["kernel"]}}
    (value, _), _ = value_and_grad_of(started[0], scaled, state, CROPS, context())
    np.testing.assert_allclose(value, by_hand(started, 0.04)[0], rtol=1e-4)
    normed = jax.eval_shape(
        dataclasses.replace(started[0], head_batch_norm=True).init, jax.random.key(0), CROPS
    )
    assert "bn0" in normed[1]["stats"]["projector"]


def test_only_the_student_drops_paths_and_local_crops_may_be_smaller():
    encoder = Network(ViT(features=16, layers=2, heads=2, patch_size=4, drop_path=0.5, image_size=8))
    method = DINO(encoder, **SMALL)
    draw = np.random.default_rng(0).normal
    views = tuple(jnp.asarray(draw(size=(8, side, side, 1)), jnp.float32) for side in (8, 8, 4, 4))
    batch = {"unlabeled": {"views": named(views), "label": jnp.zeros(8, jnp.int32)}}
    method.check(batch)
    params, state = start(method, batch)
    (one, first), (two, second) = (loss_of(method, params, state, batch, context(seed=i)) for i in (1, 2))
    assert np.isfinite(one)
    assert abs(one - two) > 1e-5
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.state["center"], second.state["center"])
    plain = encoder.without_drop_path().apply(params["encoder"], {}, views[0], train=True)[0]
    np.testing.assert_allclose(first.features, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", ["digits", "imagenet"])
def test_the_recipe_freezes_the_last_layer_for_an_epoch_and_raises_the_weight_decay(preset):
    config = dino.get_config(preset).optim
    one = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    params = {"encoder": one, "projector": one, "prototypes": {"kernel": jnp.ones((2, 2))}}
    optimizer, schedule = optim.make_optimizer(config, durations.Clock(64, 16, 400), params)
    grads = jax.tree.map(jnp.zeros_like, params)  # so that only the weight decay moves them

    def update(opt_state, _):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return opt_state, jax.tree.map(lambda u: u.ravel()[0], updates)

    _, updates = jax.jit(lambda: jax.lax.scan(update, optimizer.init(params), length=400))()
    kernel, last = np.array(updates["encoder"]["kernel"]), np.array(updates["prototypes"]["kernel"])
    assert not np.any(updates["encoder"]["bias"])  # none on one-dimensional parameters
    assert not np.any(last[:4])
    assert np.all(last[4:-1] != 0)
    first, final = config.weight_decay, config.final_weight_decay or config.weight_decay
    for number in (4, 100, 250):
        decay = final + (first - final) * (1 + np.cos(np.pi * number / 400)) / 2
        np.testing.assert_allclose(kernel[number], -schedule(number) * decay, rtol=1e-3)
    if preset == "imagenet":
        assert (first, final, config.clip_each_norm) == (0.04, 0.4, 3.0)


def collapse(**options):
    """Views that share half of their variance."""
    method = DINO(
        models.mlp((32, 32), last_batch_norm=True),
        **{
            "proj_hidden_dim": 32,
            "proj_dim": 16,
            "prototypes": 32,
            "momentum": 0.9,
            "momentum_end": 0.9,
            "views": ("first", "second"),
            "local_views": (),
            **options,
        },
    )
    return method, trained(method, optax.sgd(0.1), steps=300)


def test_it_collapses_to_one_prototype_when_the_centre_stays_at_zero_and_not_when_it_moves():
    method, metrics = collapse()
    assert not collapse_symptoms(metrics)
    assert metrics["teacher/mutual_information"] > 1.5
    assert not method.collapse_causes()
    method, metrics = collapse(center_momentum=1.0)
    assert metrics["teacher/mutual_information"] < 0.01
    assert any("all images are on one prototype" in symptom for symptom in collapse_symptoms(metrics))
    assert "method.center_momentum=1" in method.collapse_causes()[0]


def test_it_becomes_uniform_when_the_teacher_is_not_sharper_than_the_student():
    method, metrics = collapse(teacher_temperature=0.5, teacher_temperature_start=0.5)
    assert metrics["teacher/mutual_information"] < 0.01
    assert any("spread evenly over the prototypes" in symptom for symptom in collapse_symptoms(metrics))
    assert "method.teacher_temperature=0.5 is not below" in method.collapse_causes()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, r"layers=0 must be at least 1"),
        ({"proj_dim": 0}, r"proj_dim=0 must be at least 1"),
        ({"prototypes": 1}, r"prototypes=1 must be at least 2"),
        ({"student_temperature": 0.0}, r"student_temperature=0\.0 must be positive"),
        ({"teacher_temperature_start": 0.0}, r"teacher_temperature_start=0\.0 must be positive"),
        ({"teacher_warmup_epochs": -2.0}, r"teacher_warmup_epochs=-2\.0 must be at least 0"),
        ({"head_init": "zeros"}, r"unknown head_init 'zeros': valid are lecun, normal"),
        ({"center_momentum": -1.0}, r"center_momentum=-1\.0 must be in \[0, 1\]"),
        ({"momentum": 2.0}, r"momentum=2\.0 must be in \[0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        DINO(ENCODER, **options)


def test_it_takes_two_global_crops_or_more():
    two = {"views": ("first", "second"), "local_views": ()}
    DINO(ENCODER, **two).check(vectors(2))
    DINO(ENCODER).check(vectors(4))
    with pytest.raises(
        UserError, match=r"two global crops and any number of local ones: .*\('first',\) are 1"
    ):
        DINO(ENCODER, views=("first",), local_views=()).check(vectors(1))
    with pytest.raises(UserError, match=r"DINO needs, 'local': valid are first, second"):
        DINO(ENCODER, views=("first", "second")).check(vectors(2))
    wide, narrow = listed(vectors(1, width=10)), listed(vectors(1, width=6))
    with pytest.raises(UserError, match="DINO takes views of one size, not 10 and 6 pixels"):
        DINO(ENCODER, **two).check({"unlabeled": {"views": named(wide + narrow)}})


def test_the_head_may_begin_and_learn_as_the_official_one():
    """Matrices of standard deviation .02, and prototypes whose norms are learnt."""
    options = {"proj_hidden_dim": 256, "proj_dim": 64, "prototypes": 10, "layers": 2}
    method = DINO(ENCODER, **options, head_init="normal", norm_last_layer=False)
    params, state = start(method, CROPS)
    np.testing.assert_allclose(np.std(params["projector"]["dense1"]["kernel"]), 0.02, rtol=0.05)
    norm = params["prototypes"]["norm"]
    np.testing.assert_array_equal(norm, np.ones(10))
    (_, _), grads = value_and_grad_of(method, params, state, CROPS, context())
    assert np.any(grads["prototypes"]["norm"] != 0)
    doubled = {**params, "prototypes": {**params["prototypes"], "norm": 2 * norm}}
    one, two = (
        forward(method, p, state["stats"], listed(CROPS)[0])[0]["prototypes"] for p in (params, doubled)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)
