"""DCL against its equation, in every form of similarity."""

import jax
import numpy as np
import pytest

from jssl import losses
from jssl.losses.ring import Ring
from jssl.methods.contrastive.dcl import DCL
from tests.losses.test_contrastive import embeddings
from tests.methods.reference import ENCODER, context, loss_of, start, vectors


def oracle(z1, z2, temperature):
    """Equation 6 in float64: for every anchor its positive, and the sum over both views of all other images."""
    z1, z2 = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in np.asarray([z1, z2], np.float64))
    total = 0.0
    for a, b in ((z1, z2), (z2, z1)):
        for i in range(len(a)):
            others = [j for j in range(len(a)) if j != i]
            scores = np.concatenate([a[others] @ a[i], b[others] @ a[i]]) / temperature
            total += np.log(np.exp(scores).sum()) - a[i] @ b[i] / temperature
    return total / (2 * len(z1))


@pytest.mark.parametrize("form", ["dense", "blockwise", "ring"])
def test_the_loss_is_equation_six(form, mesh8):
    z1, z2 = embeddings()
    z1, z2 = z1[: len(z1) // 8 * 8], z2[: len(z2) // 8 * 8]
    similarity = {"dense": losses.DENSE, "blockwise": losses.Blockwise(3), "ring": Ring(mesh8)}[form]
    value, gradient = jax.jit(jax.value_and_grad(losses.decoupled_contrastive), static_argnums=(2, 3))(
        z1, z2, 0.2, similarity
    )
    np.testing.assert_allclose(value, oracle(z1, z2, 0.2), rtol=1e-5)
    dense = jax.grad(losses.decoupled_contrastive)(z1, z2, 0.2)
    np.testing.assert_allclose(gradient, dense, rtol=1e-3, atol=1e-6)


def test_the_method_is_simclr_with_another_loss():
    method = DCL(ENCODER, proj_hidden_dim=8, proj_dim=6, temperature=0.5)
    params, state = start(method, vectors())
    value, output = loss_of(method, params, state, vectors(), context())
    assert np.isfinite(value)
    assert output.features.shape[0] == 8
    with pytest.raises(ValueError, match="temperature"):
        losses.decoupled_contrastive(*embeddings(), temperature=0.0)
