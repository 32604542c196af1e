"""What an encoder sees: Sobel filters, some channels, two encoders a part each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jssl import models
from jssl.errors import UserError
from jssl.models import filters
from jssl.train import optim


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


SMALL = {"name": "convnet", "convnet": {"width": 4, "strides": (2, 1)}}


def noise(channels=3):
    return np.random.default_rng(0).normal(size=(2, 8, 8, channels)).astype(np.float32)


def test_an_encoder_of_one_channel_does_not_see_the_others():
    encoder, images = models.encoder({**SMALL, "channels": (0,)}), noise()
    params, stats = encoder.init(jax.random.key(0), images)
    assert params["base"]["conv0"]["kernel"].shape == (3, 3, 1, 4)
    other = images + np.array([0, 3, -2], np.float32)
    for method in ("__call__", "feature_map"):
        seen, again = (
            encoder.apply(params, stats, x, train=False, method=method)[0] for x in (images, other)
        )
        np.testing.assert_array_equal(seen, again)
    alone = models.encoder(SMALL).feature_map(params["base"], stats["base"], images[..., :1])
    np.testing.assert_array_equal(encoder.feature_map(params, stats, images), alone)


def test_two_encoders_side_by_side_see_a_part_each_and_are_joined():
    encoder, images = models.encoder({**SMALL, "split_brain": True}), noise()
    params, stats = encoder.init(jax.random.key(0), images)
    assert params["first"]["conv0"]["kernel"].shape == (3, 3, 1, 4)
    assert params["others"]["conv0"]["kernel"].shape == (3, 3, 2, 4)
    features = encoder.apply(params, stats, images, train=False)[0]
    assert features.shape == (2, 16)
    for part, half in (([1, 0, 0], slice(8, None)), ([0, 1, 1], slice(0, 8))):
        other = encoder.apply(params, stats, images + np.array(part, np.float32), train=False)[0]
        np.testing.assert_array_equal(other[:, half], features[:, half])
        assert (np.asarray(other != features)).any()
    maps = encoder.layer_maps(params, stats, images)
    assert {name: layer.shape[-1] for name, layer in maps.items()} == {"block1": 8, "block2": 16}
    np.testing.assert_array_equal(maps["block2"], encoder.feature_map(params, stats, images))


def test_channels_that_there_are_not_are_said():
    with pytest.raises(UserError, match=r"encoder.channels=\(0, 3\): images have the channels 0 to 2"):
        models.encoder({**SMALL, "channels": (0, 3)}).init(jax.random.key(0), noise())
    with pytest.raises(UserError, match="takes images of two channels or more"):
        models.encoder({**SMALL, "split_brain": True}).init(jax.random.key(0), noise(1))
    with pytest.raises(UserError, match="must be a tuple of whole numbers of at least 0"):
        models.encoder({**SMALL, "channels": (-1,)})


@pytest.mark.parametrize(
    "wrapper",
    [{"sobel": True}, {"channels": (0,)}, {"split_brain": True}, {"per_frame": True}, {"window": 2}],
)
def test_what_wraps_an_encoder_has_its_settings(wrapper):
    vit = {"patch_size": 4, "image_size": 8, "heads": 2, "drop_path": 0.3}
    encoder = models.encoder({"name": "vit_mini", "vit": vit, **wrapper})
    assert encoder.pool == "cls"
    images = jnp.ones((2, 8, 8, 3))
    params, stats = jax.eval_shape(encoder.init, jax.random.key(0), images)
    with pytest.raises(Exception, match="drop-path needs a random key"):
        jax.eval_shape(lambda p, s: encoder.apply(p, s, images, train=True)[0], params, stats)
    still = encoder.without_drop_path()
    jax.eval_shape(lambda p, s: still.apply(p, s, images, train=True)[0], params, stats)
    grouped = models.encoder({"name": "convnet", "convnet": {"batch_norm_groups": 2}, **wrapper})
    assert grouped.batch_norm_groups == 2
    factors = optim.layer_factors({"encoder": params}, 0.5)
    assert len(set(jax.tree.leaves(factors))) == 6  # four blocks, what comes before, and the last norm
