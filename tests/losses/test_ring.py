"""The forms in which similarities are computed, on one, two and eight devices, against the dense one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, parallel
from jssl.errors import UserError
from jssl.losses import ring
from jssl.losses.ring import Ring

N, D = 24, 6


def mesh_of(count):
    return parallel.make_mesh(jax.devices()[:count])


def embeddings(rows=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, rows, D)).astype(np.float32)


def nt_xent(pairs):
    return lambda z1, z2: losses.nt_xent(z1, z2, 0.1, pairs)


def info_nce(pairs):
    return lambda q, k: losses.info_nce(q, k, None, 0.2, pairs)


def siglip(pairs):
    return lambda x, y: losses.siglip(x, y, 10.0, -2.0, pairs)


def value_and_gradients(loss, mesh, *z):
    rows = parallel.batch_sharding(mesh)
    z = [jax.device_put(x, rows) for x in z]
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), out_shardings=(None, (rows, rows)))(*z)


@functools.cache
def dense(loss):
    """The value and the gradients of the dense form."""
    return jax.jit(jax.value_and_grad(loss(losses.DENSE), argnums=(0, 1)))(*embeddings())


@pytest.mark.parametrize("loss", [nt_xent, info_nce, siglip])
@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("form", ["dense", "ring", "ring in blocks", "blockwise"])
def test_every_form_gives_the_dense_value_and_gradients(loss, count, form):
    mesh, z = mesh_of(count), embeddings()
    pairs = {
        "dense": losses.DENSE,
        "ring": Ring(mesh),
        "ring in blocks": Ring(mesh, 5),
        "blockwise": losses.Blockwise(7),
    }[form]
    want, grads = dense(loss)
    value, found = value_and_gradients(loss(pairs), mesh, *z)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for a, b in zip(found, grads):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(b).max()))
        assert np.abs(b).max() > 1e-3


@pytest.mark.parametrize("count", [1, 8])
def test_a_queue_of_another_length_goes_round_too(count):
    mesh, (q, k) = mesh_of(count), embeddings()
    queue = embeddings(rows=64, seed=1)[0]
    want = losses.info_nce(q, k, queue, 0.2)
    found = jax.jit(lambda q, k, queue: losses.info_nce(q, k, queue, 0.2, Ring(mesh)))(q, k, queue)
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 8])
def test_accuracy_round_the_ring(count):
    z1, z2 = embeddings()
    z2 = 0.8 * z1 + z2
    want = losses.contrastive_accuracy(z1, z2)
    assert 0.1 < want[0] < 0.9
    found = jax.jit(lambda a, b: losses.contrastive_accuracy(a, b, Ring(mesh_of(count), 2)))(z1, z2)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def compiled(pairs, mesh, rows):
    struct = jax.ShapeDtypeStruct((rows, 32), jnp.float32, sharding=parallel.batch_sharding(mesh))
    shards = (parallel.batch_sharding(mesh),) * 2
    step = jax.jit(jax.grad(nt_xent(pairs), argnums=(0, 1)), out_shardings=shards)
    return step.lower(struct, struct).compile()


def test_memory_per_device_falls_with_the_devices_and_the_ring_gathers_nothing():
    """Of 2N x 2N similarities a device holds 1/P where columns are gathered, 1/P^2 in the ring."""
    rows = 1024
    matrix = 4 * (2 * rows) ** 2
    sizes = {}
    for count in (2, 8):
        mesh = mesh_of(count)
        for name, pairs in (("dense", losses.DENSE), ("ring", Ring(mesh))):
            program = compiled(pairs, mesh, rows)
            sizes[name, count] = program.memory_analysis().temp_size_in_bytes
            assert ("all-gather" in program.as_text()) == (name == "dense")
            assert ("collective-permute" in program.as_text()) or name == "dense"
    assert matrix / 2 <= sizes["dense", 2] < 2 * matrix
    assert matrix / 8 <= sizes["dense", 8] < sizes["dense", 2] / 3
    assert sizes["ring", 8] < sizes["ring", 2] / 6
    assert sizes["ring", 8] < sizes["dense", 8] / 4


def clip_temporaries(pairs, mesh, rows):
    """Bytes of a device that the gradients of CLIP's loss take beside what they are given, and the program."""
    given = jax.ShapeDtypeStruct((rows, 32), jnp.float32, sharding=parallel.batch_sharding(mesh))
    scale = jax.ShapeDtypeStruct((), jnp.float32, sharding=parallel.replicated(mesh))
    gradients = jax.grad(lambda x, y, scale: losses.clip(x, y, scale, pairs), argnums=(0, 1, 2))
    shards = (given.sharding, given.sharding, scale.sharding)
    program = jax.jit(gradients, out_shardings=shards).lower(given, given, scale).compile()
    return program.memory_analysis().temp_size_in_bytes, program.as_text()


def test_the_ring_of_clip_takes_less_memory_of_all_devices_together_the_more_there_are():
    """Of N x N similarities all devices together hold one matrix or two where columns are gathered, in the ring 1/P."""
    rows, counts = 1024, (1, 2, 4, 8)
    matrix = 4 * rows**2
    together = {}
    for name, form in (("gathered", lambda _: losses.DENSE), ("ring", Ring)):
        for count in counts:
            size, text = clip_temporaries(form(mesh_of(count)), mesh_of(count), rows)
            together[name, count] = count * size
            assert ("all-gather(" in text) == (name == "gathered" and count > 1)
    gathered, ring_of = ([together[name, count] for count in counts] for name in ("gathered", "ring"))
    assert matrix < min(gathered)
    assert max(gathered) < 1.5 * min(gathered)  # so a device holds 1/P
    for fewer, more in itertools.pairwise(ring_of[1:]):
        assert more < fewer / 1.5  # a device nearly 1/P^2
    assert ring_of[-1] < gathered[-1] / 3


def test_auto_chooses_by_size():
    mesh = mesh_of(8)
    assert ring.choose("auto", 512, 512, 0, mesh) == losses.DENSE
    assert isinstance(ring.choose("auto", 65536, 65536, 0, mesh), Ring)
    assert isinstance(ring.choose("auto", 65536, 65536, 0, mesh_of(1)), losses.Blockwise)
    assert ring.choose("ring", 512, 512, 16, mesh) == Ring(mesh, 16)
    assert ring.choose("blockwise", 512, 512, 16, mesh) == losses.Blockwise(16)
    with pytest.raises(UserError, match="did you mean 'ring'"):
        ring.choose("rings", 1, 1, 0, None)
