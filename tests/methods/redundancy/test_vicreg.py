import jax
import numpy as np
import pytest

from jssl.errors import UserError
from jssl.methods import VICReg
from tests.methods.reference import ENCODER, context, listed, loss_of, one_by_one, same, start, vectors

WEIGHTS = {"invariance": 3.0, "variance": 5.0, "covariance": 2.0}


def official(z1, z2, as_in_paper=False):
    """The terms of the official code, with torch's unbiased variance; the paper halves and averages less."""
    z1, z2 = (np.asarray(z, np.float64) for z in (z1, z2))
    d = z1.shape[1]
    invariance = np.mean((z1 - z2) ** 2) * (d if as_in_paper else 1)
    variance, covariance = 0.0, 0.0
    for z in (z1, z2):
        variance += np.mean(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)))
        c = np.cov(z.T)
        covariance += (np.sum(c**2) - np.sum(np.diag(c) ** 2)) / d
    return {
        "invariance": invariance,
        "variance": variance / (1 if as_in_paper else 2),
        "covariance": covariance,
    }


@pytest.mark.parametrize("as_in_paper", [False, True])
def test_the_value_is_the_sum_of_the_official_terms_of_two_forward_passes(as_in_paper):
    method = VICReg(ENCODER, proj_hidden_dim=8, proj_dim=6, as_in_paper=as_in_paper, **WEIGHTS)
    params, state = start(method, vectors())
    value, output = loss_of(method, params, state, vectors(), context())
    both, stats = one_by_one(method, params, state["stats"], listed(vectors()))
    z1, z2 = (o["projector"] for o in both)
    terms = {name: WEIGHTS[name] * term for name, term in official(z1, z2, as_in_paper).items()}
    assert min(terms.values()) > 1e-3  # each says something here
    np.testing.assert_allclose(value, sum(terms.values()), rtol=1e-4)
    for name, term in terms.items():
        np.testing.assert_allclose(output.metrics[f"vicreg/{name}"], term, rtol=1e-4)
    same(output.state, {"stats": stats})


def test_the_head_and_the_defaults_are_the_papers():
    method = VICReg(ENCODER)
    params, state = jax.eval_shape(method.init, jax.random.key(0), vectors())
    assert set(params["projector"]) == {"dense0", "bn0", "dense1", "bn1", "dense2"}
    assert set(params["projector"]["dense2"]) == {"kernel"}
    assert set(state["stats"]["projector"]) == {"bn0", "bn1"}
    assert params["projector"]["dense2"]["kernel"].shape == (8192, 8192)
    assert (method.invariance, method.variance, method.covariance) == (25.0, 25.0, 1.0)
    assert not method.as_in_paper


def test_collapse_causes():
    assert not VICReg(ENCODER).collapse_causes()
    assert (
        "method.variance=0.0: nothing keeps the dimensions alive"
        in VICReg(ENCODER, variance=0.0).collapse_causes()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_hidden_dim": 0}, r"proj_hidden_dim=0 must be at least 1"),
        ({"proj_dim": 0}, r"proj_dim=0 must be at least 1"),
        ({"invariance": 0.0}, r"invariance=0\.0 must be positive"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        VICReg(ENCODER, **options)


@pytest.mark.parametrize("views", [1, 3])
def test_it_takes_two_views(views):
    with pytest.raises(UserError, match=f"VICReg takes two views of every image.* are {views}"):
        VICReg(ENCODER, views=("first", "second")[:views]).check(vectors(views))
