"""Rotation prediction, alone and with labelled images."""

import dataclasses

import jax
import numpy as np
import pytest

from jssl.methods.pretext.rotation import Rotation
from tests.methods.reference import start
from tests.methods.semisupervised.terms import CONTEXT, batch
from tests.methods.test_contract import ENCODER


@pytest.mark.parametrize("labelled", [False, True])
def test_the_loss_is_that_of_four_classes_over_all_turns(labelled):
    """Against a pass of its own over images turned by numpy; the labelled ones are turned where there are some."""
    rows = batch() if labelled else {"unlabeled": batch()["unlabeled"]}
    method = Rotation(ENCODER)
    params, state = start(method, rows)
    value, output = jax.jit(method.loss)(params, state, rows, CONTEXT)
    images = [rows[stream]["views"]["weak"][0] for stream in rows]
    turned = [np.rot90(x, quarters, axes=(1, 2)) for x in images for quarters in range(4)]
    quarters = np.concatenate([np.full(len(x), i % 4) for i, x in enumerate(turned)])
    h, _ = ENCODER.apply(params["encoder"], state["stats"]["encoder"], np.concatenate(turned), train=True)
    logits = np.asarray(method.head.apply(params["head"], {}, h, train=True)[0], np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(value, -log_p[np.arange(len(quarters)), quarters].mean(), rtol=1e-5)
    np.testing.assert_allclose(output.metrics["top1"], (logits.argmax(1) == quarters).mean())


def test_labelled_images_may_be_left_out():
    method = dataclasses.replace(Rotation(ENCODER), on_labeled=False)
    assert {ref.stream for ref in method.requested_views(batch())} == {"unlabeled"}
    assert method.view_names(batch()) == {"unlabeled": ("weak",)}
    params, state = start(method, batch())
    other = batch()
    other["labeled"] = jax.tree.map(lambda x: 2 * x, other["labeled"])
    loss = jax.jit(method.loss)
    assert loss(params, state, batch(), CONTEXT)[0] == loss(params, state, other, CONTEXT)[0]
