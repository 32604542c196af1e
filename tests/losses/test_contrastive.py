import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import losses, parallel

N, D = 12, 5


def embeddings(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, D)).astype(np.float32), rng.normal(size=(n, D)).astype(np.float32)


def oracle(z1, z2, temperature):
    """Equation 1 of the paper, pair by pair, in float64."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, total = len(z1), 0.0
    for i in range(2 * n):
        others = [np.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i]
        total -= np.log(np.exp(z[i] @ z[(i + n) % (2 * n)] / temperature) / np.sum(others))
    return total / (2 * n)


def numeric_gradient(z1, z2, temperature, step=1e-5):
    gradient = np.zeros(z1.shape)
    for place in np.ndindex(z1.shape):
        up, down = z1.astype(np.float64), z1.astype(np.float64)
        up[place] += step
        down[place] -= step
        gradient[place] = (oracle(up, z2, temperature) - oracle(down, z2, temperature)) / (2 * step)
    return gradient


@pytest.mark.parametrize("temperature", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("block_size", [None, 1, 7, 24, 1000])
def test_nt_xent_is_equation_one(temperature, block_size):
    z1, z2 = embeddings()
    value = losses.nt_xent(z1, z2, temperature, block_size)
    np.testing.assert_allclose(value, oracle(z1, z2, temperature), rtol=2e-5)


@pytest.mark.parametrize("block_size", [None, 7])
def test_the_gradient_is_the_numeric_one_through_both_sides(block_size):
    z1, z2 = embeddings()
    g1, g2 = jax.grad(losses.nt_xent, argnums=(0, 1))(z1, z2, 0.2, block_size)
    np.testing.assert_allclose(g1, numeric_gradient(z1, z2, 0.2), atol=2e-6)
    np.testing.assert_allclose(g2, numeric_gradient(z2, z1, 0.2), atol=2e-6)


def test_it_agrees_with_optax():
    z1, z2 = embeddings()
    interleaved = np.stack([z1, z2], axis=1).reshape(2 * N, D)
    labels = np.repeat(np.arange(N), 2)
    theirs = optax.losses.ntxent(jnp.asarray(interleaved), jnp.asarray(labels), temperature=0.2)
    np.testing.assert_allclose(losses.nt_xent(z1, z2, 0.2), theirs, rtol=1e-5)


def test_invariances():
    z1, z2 = embeddings()
    value = losses.nt_xent(z1, z2)
    order = np.random.default_rng(1).permutation(N)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))[0].astype(np.float32)
    scale = np.random.default_rng(3).uniform(0.1, 9, (N, 1)).astype(np.float32)
    np.testing.assert_allclose(losses.nt_xent(z2, z1), value, rtol=1e-6)
    np.testing.assert_allclose(losses.nt_xent(z1[order], z2[order]), value, rtol=1e-5)
    np.testing.assert_allclose(losses.nt_xent(z1 @ turn, z2 @ turn), value, rtol=1e-5)
    np.testing.assert_allclose(losses.nt_xent(z1 * scale, z2), value, rtol=1e-5)


def test_extremes():
    z1, _ = embeddings()
    same = np.ones((N, D), np.float32)
    np.testing.assert_allclose(losses.nt_xent(same, same), np.log(2 * N - 1), rtol=1e-5)
    far = np.eye(8, dtype=np.float32)
    assert losses.nt_xent(far, far, 0.01) < 1e-5
    zero = jnp.zeros((N, D))
    assert np.isfinite(losses.nt_xent(zero, z1))
    assert np.isfinite(jax.grad(losses.nt_xent)(zero, z1)).all()
    for temperature in (1e-3, 0.01, 10.0):
        assert np.isfinite(jax.grad(losses.nt_xent)(z1, -z1, temperature)).all()


def test_half_precision_is_computed_in_single():
    z1, z2 = (jnp.asarray(z, jnp.bfloat16) for z in embeddings())
    value = losses.nt_xent(z1, z2)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, oracle(np.asarray(z1), np.asarray(z2), 0.1), rtol=1e-4)


def test_blocks_need_memory_of_blocks():
    z = jax.ShapeDtypeStruct((2048, 16), jnp.float32)

    def compiled_bytes(block_size):
        step = jax.jit(jax.grad(lambda a, b: losses.nt_xent(a, b, 0.1, block_size)))
        return step.lower(z, z).compile().memory_analysis().temp_size_in_bytes

    matrix = 4 * 4096**2
    assert compiled_bytes(None) >= matrix
    assert compiled_bytes(64) < matrix / 8


def test_eight_devices_compute_what_one_does(mesh1, mesh8):
    z = embeddings(n=32)
    results = []
    for mesh in (mesh1, mesh8):
        rows = parallel.batch_sharding(mesh)
        put = [jax.device_put(x, rows) for x in z]
        results.append(jax.jit(jax.value_and_grad(losses.nt_xent, argnums=(0, 1)))(*put))
    for one, eight in zip(*map(jax.tree.leaves, results)):
        np.testing.assert_allclose(one, eight, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("z1", "z2", "options", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), {}, "one shape"),
        (np.ones(3), np.ones(3), {}, "one shape"),
        (np.ones((3, 2)), np.ones((3, 2)), {"temperature": 0.0}, "temperature=0.0 must be positive"),
        (np.ones((3, 2)), np.ones((3, 2)), {"block_size": 0}, "block_size=0 must be positive"),
    ],
)
def test_bad_arguments(z1, z2, options, message):
    with pytest.raises(ValueError, match=message):
        losses.nt_xent(z1, z2, **options)


def test_contrastive_accuracy():
    z1, z2 = embeddings()
    accuracy, positive, negative = losses.contrastive_accuracy(z1, z1)
    assert accuracy == 1
    np.testing.assert_allclose(positive, 1, rtol=1e-6)
    accuracy, positive, negative = losses.contrastive_accuracy(z1, z2)
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z1, z2))
    s = a @ b.T
    np.testing.assert_allclose(accuracy, np.mean(s.argmax(1) == np.arange(N)))
    np.testing.assert_allclose(positive, np.diag(s).mean(), rtol=1e-5)
    np.testing.assert_allclose(negative, s[~np.eye(N, dtype=bool)].mean(), rtol=1e-4)
    for block_size in (5, 100):
        blocks = losses.contrastive_accuracy(z1, z2, block_size)
        np.testing.assert_allclose(blocks, [accuracy, positive, negative], rtol=1e-5)
    assert not np.any(jax.grad(lambda z: sum(losses.contrastive_accuracy(z, z2)))(z1))
