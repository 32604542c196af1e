"""Large batches and large networks: the gradient cache, and state that is split over the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models, parallel, rng
from jssl.data import augment
from jssl.data.augment.view_spec import ViewSpec
from jssl.errors import UserError
from jssl.methods import Context
from jssl.methods.contrastive.simclr import SimCLR
from jssl.models import Network
from jssl.models.vit import ViT
from jssl.train import program
from tests.train.test_methods_train import INFO, batch, saved_and_restored, shrunk

ROWS = 16
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))


def close(a, b, rtol=1e-4, atol=1e-6):
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def views(rows=ROWS, size=8):
    images = np.random.default_rng(0).normal(size=(2, rows, size, size, 1)).astype(np.float32)
    return {
        "unlabeled": {
            "views": {"first": (images[0],), "second": (images[1],)},
            "label": np.zeros(rows, np.int32),
        }
    }


def gradient(encoder):
    """Of SimCLR, whose loss and whose head's batch statistics are those of the whole batch."""
    method = SimCLR(encoder, proj_hidden_dim=8, proj_dim=8)
    params, state = jax.jit(method.init)(jax.random.key(0), views())
    step = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (value, output), grads = step(params, state, views(), CONTEXT)
    return value, output, grads


def test_without_batch_statistics_the_gradient_cache_changes_nothing():
    vit = ViT(features=8, layers=1, heads=2, patch_size=4, image_size=8)
    value, _, grads = gradient(Network(vit))
    for chunks in (2, 8):
        cached, _, cached_grads = gradient(Network(vit, chunks))
        np.testing.assert_allclose(cached, value, rtol=1e-6)
        close(cached_grads, grads, rtol=5e-4)  # sums of parts are rounded otherwise


def test_batch_statistics_are_those_of_a_part():
    """What the docs say of batch normalisation: another loss, and running statistics that move with every part."""
    encoder = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}})
    value, output, _ = gradient(encoder)
    chunked = Network(encoder.module, 2)
    other, chunked_output, _ = gradient(chunked)
    assert abs(value - other) > 1e-4
    both = np.stack(jax.tree.leaves(views()["unlabeled"]["views"]), 1).reshape(2 * ROWS, 8, 8, 1)
    begun = jax.jit(SimCLR(encoder, proj_hidden_dim=8, proj_dim=8).init)(jax.random.key(0), views())
    params, stats = begun[0]["encoder"], begun[1]["stats"]["encoder"]
    update = jax.jit(lambda stats, part: encoder.apply(params, stats, part, train=True)[1])
    for part in (both[::2], both[1::2]):
        stats = update(stats, part)
    close(chunked_output.state["stats"]["encoder"], stats, rtol=1e-5)
    one_pass = jax.tree.leaves(output.state["stats"]["encoder"])
    assert any(np.any(np.abs(x - y) > 1e-3) for x, y in zip(one_pass, jax.tree.leaves(stats)))


def test_the_memory_is_that_of_a_part():
    encoder = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (1, 1)}})

    def needed(chunks):
        method = SimCLR(Network(encoder.module, chunks), proj_hidden_dim=8, proj_dim=8)
        batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, views(rows=256, size=16)))
        params, state = jax.eval_shape(method.init, jax.random.key(0), batch)
        step = jax.jit(jax.grad(method.loss, has_aux=True))
        return step.lower(params, state, batch, CONTEXT).compile().memory_analysis().temp_size_in_bytes

    assert needed(8) < needed(1) / 4


def test_views_do_not_depend_on_the_parts_that_they_are_made_in():
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8, 3), dtype=np.uint8)
    specs = {"first": ViewSpec(size=8, crop_area_min=0.3, flip_prob=0.5, copies=2)}
    whole, parts = (
        jax.jit(lambda x, n=n: augment.views(rng.root(0), x, specs, parts=n))(images) for n in (1, 4)
    )
    close(parts, whole)


def test_eight_devices_with_a_gradient_cache_are_one(mesh1, mesh8):
    config = shrunk("simclr")
    config.optim.update({"grad_cache": 2, "name": "sgd", "momentum": 0.0, "lr": 1.0})
    ends = []
    for mesh in (mesh1, mesh8):
        prog = program.make_program(config, INFO, mesh)
        ends.append(prog.step(prog.init(), batch(0, mesh)))
    np.testing.assert_allclose(ends[0][1]["loss"], ends[1][1]["loss"], rtol=1e-5)
    close(jax.device_get(ends[0][0].params), jax.device_get(ends[1][0].params), rtol=1e-4, atol=1e-5)
    config.optim.grad_cache = 3
    with pytest.raises(UserError, match="grad_cache=3 must divide the batch of 16"):
        program.make_program(config, INFO, mesh1)


def test_split_state_trains_as_whole_state_and_moves_from_eight_devices_to_four_to_one(
    mesh1, mesh8, tmp_path
):
    """Parameters, targets and the optimiser's state: a device holds an eighth; a checkpoint fits any mesh."""
    config = shrunk("moco")
    config.optim.update({"name": "sgd", "lr": 0.1})  # Adam makes much of rounding
    one = program.make_program(config, INFO, mesh1)
    expected = one.init()
    for number in range(3):
        expected, _ = one.step(expected, batch(number, mesh1))

    config.mesh.update({"fsdp": True, "fsdp_min_size": 16})  # nearly all of it, as of a large network
    mesh4 = parallel.make_mesh(jax.devices()[:4])
    eight, four = (program.make_program(config, INFO, mesh) for mesh in (mesh8, mesh4))
    state = eight.init()
    for part in (state.params, state.opt_state, state.method_state["target"]["params"]):
        local = sum(x.addressable_shards[0].data.size for x in jax.tree.leaves(part))
        assert local < sum(x.size for x in jax.tree.leaves(part)) / 3
    state, _ = eight.step(state, batch(0, mesh8))
    state = saved_and_restored(tmp_path / "to_four", eight, state, four)
    state, _ = four.step(state, batch(1, mesh4))
    state = saved_and_restored(tmp_path / "to_one", four, state, one)
    state, _ = one.step(state, batch(2, mesh1))
    close(jax.device_get(state), jax.device_get(expected), rtol=1e-3, atol=1e-5)


def test_who_only_looks_at_a_run_may_have_any_number_of_devices(mesh1, tmp_path):
    """A batch of 16 in 4 parts, split state, looked at on three devices."""
    config = shrunk("byol")
    config.optim.grad_cache = 4
    config.mesh.update({"fsdp": True, "fsdp_min_size": 16})
    mesh3 = parallel.make_mesh(jax.devices()[:3])
    with pytest.raises(UserError, match="multiple of the 3 device"):
        program.make_program(config, INFO, mesh3)
    one, three = (
        program.make_program(config, INFO, mesh1),
        program.make_program(config, INFO, mesh3, for_training=False),
    )
    state = one.init()
    images = batch(0, mesh1)["unlabeled"]["image"]
    want = one.features(state.params, state.method_state, images)
    moved = saved_and_restored(tmp_path, one, state, three)
    images = jax.device_put(images, parallel.replicated(mesh3))
    np.testing.assert_allclose(
        three.features(moved.params, moved.method_state, images), want, rtol=1e-5, atol=1e-6
    )
