"""Sobel filters before an encoder."""

import jax
import numpy as np
from scipy import ndimage

from jssl import models
from jssl.models import filters


def test_the_filters_are_scipys_but_at_the_border():
    images = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype(np.float32)
    found = np.asarray(filters.sobel(images))
    for image, own in zip(images.mean(-1), found):
        for channel, axis in enumerate((1, 0)):
            expected = ndimage.sobel(image, axis)[1:-1, 1:-1]
            np.testing.assert_allclose(own[1:-1, 1:-1, channel], expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_behind_them_sees_two_channels_and_no_colours():
    encoder = models.convnet(width=4, strides=(2,))
    with_sobel = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2,)}, "sobel": True})
    assert with_sobel != encoder
    images = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype(np.float32)
    params, stats = with_sobel.init(jax.random.key(0), images)
    assert params["base"]["conv0"]["kernel"].shape == (3, 3, 2, 4)
    features, _ = with_sobel.apply(params, stats, images, train=False)
    other, _ = with_sobel.apply(params, stats, images[..., ::-1], train=False)
    np.testing.assert_allclose(features, other, rtol=1e-5)
    assert with_sobel.feature_map(params, stats, images).shape == (2, 4, 4, 4)
    assert list(with_sobel.layer_maps(params, stats, images)) == ["block1"]
