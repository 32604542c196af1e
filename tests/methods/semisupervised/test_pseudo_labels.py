"""Terms that learn from their own predictions as labels."""

import jax
import numpy as np

from jssl.configs import semi
from tests.methods.semisupervised.terms import CLASSES, CONTEXT, EXAMPLES, batch, begun, made


def test_flexmatch_keeps_the_last_confident_pseudo_label_of_every_image():
    method = made("none", terms={"flexmatch": semi.term("flexmatch", threshold=0.5)})
    params, state = begun(method)
    pseudo_label = None
    for seed in range(2):
        rows = batch(seed)
        before = state["terms"]["flexmatch"]["pseudo_label"]
        _, output = jax.jit(method.loss)(params, state, rows, CONTEXT)
        state, index = output.state, np.asarray(rows["unlabeled"]["index"])
        pseudo_label = np.asarray(state["terms"]["flexmatch"]["pseudo_label"])
        others = np.setdiff1d(np.arange(EXAMPLES), index)
        np.testing.assert_array_equal(pseudo_label[others], before[others])
        counts = np.bincount(pseudo_label[pseudo_label >= 0], minlength=CLASSES)
        np.testing.assert_array_equal(state["terms"]["flexmatch"]["counts"], counts)
    assert 0 < (pseudo_label >= 0).sum() < EXAMPLES
