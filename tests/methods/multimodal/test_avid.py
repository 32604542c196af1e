"""AVID: every modality against the other's bank, and a classifier of pairs that teaches nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jssl
from jssl import losses, models, rng
from jssl.configs import avid
from jssl.errors import UserError
from jssl.methods import Context
from jssl.methods.memory import update_bank
from jssl.methods.multimodal.audio_visual import accuracy
from jssl.methods.multimodal.avid import AVID
from tests.conftest import tiny

ROWS, EXAMPLES, NEGATIVES = 8, 40, 24
ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,), "norm": "layer"}})
SIZES = {"hidden_dim": 8, "proj_dim": 6, "sound_width": 4, "sound_strides": (2,)}
CONTEXT = Context(jax.random.key(1), jnp.zeros((), jnp.int32), jnp.zeros(()))
INDEX = np.arange(ROWS) * 5 % EXAMPLES


def method(**changes):
    return AVID(encoder=ENCODER, **{**SIZES, "num_examples": EXAMPLES, "negatives": NEGATIVES, **changes})


def batch():
    own = np.random.default_rng(0)
    images = jnp.asarray(own.uniform(size=(ROWS, 8, 8, 3)), jnp.float32)
    sounds = jnp.asarray(own.normal(size=(ROWS, 6, 10, 1)), jnp.float32)
    return {"unlabeled": {"views": {"first": (images,)}, "audio": sounds, "index": jnp.asarray(INDEX)}}


@pytest.fixture(scope="module")
def stepped():
    own, data = method(temperature=0.2, bank_momentum=0.25), batch()
    params, state = jax.jit(own.init)(jax.random.key(0), data)

    def run(params):
        (value, output), grads = jax.value_and_grad(own.loss, has_aux=True)(params, state, data, CONTEXT)
        seen, heard, _ = own._forward_pairs(params, state["stats"], data, CONTEXT)
        return value, output, grads, losses.normalize(seen["projector"]), losses.normalize(heard[0])

    return own, params, state, jax.device_get(jax.jit(run)(params))


def test_each_modality_picks_its_own_row_among_the_others(stepped):
    own, _, state, (value, output, _, a, b) = stepped
    key = rng.derive(CONTEXT.key, "negatives")
    drawn = np.asarray(jax.random.randint(key, (NEGATIVES,), 0, EXAMPLES))
    images, sounds = (np.asarray(state[name], np.float64) for name in own.sharded)
    assert images.shape == sounds.shape == (256, 6)
    found = []
    for z, bank in ((a, sounds), (b, images)):
        candidates = (
            np.concatenate([(z * bank[INDEX]).sum(1, keepdims=True), z @ bank[drawn].T], axis=1) / 0.2
        )
        found.append(np.log(np.exp(candidates).sum(axis=1)) - candidates[:, 0])
    probe = output.metrics["correspondence/loss"]
    np.testing.assert_allclose(value, np.mean(found) + probe, rtol=1e-4)
    for name, bank, z in zip(own.sharded, (images, sounds), (a, b)):
        expected = update_bank(jnp.asarray(bank, jnp.float32), jnp.asarray(INDEX), z, 0.25)
        np.testing.assert_allclose(output.state[name], expected, atol=1e-5)
        others = np.setdiff1d(np.arange(256), INDEX)
        np.testing.assert_array_equal(output.state[name][others], state[name][others])


def test_the_probe_learns_and_teaches_nothing(stepped):
    own, params, state, (_, output, grads, a, b) = stepped
    assert own.auxiliary == ("pair_classifier",)
    assert all(abs(leaf) > 0 for leaf in jax.tree.leaves(grads["pair_classifier"]))
    logits = [own.pair_logits(params, a, z) for z in (b, np.roll(b, -1, axis=0))]
    np.testing.assert_allclose(output.metrics["correspondence/accuracy"], accuracy(*logits), atol=1e-6)
    moved = {**params, "pair_classifier": {"scale": jnp.float32(2.0), "threshold": jnp.float32(0.3)}}
    other = jax.jit(jax.grad(lambda p: own.loss(p, state, batch(), CONTEXT)[0]))(moved)
    for name in ("encoder", "projector", "sound", "sound_projector"):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-6), other[name], grads[name]
        )
        assert all(abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads[name]))


def test_what_it_cannot_compare_is_said():
    with pytest.raises(UserError, match=r"set method\.fusion='distance' .*, not 'concat' and 'another'$"):
        method(fusion="concat").check(batch())
    with pytest.raises(UserError, match=r", not 'distance' and 'shifted'$"):
        method(negative_sounds="shifted").check(batch())


def test_a_run_is_scored_by_retrieval_and_correspondence(tmp_path):
    config = tiny(avid.get_config())
    config.evals.knn.enabled = config.evals.linear.enabled = False
    result = jssl.run(config, tmp_path / "run")
    assert 0 <= result["correspondence/accuracy"] <= 1
    assert {"retrieval/image_to_sound/r1", "retrieval/sound_to_image/r1"} <= result.values.keys()
