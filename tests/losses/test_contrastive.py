import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jssl import losses, metrics, parallel

N, D = 12, 5
nt_xent = jax.jit(losses.nt_xent, static_argnums=(2, 3))
gradient = jax.jit(jax.grad(losses.nt_xent, argnums=(0, 1)), static_argnums=(2, 3))


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


def numeric_gradient(function, z, step=1e-5):
    """Central differences of a function of float64[N, D]."""
    gradient = np.zeros(z.shape)
    for place in np.ndindex(z.shape):
        up, down = z.astype(np.float64), z.astype(np.float64)
        up[place] += step
        down[place] -= step
        gradient[place] = (function(up) - function(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("temperature", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("pairs", [losses.DENSE, *map(losses.Blockwise, (1, 7, 24, 1000))])
def test_nt_xent_is_equation_one(temperature, pairs):
    z1, z2 = embeddings()
    value = nt_xent(z1, z2, temperature, pairs)
    np.testing.assert_allclose(value, oracle(z1, z2, temperature), rtol=2e-5)


@pytest.mark.parametrize("pairs", [losses.DENSE, losses.Blockwise(7)])
def test_the_gradient_is_the_numeric_one_through_both_sides(pairs):
    z1, z2 = embeddings()
    g1, g2 = gradient(z1, z2, 0.2, pairs)
    np.testing.assert_allclose(g1, numeric_gradient(lambda z: oracle(z, z2, 0.2), z1), atol=2e-6)
    np.testing.assert_allclose(g2, numeric_gradient(lambda z: oracle(z1, z, 0.2), z2), atol=2e-6)


def test_it_agrees_with_optax():
    z1, z2 = embeddings()
    interleaved = np.stack([z1, z2], axis=1).reshape(2 * N, D)
    labels = np.repeat(np.arange(N), 2)
    theirs = optax.losses.ntxent(jnp.asarray(interleaved), jnp.asarray(labels), temperature=0.2)
    np.testing.assert_allclose(nt_xent(z1, z2, 0.2, losses.DENSE), theirs, rtol=1e-5)


def test_invariances():
    z1, z2 = embeddings()
    value = nt_xent(z1, z2)
    order = np.random.default_rng(1).permutation(N)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))[0].astype(np.float32)
    scale = np.random.default_rng(3).uniform(0.1, 9, (N, 1)).astype(np.float32)
    np.testing.assert_allclose(nt_xent(z2, z1), value, rtol=1e-6)
    np.testing.assert_allclose(nt_xent(z1[order], z2[order]), value, rtol=1e-5)
    np.testing.assert_allclose(nt_xent(z1 @ turn, z2 @ turn), value, rtol=1e-5)
    np.testing.assert_allclose(nt_xent(z1 * scale, z2), value, rtol=1e-5)


def test_extremes():
    z1, _ = embeddings()
    same = np.ones((N, D), np.float32)
    np.testing.assert_allclose(nt_xent(same, same), np.log(2 * N - 1), rtol=1e-5)
    far = np.eye(8, dtype=np.float32)
    assert nt_xent(far, far, 0.01) < 1e-5
    zero = np.zeros((N, D), np.float32)
    assert np.isfinite(nt_xent(zero, z1))
    assert np.isfinite(gradient(zero, z1)).all()
    for temperature in (1e-3, 0.01, 10.0):
        assert np.isfinite(gradient(z1, -z1, temperature)).all()


def test_half_precision_is_computed_in_single():
    z1, z2 = (jnp.asarray(z, jnp.bfloat16) for z in embeddings())
    value = nt_xent(z1, z2)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, oracle(np.asarray(z1), np.asarray(z2), 0.1), rtol=1e-4)


def test_blocks_need_memory_of_blocks():
    z = jax.ShapeDtypeStruct((2048, 16), jnp.float32)

    def compiled_bytes(pairs):
        step = jax.jit(jax.grad(lambda a, b: losses.nt_xent(a, b, 0.1, pairs)))
        return step.lower(z, z).compile().memory_analysis().temp_size_in_bytes

    matrix = 4 * 4096**2
    assert compiled_bytes(losses.DENSE) >= matrix
    assert compiled_bytes(losses.Blockwise(64)) < matrix / 8


