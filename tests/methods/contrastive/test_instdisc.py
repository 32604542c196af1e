import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.methods import InstDisc
from tests.methods.reference import (
    ENCODER,
    ROWS,
    context,
    cross_entropy,
    listed,
    loss_of,
    one_by_one,
    same,
    start,
    unit,
    value_and_grad_of,
    vectors,
)

INDEX = np.array(vectors()["unlabeled"]["index"])


def make(**options):
    """With a bank in which every row, and those of no image too, is full."""
    method = InstDisc(ENCODER, **{"proj_dim": 6, "negatives": 0, "num_examples": 100, **options})
    params, state = start(method, vectors(1))
    rows = np.random.default_rng(5).normal(size=state["bank"].shape)
    return method, params, {**state, "bank": np.float32(unit(rows))}


def embedded(method, params, state):
    (found,), stats = one_by_one(method, params, state["stats"], listed(vectors(1)))
    return unit(found["projector"]), stats


@pytest.fixture(scope="module")
def whole():
    """A step against the whole bank."""
    method, params, state = make(bank_momentum=0.25, temperature=0.1)
    (value, output), grads = value_and_grad_of(method, params, state, vectors(1), context())
    return method, params, state, value, output, grads


def test_the_softmax_is_over_all_images_and_no_padding(whole):
    method, params, state, value, output, _ = whole
    z, stats = embedded(method, params, state)
    bank = np.array(state["bank"], np.float64)
    assert bank.shape == (256, 6)  # 156 rows belong to no image
    expected = cross_entropy(z @ bank[:100].T / 0.1, INDEX)
    np.testing.assert_allclose(value, expected, rtol=1e-5)  # with the rows as they were
    np.testing.assert_allclose(output.metrics["contrastive/information"], np.log(100) - expected, atol=1e-5)
    same(output.state["stats"], stats)


def test_the_rows_of_the_batch_move_after_the_loss(whole):
    method, params, state, _, output, _ = whole
    z, _ = embedded(method, params, state)
    bank = np.array(state["bank"])
    expected = bank.copy()
    expected[INDEX] = unit(0.25 * bank[INDEX] + 0.75 * z)
    np.testing.assert_allclose(output.state["bank"], expected, rtol=1e-4, atol=1e-6)
    others = np.setdiff1d(np.arange(256), INDEX)
    np.testing.assert_array_equal(output.state["bank"][others], bank[others])


def test_the_bank_is_a_constant_of_the_gradient(whole):
    method, params, state, _, _, grads = whole
    bank = jnp.asarray(state["bank"][:100])

    def loss(params):
        (found,), _ = one_by_one(method, params, state["stats"], listed(vectors(1)))
        z = found["projector"]
        z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
        return -jnp.mean(jax.nn.log_softmax(z @ bank.T / 0.1)[np.arange(ROWS), INDEX])

    same(grads, jax.jit(jax.grad(loss))(params), rtol=1e-3)


def test_the_bank_begins_with_random_unit_rows():
    bank = start(InstDisc(ENCODER, proj_dim=6, num_examples=100), vectors(1))[1]["bank"]
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1, rtol=1e-5)
    assert np.abs(np.mean(bank, axis=0)).max() < 0.2


@pytest.fixture(scope="module")
def drawn():
    return make(negatives=64, temperature=0.1, num_examples=10_000)


def test_drawn_negatives_and_the_own_row(drawn):
    method, params, state = drawn
    z, _ = embedded(method, params, state)
    draw = np.random.default_rng(0).normal
    other, own = unit(draw(size=6)), unit(draw(size=(ROWS, 6)))
    # Every row but those of the batch is the same, so that it does not matter which are drawn.
    bank = np.tile(np.float32(other), (len(state["bank"]), 1))
    bank[INDEX] = own
    value, output = loss_of(method, params, {**state, "bank": bank}, vectors(1), context())
    logits = np.concatenate([np.sum(z * own, 1, keepdims=True), np.tile(z @ other[:, None], 64)], axis=1)
    np.testing.assert_allclose(value, cross_entropy(logits / 0.1, np.zeros(ROWS, int)), rtol=1e-5)
    bank[INDEX] = unit(0.5 * own + 0.5 * z)
    np.testing.assert_allclose(output.state["bank"], bank, rtol=1e-4, atol=1e-6)


def test_negatives_are_never_padding_and_others_every_step():
    method, params, state = make(negatives=64)
    first, second = (loss_of(method, params, state, vectors(1), context(seed=i))[0] for i in (1, 2))
    assert first != second
    bank = np.array(state["bank"])
    bank[100:] = np.nan
    for seed, value in ((1, first), (2, second)):
        assert loss_of(method, params, {**state, "bank": bank}, vectors(1), context(seed=seed))[0] == value


def test_the_head_is_linear_and_collapse_causes():
    params, _ = jax.eval_shape(InstDisc(ENCODER, num_examples=9).init, jax.random.key(0), vectors(1))
    assert set(params["projector"]) == {"dense0"}
    assert not InstDisc(ENCODER).collapse_causes()
    assert "method.temperature=3.0" in InstDisc(ENCODER, temperature=3.0).collapse_causes()[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_dim": 0}, r"proj_dim=0 must be at least 1"),
        ({"temperature": 0.0}, r"temperature=0\.0 must be positive"),
        ({"negatives": -1}, r"negatives=-1 must be at least 0"),
        ({"bank_momentum": 1.5}, r"bank_momentum=1\.5 must be in \[0, 1\]"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        InstDisc(ENCODER, **options)


def test_it_takes_one_view():
    InstDisc(ENCODER).check(vectors(1))
    with pytest.raises(UserError, match=r"InstDisc takes one view of every image.* are 2"):
        InstDisc(ENCODER, views=("first", "second")).check(vectors(2))
