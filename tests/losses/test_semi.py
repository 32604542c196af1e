"""Losses with labels, with pseudo-labels and without: against float64 oracles from the papers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses
from jssl.losses.consistency import unit_images
from jssl.methods.semisupervised.mixmatch import mix
from tests.losses.test_contrastive import numeric_gradient
from tests.losses.test_distillation import softmax

N, C = 10, 4
RNG = np.random.default_rng(0)


def normal(*shape, scale=1.0):
    return (scale * RNG.normal(size=shape)).astype(np.float32)


def distributions(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


LOGITS = normal(N, C, scale=2.0)
ROWS = {
    "label": np.asarray([0, 3, -1, 1, 2, -1, 0, 0, 2, 1]),
    "pseudo_label": RNG.integers(0, C, N),
    "target": distributions(N, C),
    "teacher": normal(N, C, scale=2.0),
    "weight": RNG.uniform(0, 2, N).astype(np.float32) * (np.arange(N) % 3 != 2),
    "counts": (np.arange(N) % 3 > 0).astype(np.float32),
    "group": np.asarray([0, 1, 2, 0, 1, 2, 0, 1, 2, 0]),
}
PROBABILITIES, HISTOGRAM = distributions(C), np.asarray([0.3, 0.0, 0.5, 0.2], np.float32)


def cross_entropy(logits, labels, weight=None, label_smoothing=0.0):
    """-sum q log p with q = (1 - s) target + s / C, row by row; rows with label -1 are as if they were not there."""
    p, values = softmax(logits.astype(np.float64)), []
    for row, label in enumerate(labels):
        if np.ndim(label) == 0 and label < 0:
            continue
        target = np.eye(C)[label] if np.ndim(label) == 0 else label.astype(np.float64)
        value = -np.sum(((1 - label_smoothing) * target + label_smoothing / C) * np.log(p[row]))
        values.append(value * (1.0 if weight is None else weight[row]))
    return np.mean(values) if values else 0.0


def batch_hard_triplet(x, labels, margin):
    """Equation 5, anchor by anchor, or with the soft margin."""
    x, values = x.astype(np.float64), []
    for a in range(len(x)):
        d = [np.sqrt(np.sum((x[a] - other) ** 2)) for other in x]
        positive = max(d[i] for i in range(len(x)) if labels[i] == labels[a] and i != a)
        negative = min(d[i] for i in range(len(x)) if labels[i] != labels[a])
        gap = positive - negative
        values.append(np.log1p(np.exp(gap)) if margin == "soft" else max(0.0, gap + margin))
    return np.mean(values)


def entropy(logits):
    p = softmax(logits.astype(np.float64))
    return -np.mean(np.sum(p * np.log(p), axis=1))


def softmax_mse(logits, target):
    return np.mean((softmax(logits.astype(np.float64)) - target) ** 2)


def kl_divergence(logits, teacher):
    p, q = softmax(teacher.astype(np.float64)), softmax(logits.astype(np.float64))
    return np.mean(np.sum(p * np.log(p / q), axis=1))


def weighted_cross_entropy(logits, target, weight):
    """FixMatch, equation 4, with any weight for the indicator."""
    log_p, total = np.log(softmax(logits.astype(np.float64))), 0.0
    for row, wanted in enumerate(target):
        total += weight[row] * -np.sum((np.eye(C)[wanted] if np.ndim(wanted) == 0 else wanted) * log_p[row])
    return total / len(logits)


def self_adaptive_fairness(logits, counts, probabilities, histogram, epsilon=1e-6):
    """FreeMatch, equations 9 to 11: -H[SumNorm(p~ / h~), SumNorm(p- / h-)], row by row and class by class."""
    p, mean, hits = softmax(logits.astype(np.float64)), np.zeros(C), np.zeros(C)
    for row in range(len(p)):
        if counts[row]:
            mean += p[row] / len(p)
            hits[np.argmax(p[row])] += 1 / len(p)
    if not hits.any():
        return 0.0

    def normed_ratio(p, h):
        r = [p[c] / h[c] if h[c] > 0 else 0.0 for c in range(C)]
        return np.asarray(r) / np.sum(r)

    a, b = normed_ratio(probabilities.astype(np.float64), histogram), normed_ratio(mean, hits)
    return np.sum(a * np.log(b + epsilon))


# Ours and the oracle, as functions of the logits (or embeddings) and of what belongs to the rows.
SCALARS = {
    "labels": (
        lambda z, r: losses.cross_entropy(z, r["label"], r["weight"], 0.1),
        lambda z, r: cross_entropy(z, r["label"], r["weight"], 0.1),
    ),
    "distributions": (
        lambda z, r: losses.cross_entropy(z, r["target"], label_smoothing=0.3),
        lambda z, r: cross_entropy(z, r["target"], label_smoothing=0.3),
    ),
    "soft_triplet": (
        lambda z, r: losses.batch_hard_triplet(z, r["group"]),
        lambda z, r: batch_hard_triplet(z, r["group"], "soft"),
    ),
    "triplet": (
        lambda z, r: losses.batch_hard_triplet(z, r["group"], 0.2),
        lambda z, r: batch_hard_triplet(z, r["group"], 0.2),
    ),
    "entropy": (lambda z, r: losses.entropy(z), lambda z, r: entropy(z)),
    "softmax_mse": (
        lambda z, r: losses.softmax_mse(z, r["target"]),
        lambda z, r: softmax_mse(z, r["target"]),
    ),
    "reverse kl_divergence": (
        lambda z, r: losses.kl_divergence(z, r["teacher"], reverse=True),
        lambda z, r: kl_divergence(np.asarray(r["teacher"], np.float64), z),
    ),
    "kl_divergence": (
        lambda z, r: losses.kl_divergence(z, r["teacher"]),
        lambda z, r: kl_divergence(z, r["teacher"]),
    ),
    "pseudo_labels": (
        lambda z, r: losses.weighted_cross_entropy(z, r["pseudo_label"], r["weight"]),
        lambda z, r: weighted_cross_entropy(z, r["pseudo_label"], r["weight"]),
    ),
    "soft_pseudo_labels": (
        lambda z, r: losses.weighted_cross_entropy(z, r["target"], r["weight"]),
        lambda z, r: weighted_cross_entropy(z, r["target"], r["weight"]),
    ),
    "fairness": (
        lambda z, r: losses.self_adaptive_fairness(z, r["counts"], PROBABILITIES, HISTOGRAM),
        lambda z, r: self_adaptive_fairness(z, r["counts"], PROBABILITIES, HISTOGRAM),
    ),
}


@jax.jit
def every(z, rows):
    """Value and gradient of every loss, by one compilation."""
    return {name: jax.value_and_grad(ours)(z, rows) for name, (ours, _) in SCALARS.items()}


def rows_as(dtype):
    """ROWS with its floats in another precision."""
    return {k: jnp.asarray(v, dtype) if v.dtype == np.float32 else v for k, v in ROWS.items()}


@pytest.mark.parametrize("name", SCALARS)
def test_every_loss_is_its_paper_and_has_the_numeric_gradient(name):
    value, gradient = every(LOGITS, ROWS)[name]
    oracle = functools.partial(SCALARS[name][1], r=ROWS)
    np.testing.assert_allclose(value, oracle(LOGITS), rtol=1e-5)
    numeric = numeric_gradient(oracle, LOGITS)
    assert np.abs(numeric).max() > 1e-3
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


def test_the_order_of_the_batch_does_not_matter():
    order = np.random.default_rng(1).permutation(N)
    before, after = every(LOGITS, ROWS), every(LOGITS[order], {k: v[order] for k, v in ROWS.items()})
    for name, (value, gradient) in before.items():
        np.testing.assert_allclose(after[name][0], value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(after[name][1], gradient[order], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_single(dtype):
    z, rows = jnp.asarray(LOGITS, dtype), rows_as(dtype)
    single = {k: v.astype(jnp.float32) if v.dtype == dtype else v for k, v in rows.items()}
    from_half, from_single = every(z, rows), every(z.astype(jnp.float32), single)
    for name, (value, gradient) in from_half.items():
        assert value.dtype == jnp.float32, name
        np.testing.assert_allclose(value, from_single[name][0], rtol=1e-5, err_msg=name)
        rounded = from_single[name][1].astype(dtype)
        np.testing.assert_allclose(
            np.float32(gradient), np.float32(rounded), rtol=0.01, atol=1e-4, err_msg=name
        )


EXTREMES = {
    "confident_fraction": 1e4 * np.sign(LOGITS),
    "far": 1e4 * LOGITS,
    "equal": np.full((N, C), 1e4, np.float32),
    "one class": 1e4 * np.eye(C, dtype=np.float32)[np.zeros(N, int)],
}


@pytest.mark.parametrize("case", EXTREMES)
def test_every_loss_is_finite_at_extremes(case):
    for rows in (ROWS, {**ROWS, "teacher": -EXTREMES[case], "counts": 0 * ROWS["counts"]}):
        for name, (value, gradient) in every(EXTREMES[case].astype(np.float32), rows).items():
            assert np.isfinite(value), name
            assert np.all(np.isfinite(gradient)), name


SURE = 1e4 * np.eye(C, dtype=np.float32)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda: losses.entropy(np.ones((3, C))), np.log(C)),
        (lambda: losses.entropy(SURE), 0),
        (lambda: losses.softmax_mse(SURE, SURE[::-1] / 1e4), 2 / C),
        (lambda: losses.kl_divergence(LOGITS, LOGITS + 7), 0),
        (lambda: losses.kl_divergence(np.zeros((C, C)), SURE), np.log(C)),
        (lambda: losses.cross_entropy(SURE, np.arange(C)), 0),
        (lambda: losses.cross_entropy(LOGITS, np.full(N, -1)), 0),
        (lambda: losses.cross_entropy(LOGITS, ROWS["label"], np.zeros(N)), 0),
        (lambda: losses.weighted_cross_entropy(np.zeros((C, C)), np.arange(C), np.eye(C)[0]), np.log(C) / C),
        (lambda: losses.batch_hard_triplet(SURE, np.asarray([0, 0, 1, 1]), 0.5), 0.5),
        (lambda: losses.batch_hard_triplet(SURE, np.asarray([0, 0, 1, 1])), np.log(2)),
    ],
)
def test_values_that_are_known(value, expected):
    np.testing.assert_allclose(value(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (lambda x: losses.softmax_mse(LOGITS, x), ROWS["target"]),
        (lambda x: losses.kl_divergence(LOGITS, x), ROWS["teacher"]),
        (lambda x: losses.weighted_cross_entropy(LOGITS, x, ROWS["weight"]), ROWS["target"]),
        (lambda x: losses.weighted_cross_entropy(LOGITS, ROWS["pseudo_label"], x), ROWS["weight"]),
        (lambda x: losses.self_adaptive_fairness(LOGITS, x, PROBABILITIES, HISTOGRAM), 1 + ROWS["weight"]),
        (lambda x: losses.self_adaptive_fairness(LOGITS, ROWS["counts"], x, HISTOGRAM), PROBABILITIES),
        (lambda x: losses.self_adaptive_fairness(LOGITS, ROWS["counts"], PROBABILITIES, x), HISTOGRAM),
        (lambda x: losses.pseudo_labels(x).confidence.sum(), LOGITS),
        (lambda x: losses.pseudo_labels(x).probabilities[0, 0], LOGITS),
        (lambda x: losses.pseudo_labels_of(x).probabilities[0, 0], ROWS["target"]),
        (lambda x: losses.adversarial_direction(classify, x, KEY, 2.0).sum(), 0.3 * LOGITS[:, :, None, None]),
    ],
)
def test_what_comes_from_pseudo_labels_has_no_gradient(function, argument):
    other = argument * (1.1 + 0.1 * np.arange(argument.size, dtype=np.float32).reshape(argument.shape))
    compute = jax.jit(jax.value_and_grad(function))
    value, gradient = compute(argument)
    assert abs(compute(other)[0] - value) > 1e-5
    assert not np.any(gradient)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("labels", ["label", "pseudo_label", "target"])
def test_cross_entropy(labels, weight, label_smoothing):
    weight = weight and ROWS[weight]
    value = jax.jit(losses.cross_entropy, static_argnums=3)(LOGITS, ROWS[labels], weight, label_smoothing)
    np.testing.assert_allclose(value, cross_entropy(LOGITS, ROWS[labels], weight, label_smoothing), rtol=1e-5)


def test_rows_without_a_label_are_as_if_not_there():
    unknown = (ROWS["label"] < 0)[:, None]
    one, two = (every(z, ROWS)["labels"] for z in (LOGITS, np.where(unknown, -3 * LOGITS, LOGITS)))
    assert one[0] == two[0]
    counting = ~unknown & (ROWS["weight"] > 0)[:, None]
    for found in (one[1], two[1]):
        np.testing.assert_array_equal(np.any(found, axis=1, keepdims=True), counting)


triplets = jax.jit(jax.value_and_grad(losses.batch_hard_triplet), static_argnums=2)


@pytest.mark.parametrize("margin", ["soft", 0, 0.2, 3.0])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_triplets_far_from_the_origin(margin, offset):
    x = LOGITS + np.float32(offset)
    value, _ = triplets(x, ROWS["group"], margin)
    np.testing.assert_allclose(value, batch_hard_triplet(x, ROWS["group"], margin), rtol=1e-5)


@pytest.mark.parametrize("margin", ["soft", 0.2])
@pytest.mark.parametrize("equal", [[0, 3], [0, 1], [0, 1, 3, 4], list(range(N))])
def test_triplets_of_equal_rows_have_a_gradient(equal, margin):
    x = LOGITS.copy()
    x[equal] = x[0]
    value, gradient = triplets(x, ROWS["group"], margin)
    np.testing.assert_allclose(value, batch_hard_triplet(x, ROWS["group"], margin), rtol=1e-4)
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient).max() <= 1
    assert np.any(gradient) == (len(equal) < N)


# --- virtual adversarial training

KEY = jax.random.key(3)
IMAGES = normal(3, 2, 2, 1)
INNER, OUTER = normal(4, 5), normal(5, 3)


def classify(images, scale=1.0):
    return scale * (jnp.tanh(images.reshape(len(images), -1) @ INNER) @ OUTER)


def hessian(image, step=1e-3):
    """Second differences of KL(p(x) || p(x + r)) by r at 0, of one flat image, in float64."""

    def kl(r):
        p, q = (softmax(np.tanh((image + d) @ INNER.astype(np.float64)) @ OUTER) for d in (0 * r, r))
        return np.sum(p * np.log(p / q))

    e = step * np.eye(len(image))
    return np.asarray([[(kl(a + b) - kl(a - b) - kl(b - a) + kl(-a - b)) for a in e] for b in e]) / (
        4 * step**2
    )


HESSIANS = [hessian(image) for image in IMAGES.reshape(3, -1).astype(np.float64)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def compiled_direction(steps, size, scale, images):
    return losses.adversarial_direction(lambda x: classify(x, scale), images, KEY, size, steps)


def direction(steps, size=1.0, scale=1.0, images=IMAGES):
    change = compiled_direction(steps, size, scale, images)
    assert change.shape == images.shape
    assert change.dtype == images.dtype
    return np.asarray(change, np.float64).reshape(len(images), -1)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_is_h_times_d_over_its_norm(steps):
    before = (
        direction(steps - 1) if steps > 1 else np.asarray(jax.random.normal(KEY, IMAGES.shape)).reshape(3, -1)
    )
    for found, d, h in zip(direction(steps), before, HESSIANS):
        np.testing.assert_allclose(found, h @ d / np.linalg.norm(h @ d), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.01), (jnp.float16, 1e-3)]
)
def test_many_steps_find_the_direction_of_most_change(dtype, tolerance):
    for found, h in zip(direction(8, images=jnp.asarray(IMAGES, dtype)), HESSIANS):
        values, vectors = np.linalg.eigh(h)
        assert values[-2] < 0.3 * values[-1]  # else 8 steps are too few
        np.testing.assert_allclose(abs(found @ vectors[:, -1]), 1, rtol=tolerance)
        np.testing.assert_allclose(np.linalg.norm(found), 1, rtol=tolerance)


@pytest.mark.parametrize("size", [1e-3, 1.0, 8.0])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 5.0])
def test_every_image_gets_its_norm(size, scale):
    np.testing.assert_allclose(np.linalg.norm(direction(1, size, scale), axis=1), size, rtol=1e-5)


def test_the_scale_of_the_logits_costs_no_digits():
    """From all classes alike to one of them almost certain: H = sum p_j p_k (J_j - J_k) (J_j - J_k)', j < k."""
    start = np.asarray(jax.random.normal(KEY, IMAGES.shape), np.float64).reshape(3, -1)
    x = IMAGES.reshape(3, -1).astype(np.float64)
    for scale in (1e-12, 1e-9, 1e-6, 1e-3, 1.0, 5.0, 20.0):
        for row, found in enumerate(direction(1, 1.0, scale)):
            hidden = np.tanh(x[row] @ INNER)
            jacobian = scale * OUTER.T @ np.diag(1 - hidden**2) @ INNER.T
            p, d = softmax(scale * hidden @ OUTER), 0.0
            for j, k in ((0, 1), (0, 2), (1, 2)):
                way = jacobian[j] - jacobian[k]
                d = d + p[j] * p[k] * way * (way @ start[row])
            np.testing.assert_allclose(found, d / np.linalg.norm(d), atol=3e-5)