@pytest.mark.parametrize(
    ("z1", "z2", "options", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), {}, "one shape"),
        (np.ones(3), np.ones(3), {}, "one shape"),
        (np.ones((3, 2)), np.ones((3, 2)), {"temperature": 0.0}, "temperature=0.0 must be positive"),
    ],
)
def test_bad_arguments(z1, z2, options, message):
    with pytest.raises(ValueError, match=message):
        losses.nt_xent(z1, z2, **options)
    with pytest.raises(ValueError, match="size=0 must be positive"):
        losses.Blockwise(0)


def test_contrastive_accuracy():
    z1, z2 = embeddings()
    measure = jax.jit(losses.contrastive_accuracy, static_argnums=2)
    accuracy, positive, negative = measure(z1, z1)
    assert accuracy == 1
    np.testing.assert_allclose(positive, 1, rtol=1e-6)
    accuracy, positive, negative = measure(z1, z2)
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (z1, z2))
    s = a @ b.T
    np.testing.assert_allclose(accuracy, np.mean(s.argmax(1) == np.arange(N)))
    np.testing.assert_allclose(positive, np.diag(s).mean(), rtol=1e-5)
    np.testing.assert_allclose(negative, s[~np.eye(N, dtype=bool)].mean(), rtol=1e-4)
    for size in (5, 100):
        blocks = measure(z1, z2, losses.Blockwise(size))
        np.testing.assert_allclose(blocks, [accuracy, positive, negative], rtol=1e-5)
    assert not np.any(jax.jit(jax.grad(lambda z: sum(losses.contrastive_accuracy(z, z2))))(z1))


def moco(query, key, queue, temperature):
    """Cross entropy of class 0 among [positive, negatives], as its code does it; without queue, of class i of i."""
    q, k = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (query.astype(np.float64), key))
    if queue is None:
        logits, labels = q @ k.T, np.arange(len(q))
    else:
        queue = queue / np.linalg.norm(queue, axis=1, keepdims=True)
        logits, labels = np.hstack([np.sum(q * k, axis=1, keepdims=True), q @ queue.T]), np.zeros(len(q), int)
    p = np.exp(logits / temperature)
    return -np.mean(np.log(p[np.arange(len(q)), labels] / p.sum(axis=1)))


@pytest.mark.parametrize("queue", [None, embeddings(20, seed=1)[0]])
def test_info_nce_is_mocos_cross_entropy(queue):
    q, k = embeddings()
    ours = jax.jit(jax.value_and_grad(lambda q, k: losses.info_nce(q, k, queue, 0.2), argnums=(0, 1)))
    value, gradients = ours(q, k)
    np.testing.assert_allclose(value, moco(q, k, queue, 0.2), rtol=1e-5)
    np.testing.assert_allclose(
        gradients[0], numeric_gradient(lambda z: moco(z, k, queue, 0.2), q), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        gradients[1], numeric_gradient(lambda z: moco(q, z, queue, 0.2), k), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("padding", [0, 5])
def test_instance_discrimination_is_the_non_parametric_softmax(padding):
    z, bank = embeddings(4)[0], embeddings(9)[1]
    index = np.asarray([8, 0, 3, 3])

    def oracle(z):
        v, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (z.astype(np.float64), bank))
        p = np.exp(v @ b.T / 0.1)
        return -np.mean(np.log(p[np.arange(4), index] / p.sum(axis=1)))

    padded = np.concatenate([bank, embeddings(5, seed=2)[0][:padding]])
    ours = jax.jit(jax.value_and_grad(losses.instance_discrimination), static_argnums=(3, 4))
    value, gradient = ours(z, padded, index, 0.1, 9)
    np.testing.assert_allclose(value, oracle(z), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(oracle, z), rtol=1e-4, atol=1e-6)


