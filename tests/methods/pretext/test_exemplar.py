"""Exemplar: views of an image against those of other images."""

import jax
import numpy as np
import pytest

from jssl import losses
from jssl.errors import UserError
from jssl.methods.pretext.exemplar import Exemplar
from tests.methods.reference import start
from tests.methods.semisupervised.terms import CONTEXT, batch
from tests.methods.test_contract import ENCODER


def test_every_image_of_both_streams_is_a_class_of_its_own():
    method = Exemplar(ENCODER, proj_dim=8)
    method.check(batch())
    params, state = start(method, batch())
    value, _ = jax.jit(method.loss)(params, state, batch(), CONTEXT)
    views = [copy for stream in ("unlabeled", "labeled") for copy in batch()[stream]["views"]["weak"]]
    large, small = len(views[0]), len(views[2])
    image = np.concatenate([np.arange(large), np.arange(large), *2 * [large + np.arange(small)]])
    h, _ = ENCODER.apply(params["encoder"], state["stats"]["encoder"], np.concatenate(views), train=True)
    z = losses.normalize(method.head.apply(params["head"], {}, h, train=True)[0])
    np.testing.assert_allclose(value, losses.batch_hard_triplet(z, image), rtol=1e-4)


def test_one_view_of_an_image_is_too_few():
    with pytest.raises(UserError, match=r"data\.unlabeled\.views\.strong\.copies to 2 or more"):
        Exemplar(ENCODER, view="strong", on_labeled=False).check(batch())
