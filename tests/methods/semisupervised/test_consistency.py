"""Terms that ask for the same prediction twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses
from jssl.methods import Context
from jssl.methods.semisupervised.consistency import VAT, EntropyMinimization
from tests.methods.reference import start
from tests.methods.semisupervised.terms import CLASSES, CONTEXT, KEY, batch, begun, made
from tests.methods.test_contract import ENCODER, close


def test_a_teacher_is_an_average_that_forgets_where_it_began():
    method = made("consistency")
    params, state = begun(method)
    moved = jax.tree.map(lambda p: p + 1, params)
    first = Context(KEY, jnp.zeros((), jnp.int32), jnp.zeros(()))
    teacher = method.after_update(moved, state, first)["terms"]["mean_teacher"]["target"]
    close(teacher, {name: moved[name] for name in ("encoder", "classifier")}, 1e-6)


@pytest.mark.parametrize(
    ("on_labeled", "turned"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_entropy_of_the_images_that_are_asked_for(on_labeled, turned):
    method = EntropyMinimization(ENCODER, classes=CLASSES, on_labeled=on_labeled, turned=turned)
    params, state = start(method, batch())
    value, _ = jax.jit(method.loss)(params, state, batch(), CONTEXT)
    streams = ("unlabeled", "labeled") if on_labeled else ("unlabeled",)
    assert set(method.view_names(batch())) == set(streams)
    images = [
        np.rot90(batch()[stream]["views"]["weak"][0], quarters, axes=(1, 2))
        for stream in streams
        for quarters in range(4 if turned else 1)
    ]
    h, _ = ENCODER.apply(params["encoder"], state["stats"]["encoder"], np.concatenate(images), train=True)
    logits = method.classifier.apply(params["classifier"], {}, h, train=True)[0]
    np.testing.assert_allclose(value, losses.entropy(logits), rtol=1e-5)


def test_vat_sees_the_same_images_and_has_both_directions():
    values = {}
    for reverse in (False, True):
        for on_labeled in (False, True):
            method = VAT(ENCODER, classes=CLASSES, on_labeled=on_labeled, size=3.0, reverse=reverse)
            params, state = start(method, batch())
            params["classifier"] = jax.tree.map(lambda x: 40 * x, params["classifier"])
            loss = jax.jit(jax.value_and_grad(lambda p, m=method, s=state: m.loss(p, s, batch(), CONTEXT)[0]))
            values[reverse, on_labeled], grads = loss(params)
            assert all(np.any(g != 0) for g in jax.tree.leaves(grads["encoder"]))
    assert len({round(float(value), 6) for value in values.values()}) == 4
    assert all(value > 0 for value in values.values())
