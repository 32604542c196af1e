"""Every method in the real train step, from its own config: compiled once, resumed exactly, on any mesh."""

import functools
import importlib

import jax
import numpy as np
import pytest
from etils import epath

from jssl.config import view as full_view
from jssl.data.streams import DataInfo
from jssl.train import program
from jssl.train.checkpoint import Checkpointer
from tests.conftest import tiny

INFO = DataInfo(256, (8, 8, 1), 1, 10)


def shrunk(name):
    """The digits preset, narrow and short, with views that cost no compilation."""
    config = tiny(importlib.import_module(f"jssl.configs.{name}").get_config("digits"))
    for view in config.data.unlabeled.views.values():
        view.update(full_view(8, copies=view.copies, flip_prob=0.5))
    config.method.update({"prototypes": 168} if "prototypes" in config.method else {})
    return config


@functools.cache
def on_one_device(name):
    """The program of a method, which several tests train with."""
    return program.make_program(shrunk(name), INFO, program.parallel.make_mesh(jax.devices()[:1]))


def batch(number, mesh):
    rng = np.random.default_rng(number)
    rows = {
        "image": rng.integers(0, 256, (16, 8, 8, 1), dtype=np.uint8),
        "index": rng.permutation(256)[:16].astype(np.int32),
        "label": rng.integers(0, 10, 16).astype(np.int32),
    }
    return {"unlabeled": jax.device_put(rows, program.parallel.batch_sharding(mesh))}


def saved_and_restored(folder, prog, state, onto):
    """A state through a checkpoint, onto the mesh of another program."""
    writer = Checkpointer(epath.Path(folder), keep_last=1, keep_best=False)
    writer.save(2, state, {})
    writer.wait()
    restored = writer.restore(onto.abstract_state())[0]
    writer.close()
    return restored


STATEFUL = ("dino", "instdisc", "moco", "swav")  # the others have the parts of one of these


@pytest.mark.parametrize("name", STATEFUL)
def test_a_resumed_run_is_the_run(name, mesh1, tmp_path):
    prog = on_one_device(name)
    states = [prog.init()]
    for number in range(4):
        before = jax.tree.map(np.array, states[-1])
        state, metrics = prog.step(jax.device_put(before, prog.shardings), batch(number, mesh1))
        states.append(state)
        assert np.isfinite(float(metrics["loss"]))
    state = saved_and_restored(tmp_path, prog, states[2], prog)
    for number in (2, 3):
        state, _ = prog.step(state, batch(number, mesh1))
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(states[4])):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))
    assert prog.step._cache_size() == 1
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), states[4].method_state, prog.init().method_state)
    assert set(moved) - {"stats"} <= {"target", "queue", "queues", "bank", "center"}
    assert all(any(jax.tree.leaves(part)) for part in moved.values())  # nothing lies there unused


LARGE = {
    "moco": ("queue",),
    "instdisc": ("bank",),
    "dino": ("prototypes", "kernel"),  # as SwAV
}


@pytest.mark.parametrize("name", sorted(LARGE))
def test_what_is_large_is_split_over_devices_never_whole_on_one_and_moves_to_other_meshes(
    name, mesh1, mesh8, tmp_path
):
    one, eight = on_one_device(name), program.make_program(shrunk(name), INFO, mesh8)
    state = saved_and_restored(tmp_path, one, one.init(), eight)
    large = state.params if "prototypes" in LARGE[name] else state.method_state
    for key in LARGE[name]:
        large = large[key]
    large = large.rows if name == "moco" else large
    assert large.addressable_shards[0].data.size == large.size // 8
    compiled = eight.compile()
    text = compiled.as_text()
    for shape in (large.shape, large.shape[::-1]):
        assert "f32[{},{}]".format(*shape) not in text, "a device holds all of it"
    state, metrics = compiled(state, batch(0, mesh8))
    expected, expected_metrics = one.step(one.init(), batch(0, mesh1))
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)
    for x, y in zip(jax.tree.leaves(state.method_state), jax.tree.leaves(expected.method_state)):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
