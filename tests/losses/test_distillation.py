import jax
import numpy as np

from jssl import losses
from tests.losses.test_contrastive import embeddings, numeric_gradient

STUDENT = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
TEACHER = np.random.default_rng(1).normal(size=(2, 5, 6)).astype(np.float32)
CENTER = np.random.default_rng(2).normal(size=6).astype(np.float32)


def softmax(x):
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def dino(student, teacher, center, student_temperature, teacher_temperature):
    """DINOLoss.forward of main_dino.py."""
    total, terms = 0.0, 0
    for iq, t in enumerate(teacher):
        q = softmax((t.astype(np.float64) - center) / teacher_temperature)
        for v, s in enumerate(student):
            if v == iq:
                continue
            log_p = np.log(softmax(s.astype(np.float64) / student_temperature))
            total += np.mean(np.sum(-q * log_p, axis=-1))
            terms += 1
    return total / terms


def test_negative_cosine():
    p, t = embeddings()

    def byol(p):
        a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (p.astype(np.float64), t))
        return np.mean(2 - 2 * np.sum(a * b, axis=1))

    value, (gradient, stopped) = jax.jit(jax.value_and_grad(losses.normalized_mse, (0, 1)))(p, t)
    np.testing.assert_allclose(value, byol(p), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(byol, p), rtol=1e-4, atol=1e-6)
    assert not np.any(stopped)
    np.testing.assert_allclose(
        [losses.normalized_mse(p, 2 * p), losses.normalized_mse(p, -p)], [0, 4], atol=1e-5
    )


def test_dino_is_the_official_loss_and_only_the_student_gets_a_gradient():
    def loss(student, teacher, center, temperature):
        return losses.dino_cross_entropy(list(student), list(teacher), center, 0.2, temperature)

    # The teacher's temperature is a schedule's: a tracer under jit.
    compute = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, (gradient, *stopped) = compute(STUDENT, TEACHER, CENTER, 0.07)
    np.testing.assert_allclose(value, dino(STUDENT, TEACHER, CENTER, 0.2, 0.07), rtol=1e-5)
    numeric = numeric_gradient(lambda s: dino(s, TEACHER, CENTER, 0.2, 0.07), STUDENT)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)
    assert not any(np.any(x) for x in stopped)
    wild = compute(1e4 * STUDENT, 1e4 * TEACHER, CENTER, 0.01)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(wild))


def test_targets_are_sharpened_and_centred():
    target = losses.sharpened(TEACHER[0], CENTER, 0.04)
    expected = softmax((TEACHER[0].astype(np.float64) - CENTER) / 0.04)
    np.testing.assert_allclose(target, expected, rtol=2e-5, atol=1e-30)
    assert not np.any(jax.jit(jax.grad(lambda x: losses.sharpened(x, CENTER, 0.5)[0, 0]))(TEACHER[0]))