def every_loss(temperature):
    """All losses as functions of two arrays, with their values and both gradients by one compilation."""
    t, queue = temperature, embeddings(40, seed=1)[0]
    functions = {
        "nt_xent": lambda a, b: losses.nt_xent(a, b, t),
        "info_nce": lambda a, b: losses.info_nce(a, b, None, t),
        "info_nce, queue": lambda a, b: losses.info_nce(a, b, queue, t),
        "instance_discrimination": lambda a, b: losses.instance_discrimination(a, b, jnp.arange(len(a)), t),
        "normalized_mse": losses.normalized_mse,
        "dino": lambda a, b: losses.dino_cross_entropy((a, b), (b, a), queue[0], t, t / 2),
        "swav": lambda a, b: losses.swapped_prediction(
            (a, b), (losses.sinkhorn(a, t / 2), losses.sinkhorn(b)), t
        ),
        "alignment": metrics.alignment,
        "uniformity": lambda a, b: metrics.uniformity(jnp.concatenate([a, b])),
        "barlow_twins": losses.barlow_twins,
        "vicreg": lambda a, b: sum(losses.vicreg(a, b).values()),
    }
    return jax.jit(lambda a, b: {k: jax.value_and_grad(f, (0, 1))(a, b) for k, f in functions.items()})


SYMMETRIC = {"nt_xent", "alignment", "uniformity", "barlow_twins", "vicreg"}
OF_DIRECTIONS = {"nt_xent", "info_nce", "info_nce, queue", "normalized_mse", "alignment", "uniformity"}


def test_every_loss_on_eight_devices_permuted_swapped_scaled_and_from_half_precision(mesh1, mesh8):
    z1, z2 = embeddings(32)
    compute = every_loss(0.1)

    def on(mesh, *z):
        return compute(*(jax.device_put(x, parallel.batch_sharding(mesh)) for x in z))

    def same(a, b, names=None, rtol=2e-5):
        for name in names or a:
            np.testing.assert_allclose(a[name][0], b[name][0], rtol=rtol, err_msg=name)

    one, eight = on(mesh1, z1, z2), on(mesh8, z1, z2)
    for name, (value, gradients) in one.items():
        np.testing.assert_allclose(value, eight[name][0], rtol=1e-5, err_msg=name)
        for ours, theirs in zip(gradients, eight[name][1]):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.any(gradients[0]), name
        assert np.any(gradients[1]) == (name != "normalized_mse"), name
    order = np.random.default_rng(1).permutation(32)
    same(one, on(mesh1, z1[order], z2[order]))
    same(one, on(mesh1, z2, z1), SYMMETRIC)
    scale = np.random.default_rng(3).uniform(0.1, 9, (32, 1)).astype(np.float32)
    same(one, on(mesh1, z1 * scale, z2 / scale), OF_DIRECTIONS)
    same(one, on(mesh1, 3 * z1, z2 / 3), ["instance_discrimination"])
    same(one, on(mesh1, 100 * z1 + 7, 90 * z2 - 1), ["barlow_twins"], rtol=1e-3)
    half = [jnp.asarray(z, jnp.bfloat16) for z in (z1, z2)]
    from_half = on(mesh1, *half)
    same(from_half, on(mesh1, *(z.astype(jnp.float32) for z in half)), rtol=1e-5)
    assert {value.dtype for value, _ in from_half.values()} == {jnp.dtype(jnp.float32)}


