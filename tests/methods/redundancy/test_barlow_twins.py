import jax
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.methods import BarlowTwins
from tests.methods.reference import ENCODER, context, listed, loss_of, named, one_by_one, same, start, vectors


def official(z1, z2, weight):
    """The cross-correlation of the views, each through a batch norm without scale and offset."""
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (np.asarray(z, np.float64) for z in (z1, z2)))
    c = a.T @ b / len(a)
    return sum(
        (c[i, j] - 1) ** 2 if i == j else weight * c[i, j] ** 2 for i in range(len(c)) for j in range(len(c))
    )


def test_the_value_is_the_official_one_of_two_forward_passes():
    method = BarlowTwins(ENCODER, proj_hidden_dim=8, proj_dim=6, off_diagonal_weight=0.2, scale=0.3)
    params, state = start(method, vectors())
    value, output = loss_of(method, params, state, vectors(), context())
    both, stats = one_by_one(method, params, state["stats"], listed(vectors()))
    expected = official(both[0]["projector"], both[1]["projector"], 0.2)
    np.testing.assert_allclose(value, 0.3 * expected, rtol=1e-4)
    same(output.state, {"stats": stats})
    # In one pass both views would share their statistics, and the value would be another.
    together = {"unlabeled": {"views": named((np.concatenate(listed(vectors())),))}}
    (found,), _ = one_by_one(method, params, state["stats"], listed(together))
    shared = official(found["projector"][:8], found["projector"][8:], 0.2)
    assert abs(shared - expected) > 0.01 * expected


def test_the_head_and_the_defaults_are_the_papers():
    method = BarlowTwins(ENCODER)
    params, state = jax.eval_shape(method.init, jax.random.key(0), vectors())
    assert set(params["projector"]) == {"dense0", "bn0", "dense1", "bn1", "dense2"}
    assert all(set(params["projector"][f"dense{i}"]) == {"kernel"} for i in range(3))
    assert set(state["stats"]["projector"]) == {"bn0", "bn1"}  # the loss has the last batch norm
    assert params["projector"]["dense2"]["kernel"].shape == (8192, 8192)
    assert (method.off_diagonal_weight, method.scale) == (0.0051, 0.024)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"proj_dim": -1}, r"proj_dim=-1 must be at least 1"),
        ({"off_diagonal_weight": 0.0}, r"off_diagonal_weight=0\.0 must be positive"),
        ({"scale": -1.0}, r"scale=-1\.0 must be positive"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        BarlowTwins(ENCODER, **options)


@pytest.mark.parametrize("views", [1, 3])
def test_it_takes_two_views(views):
    with pytest.raises(UserError, match=f"BarlowTwins takes two views of every image.* are {views}"):
        BarlowTwins(ENCODER, views=("first", "second")[:views]).check(vectors(views))
