import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses, models
from jssl.errors import UserError
from jssl.methods import Context, SimCLR
from tests.methods.reference import forward, listed, loss_of, named, start
from tests.methods.test_contract import CONTEXT, batch

ENCODER = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}})


def make(**options):
    method = SimCLR(ENCODER, proj_hidden_dim=8, proj_dim=8, **options)
    return method, *start(method, batch())


@pytest.mark.parametrize(("version", "layers"), [(1, 2), (2, 3)])
def test_versions_have_heads_of_two_and_three_layers(version, layers):
    _, params, _ = make(version=version)
    kernels = [leaf for leaf in jax.tree.leaves(params["projector"]) if leaf.ndim == 2]
    assert len(kernels) == layers
    assert SimCLR(ENCODER).proj_hidden_dim == 2048  # the paper's


@pytest.mark.parametrize("batch_norm", [True, False])
def test_head_with_and_without_batch_norm(batch_norm):
    _, params, state = make(head_batch_norm=batch_norm)
    assert bool(jax.tree.leaves(state["stats"]["projector"])) == batch_norm
    last = [k for k in jax.tree_util.tree_leaves_with_path(params["projector"]) if "dense1" in str(k[0])]
    assert ("bias" in str(last)) != batch_norm  # no bias where a batch norm follows


def test_the_loss_is_nt_xent_of_one_forward_pass_over_both_views():
    method, params, state = make(temperature=0.2)
    value, output = loss_of(method, params, state, batch(), CONTEXT)
    both = np.concatenate(listed(batch()))
    found, stats = forward(method, params, state["stats"], both)
    h, z = np.asarray(found["encoder"]), np.asarray(found["projector"])
    np.testing.assert_allclose(value, losses.nt_xent(z[:16], z[16:], 0.2), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        output.state["stats"]["encoder"],
        stats["encoder"],
    )
    np.testing.assert_allclose(output.features, h[:16], rtol=1e-5, atol=1e-6)


def test_swapping_the_views_and_blocks_change_nothing():
    method, params, state = make()
    value, _ = loss_of(method, params, state, batch(), CONTEXT)
    one, two = listed(batch())
    swapped = {"unlabeled": {**batch()["unlabeled"], "views": named((two, one))}}
    np.testing.assert_allclose(loss_of(method, params, state, swapped, CONTEXT)[0], value, rtol=1e-5)
    blockwise = SimCLR(ENCODER, proj_hidden_dim=8, proj_dim=8, similarity="blockwise", block_size=5)
    np.testing.assert_allclose(loss_of(blockwise, params, state, batch(), CONTEXT)[0], value, rtol=1e-5)


def test_bfloat16_keeps_parameters_and_loss_in_single_precision():
    encoder = models.encoder(
        {"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}}, dtype="bfloat16"
    )
    method = SimCLR(encoder, proj_hidden_dim=8, proj_dim=8, dtype="bfloat16")
    params, state = start(method, batch())
    value, output = loss_of(method, params, state, batch(), CONTEXT)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state, output.state))} == {jnp.dtype("float32")}
    single = loss_of(make()[0], params, state, batch(), CONTEXT)[0]
    np.testing.assert_allclose(value, single, rtol=0.05)


def test_it_learns_to_tell_a_batch_apart():
    method, params, state = make()

    @jax.jit
    def step(params, state):
        (value, output), grads = jax.value_and_grad(method.loss, has_aux=True)(
            params, state, batch(), Context(jax.random.key(0), jnp.zeros((), jnp.int32), jnp.zeros(()))
        )
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), output.state, value, output.metrics

    first = None
    for _ in range(60):
        params, state, value, metrics = step(params, state)
        first = value if first is None else first
    assert value < 0.5 * first
    assert metrics["contrastive/accuracy"] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3}, "valid are 1, 2"),
        ({"temperature": 0.0}, "must be positive"),
        ({"proj_hidden_dim": 0}, "must be at least 1"),
        ({"block_size": -1}, "at least 0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        SimCLR(ENCODER, **options)


def test_a_batch_of_one_has_no_negatives():
    with pytest.raises(UserError, match="must be > 1"):
        make()[0].check(batch(rows=1))