def test_every_loss_is_finite_at_extremes():
    z1, z2 = embeddings(8)
    compute = every_loss(0.01)
    gap = z1 * (np.arange(8) != 3)[:, None]  # a dead row: it has no direction, and so no gradient
    same = np.ones((8, D), np.float32)
    for a, b in [(gap, z2), (0 * z1, z2), (0 * z1, 0 * z1), (same, same), (z1, -z1), (1e4 * z1, -1e4 * z2)]:
        for name, (value, gradients) in compute(a, b).items():
            assert np.all(np.isfinite(value)), name
            assert np.all(np.isfinite(gradients)), name
            if a is gap and name in OF_DIRECTIONS:
                assert not np.any(gradients[0][3]), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: losses.info_nce(z, z[:2], None), "info_nce takes two arrays"),
        (lambda z: losses.info_nce(z, z, z[:, :1]), r"a queue float\[K, 2\], not \(3, 1\)"),
        (lambda z: losses.info_nce(z, z, None, 0.0), "temperature=0.0 must be positive"),
        (lambda z: losses.instance_discrimination(z, z[:, :1], np.arange(3)), "bank float"),
        (lambda z: losses.instance_discrimination(z, z, np.arange(2)), "index int"),
        (lambda z: losses.instance_discrimination(z, z, np.arange(3), -1.0), "temperature=-1.0"),
        (lambda z: losses.normalized_mse(z, z[0]), "normalized_mse takes two arrays"),
        (lambda z: losses.dino_cross_entropy([z, z[:2]], [z], z[0]), "dino_cross_entropy takes"),
        (lambda z: losses.dino_cross_entropy([z], [z], z[0]), "two views at least"),
        (lambda z: losses.dino_cross_entropy([z, z], [z], z[:, :1]), "center"),
        (lambda z: losses.dino_cross_entropy([z, z], [z], z[0], 0.0), "temperature=0.0"),
        (lambda z: losses.dino_cross_entropy([z, z], [z], z[0], 0.1, 0.0), "temperature=0.0"),
        (lambda z: losses.sinkhorn(z[0]), r"scores float\[B, K\]"),
        (lambda z: losses.sinkhorn(z, 0.0), "epsilon=0.0 must be positive"),
        (lambda z: losses.sinkhorn(z, 0.1, 0), "iterations=0 must be positive"),
        (lambda z: losses.swapped_prediction([z, z], [z[:, :1]]), "swapped_prediction takes"),
        (lambda z: losses.swapped_prediction([z], [z]), "two views at least"),
        (lambda z: losses.swapped_prediction([z, z], []), "two views at least"),
        (lambda z: losses.swapped_prediction([z, z], [z, z, z]), "3 targets"),
        (lambda z: losses.swapped_prediction([z, z], [z], 0), "temperature=0 must be positive"),
        (lambda z: metrics.alignment(z, z[:2]), "alignment takes two arrays"),
        (lambda z: metrics.uniformity(z[:1]), "N > 1"),
        (lambda z: metrics.uniformity(z, 0.0), "t=0.0 must be positive"),
        (lambda z: metrics.mutual_information_bound(z[0, 0], 0), "n=0 must be positive"),
        (lambda z: losses.barlow_twins(z, z[:2]), "barlow_twins takes two arrays"),
        (lambda z: losses.barlow_twins(z[:1], z[:1]), "two rows at least"),
        (lambda z: losses.vicreg(z, z[:, :1]), "vicreg takes two arrays"),
        (lambda z: losses.vicreg(z[:1], z[:1]), "two rows at least"),
    ],
)
def test_bad_arguments_of_the_other_losses(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((3, 2), np.float32))


@pytest.mark.parametrize("form", [losses.DENSE, losses.Blockwise(4)], ids=["dense", "blockwise"])
@pytest.mark.parametrize("name", ["nt_xent", "decoupled_contrastive", "info_nce"])
def test_the_temperature_may_be_learnt(name, form):
    """The gradient against a difference quotient, under jit."""
    rng = np.random.default_rng(0)
    one, two = (jnp.asarray(rng.normal(size=(8, 5)), jnp.float32) for _ in range(2))

    def loss(temperature):
        if name == "info_nce":
            return losses.info_nce(one, two, None, temperature, form)
        return getattr(losses, name)(one, two, temperature, form)

    value, grad = jax.jit(jax.value_and_grad(loss))(jnp.float32(0.3))
    np.testing.assert_allclose(value, loss(0.3), rtol=1e-5)
    np.testing.assert_allclose(grad, (loss(0.301) - loss(0.299)) / 0.002, rtol=2e-2)


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="takes two arrays"):
        losses.nt_xent(jnp.zeros((0, 4)), jnp.zeros((0, 4)))
