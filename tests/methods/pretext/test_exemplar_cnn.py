"""Exemplar-CNN: a softmax over all images."""

import logging

import numpy as np

from jssl.methods.pretext.exemplar_cnn import ExemplarCNN
from tests.methods.reference import ENCODER, context, forward, listed, loss_of, moved, start, vectors


def test_the_loss_is_that_of_the_images_numbers_among_all_images():
    method, rows = ExemplarCNN(ENCODER, num_examples=40), vectors(1)
    params, state = start(method, rows)
    params = moved(params)
    value, _ = loss_of(method, params, state, rows, context())
    h, _ = forward(method, params, state["stats"], listed(rows)[0])
    logits = np.asarray(h["exemplars"], np.float64)[:, :40]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    index = np.asarray(rows["unlabeled"]["index"])
    np.testing.assert_allclose(value, -log_p[np.arange(8), index].mean(), rtol=1e-5)


def test_many_images_are_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        ExemplarCNN(ENCODER, num_examples=16000).check(vectors(1))
        assert not caplog.records
        ExemplarCNN(ENCODER, num_examples=16001).check(vectors(1))
    assert "16,001 classes, one for every image" in caplog.text
