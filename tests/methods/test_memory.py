from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import parallel, schedules
from jssl.methods import memory, momentum

K, D = 16, 3


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def shardings(mesh):
    split, whole = parallel.batch_sharding(mesh), parallel.replicated(mesh)
    return memory.Queue(split, whole, whole)


@pytest.mark.parametrize("size", [1, 5, 8, 16])
def test_the_queue_is_a_deque_on_one_device_and_on_eight(size, mesh1, mesh8):
    queue = memory.make_queue(jax.random.key(0), K, D)
    plain = deque(np.asarray(queue.rows), maxlen=K)
    steps, queues = [], []
    for mesh in (mesh1, mesh8):
        steps.append(jax.jit(memory.enqueue, out_shardings=shardings(mesh)))
        queues.append(jax.device_put(queue, shardings(mesh)))
    for step in range(7):
        keys = rows(size, step)
        plain.extend(keys)
        for i, mesh in enumerate((mesh1, mesh8)):
            put = parallel.replicated(mesh) if size % 8 else parallel.batch_sharding(mesh)
            queue = queues[i] = steps[i](queues[i], jax.device_put(keys, put))
            oldest_first = np.roll(queue.rows, -int(queue.position), axis=0)
            np.testing.assert_array_equal(oldest_first, np.stack(plain))
            assert queue.filled == min(K, (step + 1) * size)
            assert queue.position == (step + 1) * size % K
    assert len(queue.rows.sharding.device_set) == 8


def test_only_the_keys_travel(mesh8):
    sharded, size = shardings(mesh8), 4096
    queue = jax.eval_shape(lambda: memory.make_queue(jax.random.key(0), size, D))
    keys = jax.ShapeDtypeStruct((8, D), jnp.float32)
    step = jax.jit(
        memory.enqueue, in_shardings=(sharded, sharded.rows), out_shardings=sharded, donate_argnums=0
    )
    move = jax.jit(
        memory.update_bank,
        in_shardings=(sharded.rows,) * 3 + (None,),
        out_shardings=sharded.rows,
        donate_argnums=0,
    )
    index = jax.ShapeDtypeStruct((8,), jnp.int32)
    for compiled in (
        step.lower(queue, keys).compile(),
        move.lower(queue.rows, index, keys, 0.5).compile(),
    ):
        assert "all-gather" in compiled.as_text()  # of the keys
        assert (
            compiled.memory_analysis().temp_size_in_bytes < 4 * size * D / 8
        )  # not a device's part of the rows


def test_the_queue_begins_with_unit_rows_and_keeps_no_gradient():
    queue = memory.make_queue(jax.random.key(1), K, D)
    np.testing.assert_allclose(np.linalg.norm(queue.rows, axis=1), 1, rtol=1e-5)
    assert len(np.unique(queue.rows, axis=0)) == K
    assert (queue.position, queue.filled) == (0, 0)
    gradient = jax.grad(lambda keys: jnp.sum(memory.enqueue(queue, keys).rows ** 2))(rows(4))
    assert not np.any(gradient)
    half = memory.enqueue(queue, jnp.asarray(rows(4), jnp.bfloat16))
    assert half.rows.dtype == jnp.float32
    for keys in (rows(K + 1), rows(4)[:, :2], rows(4)[0]):
        with pytest.raises(ValueError, match="a queue of 16 rows of width 3 cannot take keys"):
            memory.enqueue(queue, keys)


def test_the_bank_moves_the_rows_of_a_batch_alone(mesh1, mesh8):
    bank = memory.make_bank(jax.random.key(2), 13, D, multiple=16)
    assert bank.shape == (16, D)
    assert memory.make_bank(jax.random.key(2), 257, D).shape == (512, D)
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, rtol=1e-5)
    index = np.asarray([3, 12, 3, 0, 7, 5, 6, 1])  # the third image is there twice
    z = rows(8) / np.linalg.norm(rows(8), axis=1, keepdims=True)
    expected = np.asarray(bank, np.float64)
    for i in set(index):
        expected[i] += sum(0.4 * (z[j] - bank[i]) for j in range(8) if index[j] == i)
        expected[i] /= np.linalg.norm(expected[i])
    update = jax.jit(memory.update_bank)
    order = np.random.default_rng(0).permutation(8)
    for mesh in (mesh1, mesh8):
        put = parallel.batch_sharding(mesh)
        arguments = [jax.device_put(x, put) for x in (bank, index, z)]
        moved = update(*arguments, 0.6)
        np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(np.delete(moved, index, axis=0), np.delete(bank, index, axis=0))
        np.testing.assert_array_equal(moved, update(*arguments, 0.6))
        turned = update(arguments[0], *(jax.device_put(x[order], put) for x in (index, z)), 0.6)
        np.testing.assert_allclose(turned, moved, atol=1e-6)
        np.testing.assert_allclose(update(*arguments, 1.0), bank, atol=1e-6)
    assert not np.any(jax.grad(lambda z: jnp.sum(memory.update_bank(bank, index, z, 0.6)[:, 0]))(z))


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_ema_in_single_precision_follows_double(decay):
    target = {"a": np.linspace(-2, 1, 7, dtype=np.float32), "b": np.ones((), np.float32)}
    online = {"a": jnp.linspace(1, 4, 7).astype(jnp.bfloat16), "b": jnp.asarray(2.0, jnp.bfloat16)}
    result = jax.jit(lambda t, d: jax.lax.fori_loop(0, 1000, lambda _, t: momentum.ema(t, online, d), t))(
        target, decay
    )
    for name, value in result.items():
        end = np.asarray(online[name], np.float64)
        expected = end + (target[name] - end) * decay**1000
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


def test_schedules():
    progress = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    decays = schedules.cosine_decay_to_one(progress, 0.99)
    np.testing.assert_allclose(decays, [0.99, 0.99 + 0.01 * (1 - np.sqrt(0.5)) / 2, 0.995, 1], rtol=1e-6)
    np.testing.assert_allclose(
        schedules.linear_warmup(progress, 0.04, 0.08, 0.5), [0.04, 0.06, 0.08, 0.08], rtol=1e-6
    )
    np.testing.assert_allclose(schedules.linear_warmup(progress, 0.04, 0.08, 0.0), 0.08, rtol=1e-6)
