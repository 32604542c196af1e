"""Future prediction: which features are positives, what a prediction has seen, the loss, and the floor."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, models
from jssl.data.augment import patches
from jssl.errors import UserError
from jssl.methods.generative.future import Future, Plan, accuracies
from tests.methods.reference import context, start, unit, value_and_grad_of

OPTIONS = {"name": "convnet", "convnet": {"width": 4, "strides": (2, 2), "norm": "layer"}}
FRAMES = models.encoder({**OPTIONS, "per_frame": True})
PATCHES = models.encoder(OPTIONS)
TIME = Future(FRAMES, steps=2, context_dim=6)
SPACE = Future(PATCHES, mode="space", steps=2, skip=1, patch=4, stride=2, context_dim=6, context_kernel=3)
METHODS = {
    "time": TIME,
    "dense": dataclasses.replace(TIME, dense=True, context_kernel=3, pred_hidden_dim=5),
    "space": SPACE,
    "cosine": dataclasses.replace(TIME, normalize=True, temperature=0.2),
}
CHANNELS = {"time": 5, "dense": 5, "space": 3, "cosine": 5}


def rows_of(channels=5, side=12, rows=4, seed=0):
    images = jnp.asarray(np.random.default_rng(seed).normal(size=(rows, side, side, channels)), jnp.float32)
    index = jnp.arange(rows, dtype=jnp.int32)
    return {"unlabeled": {"views": {"first": (images,)}, "index": index, "label": index}}


@pytest.fixture(scope="module", params=METHODS)
def started(request):
    method, rows = METHODS[request.param], rows_of(CHANNELS[request.param])
    params, state = start(method, rows)
    return method, rows, params, state, value_and_grad_of(method, params, state, rows, context())


def oracle(predicted, features, target, seen, temperature=1.0):
    """The loss and the accuracy of each kind of prediction, one prediction after the other, in double precision."""
    predicted, features = np.asarray(predicted, np.float64), np.asarray(features, np.float64)
    batch, times, places, _ = features.shape
    total, right = [], np.zeros((predicted.shape[1], batch, places))
    for b, p, s in np.ndindex(predicted.shape[:3]):
        scores = {
            (c, t, r): predicted[b, p, s] @ features[c, t, r] / temperature
            for c, t, r in np.ndindex(batch, times, places)
            if c != b or t > seen[p]
        }
        own = (b, target[p], s)
        total.append(np.log(sum(np.exp(x) for x in scores.values())) - scores[own])
        right[p, b, s] = max(scores, key=scores.get) == own
    return np.mean(total), right.mean(axis=(1, 2))


def test_only_the_own_sequence_time_and_place_is_positive():
    features = jnp.eye(2 * 3 * 2).reshape(2, 3, 2, 12)  # all of them different
    for time in range(3):
        top1 = losses.predictive_top1(features, features, (time,) * 3)
        assert top1.tolist() == [float(t == time) for t in range(3)]
        one = jax.vmap(lambda z, t=time: losses.predictive_info_nce(100 * z[:, t : t + 1], z, (t,)))
        np.testing.assert_allclose(one(features[None]), 0, atol=1e-6)
    others = (features[::-1], features[:, :, ::-1])  # another sequence, another place
    assert all(losses.predictive_top1(x, features, (0, 1, 2)).tolist() == [0, 0, 0] for x in others)


@pytest.mark.parametrize("seen", [None, (0, -1, 1)])
def test_the_loss_is_the_oracles(seen):
    rng = np.random.default_rng(3)
    predicted, features = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(3, 3, 2, 4))
    target = (1, 0, 2)
    found = losses.predictive_info_nce(jnp.asarray(predicted), jnp.asarray(features), target, seen, 0.5)
    expected, right = oracle(predicted, features, target, seen or (-1,) * 3, 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    top1 = losses.predictive_top1(jnp.asarray(predicted), jnp.asarray(features), target, seen)
    np.testing.assert_allclose(top1, right, rtol=1e-6)


def test_what_does_not_fit_is_an_error():
    z = jnp.zeros((2, 3, 1, 4))
    for bad in ((z[:1], z, (0,) * 3), (z, z, (0,)), (z, z, (0, 1, 3)), (z[:, :, 0], z, (0,) * 3)):
        with pytest.raises(ValueError, match=r"predictive losses|target=\(0, 1, 3\)"):
            losses.predictive_info_nce(*bad)
    with pytest.raises(ValueError, match="temperature=0 must be positive"):
        losses.predictive_info_nce(z, z, (0, 1, 2), temperature=0)


def test_plans():
    assert TIME.plan(5) == Plan((2, 2), (1, 2), (3, 4))
    assert dataclasses.replace(TIME, skip=1).plan(5) == Plan((1, 1), (1, 2), (3, 4))
    assert SPACE.plan(5) == Plan((0, 0, 1, 1, 2), (1, 2, 1, 2, 1), (2, 3, 3, 4, 4))


def test_the_methods_loss_and_metrics_are_the_oracles(started):
    method, rows, params, state, ((value, output), _) = started
    images = rows["unlabeled"]["views"]["first"][0]
    features, _ = jax.jit(method.encode, static_argnums=3)(params, state["stats"], images, None)
    plan = method.plan(features.shape[1])
    predicted = jax.jit(method.predict, static_argnums=2)(params, features, plan)
    features = np.asarray(features, np.float64).reshape(*features.shape[:2], -1, features.shape[-1])
    pooled = features.mean(axis=(1, 2))
    if method.normalize:
        predicted, features = unit(predicted), unit(features)
    first = min(plan.target)
    target, seen = np.array(plan.target) - first, np.array(plan.context) - first
    expected, top1 = oracle(predicted, features[:, first:], target, seen, method.temperature)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    last = unit(features)[:, list(plan.context)]
    _, floor = oracle(last, unit(features)[:, first:], target, seen)
    for step in (1, 2):
        mine = np.array(plan.step) == step
        np.testing.assert_allclose(output.metrics[f"future/top1_{step}"], top1[mine].mean(), atol=1e-6)
        np.testing.assert_allclose(output.metrics[f"future/copy_last_{step}"], floor[mine].mean(), atol=1e-6)
    np.testing.assert_allclose(output.features, pooled, rtol=1e-4, atol=1e-5)


def test_a_gradient_reaches_every_parameter(started):
    _, _, _, _, (_, grads) = started
    assert set(grads) == {"encoder", "context", "predictor"}
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.any(grad != 0), jax.tree_util.keystr(path)


def predictions_of(method, rows):
    """In training: predictions of images, and of those of which one frame or one row of patches is another."""
    params, state = start(method, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    length = method.length(images.shape)
    plan = method.plan(length)

    @jax.jit
    def predict(images):
        features, _ = method.encode_apart(params, state["stats"], images, jax.random.key(0))
        return method.predict(params, features, plan)

    space = method.mode == "space"
    changed = [
        images.at[:, 2 * time + 2 : 2 * time + 4].add(3.0) if space else images.at[..., time].add(3.0)
        for time in range(length)
    ]
    return plan, np.asarray(predict(images)), [np.asarray(predict(x)) for x in changed]


BATCH_NORM = {"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}}
IN_TIME = dataclasses.replace(TIME, encoder=models.encoder({**BATCH_NORM, "per_frame": True}))
IN_SPACE = dataclasses.replace(SPACE, encoder=models.encoder(BATCH_NORM))


@pytest.mark.parametrize(
    ("method", "leaks"),
    [(TIME, False), (METHODS["dense"], False), (SPACE, False), (IN_TIME, False), (IN_SPACE, True)],
)
def test_predictions_are_made_of_the_past_alone(method, leaks):
    """But for batch norm of patches, whose statistics are those of all rows."""
    plan, before, changed = predictions_of(method, rows_of(3 if method.mode == "space" else 5))
    for time, after in enumerate(changed):
        for number, last in enumerate(plan.context):
            same = (after[:, number] == before[:, number]).all()
            assert same == (last < time and not leaks), (time, last)


def test_the_floor_copies_what_was_seen_last():
    """Two clips drift, one comes back at the second step, one turns into its opposite; lengths are of no importance."""
    e = np.eye(6)
    drifting = [[e[i], e[i] + 0.1 * e[4], e[i] + 0.3 * e[4]] for i in (0, 1)]
    features = np.array([*drifting, [e[2], e[5], e[2] + 0.1 * e[4]], [e[3], -e[3], -e[3]]])
    features *= np.array([1.0, 5.0, 2.0, 1.0])[:, None, None]
    features[0] *= np.array([1.0, 1.0, 9.0])[:, None]
    features, plan = jnp.asarray(features)[:, :, None], Plan((0, 0), (1, 2), (1, 2))
    found = accuracies(features[:, 1:], features, plan)
    assert float(found["future/copy_last_1"]) == 0.5
    assert float(found["future/copy_last_2"]) == 0.25
    assert set(found) == {f"future/{name}_{step}" for name in ("top1", "copy_last") for step in (1, 2)}


def test_patches_overlap():
    image = np.arange(2 * 7 * 8 * 3).reshape(2, 7, 8, 3)
    found = np.asarray(patches.overlapping(jnp.asarray(image), 3, 2))
    assert found.shape == (2, 3, 3, 3, 3, 3)
    for row, column in np.ndindex(3, 3):
        np.testing.assert_array_equal(
            found[:, row, column], image[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        )


def test_features_are_those_of_whole_images_and_of_clips_the_mean_of_frames():
    rows = rows_of()
    params, state = start(TIME, rows)
    images = rows["unlabeled"]["views"]["first"][0]
    frames, _ = TIME.encode(params, state["stats"], images, None)
    found = TIME.outputs(params, state, images)["features"]
    np.testing.assert_allclose(found, frames[:, :, 0].mean(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "rows", "message"),
    [
        (TIME, rows_of(3), r"two frames, and 2 are predicted \(skip=0\) of 3: set method.steps smaller"),
        (
            dataclasses.replace(TIME, encoder=PATCHES),
            rows_of(),
            "ConvNet sees all of them at once: set encoder",
        ),
        (dataclasses.replace(SPACE, encoder=FRAMES), rows_of(3), "one channel at a time: set it to False"),
        (
            dataclasses.replace(SPACE, patch=16),
            rows_of(3),
            "patches of 16 pixels are larger than the view of 12",
        ),
        (
            dataclasses.replace(SPACE, stride=8),
            rows_of(3),
            "take 4 rows of patches, a view of 12 pixels has 2",
        ),
    ],
)
def test_what_cannot_be_is_said_before_training(method, rows, message):
    with pytest.raises(UserError, match=message) as error:
        method.check(rows)
    assert "\n" not in str(error.value)