def test_an_answer_that_nothing_changes_gives_no_direction():
    def blind(x):
        return classify(jax.nn.relu(x))

    change = jax.jit(lambda x: losses.adversarial_direction(blind, x, KEY, 1.0))
    assert np.any(change(np.abs(IMAGES)))
    assert not np.any(change(-np.abs(IMAGES)))


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (jnp.float32, (1.0, 1e-30, 1e30, 1e-12)),
        (jnp.bfloat16, (1.0, 1e-30, 1e30, 1e-12)),
        (jnp.float16, (1.0, 1e-4, 1e4, 300.0)),
    ],
)
def test_unit_images(dtype, sizes):
    x = jnp.asarray(IMAGES[:1] * np.asarray([*sizes, 0.0], np.float32)[:, None, None, None], dtype)
    unit = jax.jit(unit_images)(x)
    assert unit.dtype == dtype
    y = np.asarray(x, np.float64)
    expected = y[:-1] / np.sqrt(np.sum(y[:-1] ** 2, axis=(1, 2, 3), keepdims=True))
    np.testing.assert_allclose(
        np.float64(unit[:-1]), expected, rtol=2 * float(jnp.finfo(dtype).eps), atol=1e-7
    )
    assert not np.any(unit[-1])


# --- pseudo-labels


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 4.0])
def test_a_pseudo_label_is_the_largest_probability(temperature):
    p = softmax(LOGITS.astype(np.float64) / temperature)
    pseudo = losses.pseudo_labels(LOGITS, temperature)
    np.testing.assert_allclose(pseudo.probabilities, p, rtol=1e-4, atol=1e-9)
    for row in range(N):
        assert p[row, pseudo.label[row]] == max(p[row])
        np.testing.assert_allclose(pseudo.confidence[row], max(p[row]), rtol=1e-5)
    of = losses.pseudo_labels_of(pseudo.probabilities)
    assert all(np.array_equal(a, b) for a, b in zip(of, pseudo))
    assert [x.dtype for x in pseudo] == [jnp.float32, jnp.float32, jnp.int32]


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 10.0])
def test_sharpen_is_mixmatchs_equation_seven(temperature):
    p = np.concatenate([ROWS["target"], np.eye(C)[:1], [[0.5, 0.5, 0, 0]]]).astype(np.float32)
    power = p.astype(np.float64) ** (1 / temperature)
    sharp = losses.sharpen(p, temperature)
    np.testing.assert_allclose(sharp, power / power.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize(
    "last_labels",  # of every image the last confident pseudo-label, -1 if there is none
    [[-1] * 6, [-1, -1, -1, -1, 0, 1, 1, 3], [-1, 0, 0, 0, 1, 2, 2, 2, 3, 3], [0, 1, 2, 3, 3], [2] * 5],
)
def test_flexible_thresholds_are_flexmatchs(last_labels, warm_up):
    counts = [sum(g == c for g in last_labels) for c in range(C)]
    most = max([*counts, sum(g < 0 for g in last_labels)] if warm_up else counts)
    beta = [count / most if most else 0.0 for count in counts]
    found = losses.flexible_thresholds(
        jnp.asarray(counts, jnp.float32), jnp.asarray(last_labels.count(-1)), 0.9, warm_up
    )
    np.testing.assert_allclose(found, [0.9 * b / (2 - b) for b in beta], rtol=1e-6)


def test_free_thresholds_are_freematchs():
    found = losses.free_thresholds(jnp.float32(0.8), PROBABILITIES)
    largest = max(float(p) for p in PROBABILITIES)
    np.testing.assert_allclose(found, [0.8 * float(p) / largest for p in PROBABILITIES], rtol=1e-6)


@pytest.mark.parametrize("counts", [np.ones(N), ROWS["counts"], np.eye(N)[4], np.zeros(N)])
@pytest.mark.parametrize("histogram", [HISTOGRAM, np.asarray([0.1, 0.2, 0.3, 0.4], np.float32)])
@pytest.mark.parametrize("never", [None, 2])
def test_fairness_is_freematchs(counts, histogram, never):
    z = LOGITS.copy()
    if never is not None:
        z[:, never] = -3.0
        assert never not in z.argmax(axis=1)
    value = losses.self_adaptive_fairness(z, counts.astype(np.float32), PROBABILITIES, histogram)
    np.testing.assert_allclose(value, self_adaptive_fairness(z, counts, PROBABILITIES, histogram), rtol=1e-5)
    assert value <= 1.1e-6


def test_fairness_moves_predictions_away_from_the_whole():
    counted = ROWS["counts"] > 0
    step = every(LOGITS, ROWS)["fairness"][1]
    favourite = np.argmax(np.where(HISTOGRAM > 0, PROBABILITIES / np.maximum(HISTOGRAM, 1e-9), 0))
    before, after = (softmax(z)[counted, favourite].mean() for z in (LOGITS, LOGITS - 0.1 * np.asarray(step)))
    assert after < before - 1e-4
    assert not np.any(step[~counted])


@pytest.mark.parametrize("width", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("variance", [0.0, 0.01, 0.2])
def test_soft_weights_are_softmatchs(variance, width):
    confidence = np.asarray([0.0, 0.3, 0.6, 0.69, 0.7, 0.71, 1.0], np.float32)
    found = losses.softmatch_weights(confidence, jnp.float32(0.7), jnp.float32(variance), width)
    for weight, c in zip(found, confidence.astype(np.float64)):
        gap = c - np.float32(0.7)
        below = np.exp(-(gap**2) / (2 * variance / width**2)) if variance else 0.0
        np.testing.assert_allclose(weight, 1.0 if gap >= 0 else below, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("target", [None, np.asarray([0.1, 0.2, 0.3, 0.4], np.float32)])
def test_align_moves_the_mean_to_the_target(target):
    mean, wanted = PROBABILITIES.astype(np.float64), np.full(C, 1 / C) if target is None else target
    p = np.concatenate([ROWS["target"], PROBABILITIES[None]])
    expected = [[row[c] * wanted[c] / mean[c] for c in range(C)] for row in p.astype(np.float64)]
    expected = np.asarray(expected) / np.sum(expected, axis=1, keepdims=True)
    aligned = losses.distribution_alignment(p, PROBABILITIES, target)
    np.testing.assert_allclose(aligned, expected, rtol=1e-5)
    np.testing.assert_allclose(aligned[-1], wanted, rtol=1e-5)


def test_align_has_no_division_by_zero():
    p = np.asarray([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    aligned = losses.distribution_alignment(
        p, np.asarray([0.0, 0.5, 0.5, 0]), np.asarray([0.5, 0, 0.5, 0], np.float32)
    )
    np.testing.assert_array_equal(aligned, [[1, 0, 0, 0], [0, 0, 0, 0]])


# --- MixMatch's mixing


M = 300


def mixed(alpha, key=KEY):
    """Where every row is a class of its own, the mixed targets tell every row's weight and partner."""
    images = np.random.default_rng(4).normal(size=(M, 2, 1, 1)).astype(np.float32)
    found, targets = mix(key, images, np.eye(M, dtype=np.float32), alpha)
    return images, np.asarray(found), np.asarray(targets)


@pytest.mark.parametrize("alpha", [0.5, 0.75, 5.0])
def test_every_row_is_mixed_with_another_by_its_own_weight(alpha):
    images, found, targets = mixed(alpha)
    weight = np.diag(targets)
    assert np.all((weight >= 0.5) & (weight <= 1))
    assert len(np.unique(weight.round(5))) > M / 2
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    others = np.where(np.eye(M, dtype=bool), 0, targets)
    rows, partners = np.nonzero(others)
    assert len(rows) > 0.9 * M  # the rest has weight 1, or is its own partner
    assert len(set(rows)) == len(set(partners)) == len(rows)  # one partner each, and no partner twice
    w = weight[:, None, None, None]
    expected = w * images
    expected[rows] += (1 - w[rows]) * images[partners]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("alpha", "mean"), [(0.5, 0.5 + 1 / np.pi), (1.0, 0.75), (1e5, 0.5), (1e-3, 1.0)])
def test_the_weights_are_of_a_beta_distribution(alpha, mean):
    np.testing.assert_allclose(np.diag(mixed(alpha)[2]).mean(), mean, atol=0.03)


def test_the_mixture_depends_on_the_key():
    one, two, other = (mixed(0.75, key)[2] for key in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_mixed_in_single(dtype):
    images = jnp.asarray(mixed(0.5)[0], dtype)
    half = mix(KEY, images, np.eye(M, dtype=dtype), 0.5)
    single = mix(KEY, np.float32(images), np.eye(M, dtype=np.float32), 0.5)
    for found, expected in zip(half, single):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: losses.sharpen(x, 0.5),
        lambda x: losses.pseudo_labels(x, 0.5).probabilities,
        lambda x: losses.pseudo_labels_of(x).probabilities,
        lambda x: losses.pseudo_labels_of(x).confidence,
        lambda x: losses.softmatch_weights(x[:, 0], x[0, 1], x[0, 2]),
        lambda x: losses.softmatch_weights(x[:, 0], x[0, 1], 0 * x[0, 1]),
        lambda x: losses.distribution_alignment(x, x[0], x[1]),
    ],
)
def test_pseudo_labels_of_half_precision_are_computed_in_single(function, dtype):
    x = jnp.asarray(np.concatenate([ROWS["target"], np.eye(C)]), dtype)
    function = jax.jit(function)
    found, expected = function(x), function(x.astype(jnp.float32))
    assert found.dtype == jnp.float32
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z: losses.cross_entropy(z[0], np.arange(3)),
            r"cross_entropy takes float\[N, C\], not \(2,\)",
        ),
        (lambda z: losses.cross_entropy(z, np.arange(2)), r"labels \[N\] or \[N, C\] .* not \(2,\)"),
        (lambda z: losses.cross_entropy(z, z[:, :1]), r"not \(3, 1\)"),
        (lambda z: losses.cross_entropy(z, np.arange(3), z[:, :1]), r"a weight \[N\] .* not \(3, 1\)"),
        (lambda z: losses.cross_entropy(z, np.arange(3), label_smoothing=1.0), "label_smoothing=1.0 must be"),
        (
            lambda z: losses.cross_entropy(z, np.arange(3), label_smoothing=-0.1),
            "label_smoothing=-0.1 must be",
        ),
        (lambda z: losses.batch_hard_triplet(z[0], np.arange(2)), "batch_hard_triplet takes"),
        (lambda z: losses.batch_hard_triplet(z, np.arange(2)), r"not \(3, 2\) and \(2,\)"),
        (lambda z: losses.batch_hard_triplet(z, np.arange(3), "hard"), "margin='hard' must be 'soft'"),
        (lambda z: losses.batch_hard_triplet(z, np.arange(3), -1.0), "margin=-1.0 must be"),
        (lambda z: losses.batch_hard_triplet(z, np.arange(3), np.nan), "margin=nan must be"),
        (lambda z: losses.entropy(z[0]), r"entropy takes float\[N, C\]"),
        (lambda z: losses.softmax_mse(z, z[:, :1]), r"not \(3, 2\), \(3, 1\)"),
        (lambda z: losses.kl_divergence(z, z[:1]), "divergence takes"),
        (lambda z: losses.weighted_cross_entropy(z[0], z[0], z[0]), "weighted_cross_entropy takes float"),
        (
            lambda z: losses.weighted_cross_entropy(z, z[:, :1], z[:, 0]),
            "weighted_cross_entropy takes labels",
        ),
        (
            lambda z: losses.weighted_cross_entropy(z, z[:, 0], z[:, :1]),
            "weighted_cross_entropy takes a weight",
        ),
        (lambda z: losses.self_adaptive_fairness(z[0], z[:, 0], z[0], z[0]), "fairness takes float"),
        (lambda z: losses.self_adaptive_fairness(z, z[:, :1], z[0], z[0]), r"fairness takes .* not \(3, 1\)"),
        (lambda z: losses.self_adaptive_fairness(z, z[:, 0], z[:, 0], z[0]), r"means \[C\]"),
        (lambda z: losses.self_adaptive_fairness(z, z[:, 0], z[0], z[:1]), r"means \[C\]"),
        (lambda z: losses.pseudo_labels(z, 0.0), "temperature=0.0 must be positive"),
        (lambda z: losses.sharpen(z, -1.0), "temperature=-1.0 must be positive"),
        (lambda z: losses.adversarial_direction(lambda x: x, z, KEY, 0.0), "size=0.0 must be positive"),
        (lambda z: losses.adversarial_direction(lambda x: x, z, KEY, 1.0, 0), "steps=0 must be positive"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((3, 2), np.float32))


def test_a_label_that_is_no_class_is_not_silent():
    logits = jnp.zeros((2, 3))
    assert np.isnan(losses.cross_entropy(logits, jnp.array([0, 3])))
    assert np.isfinite(losses.cross_entropy(logits, jnp.array([2, -1])))
