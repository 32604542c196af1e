"""Mixup and CutMix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.data import augment


def weights_of(seed, **alphas):
    return np.asarray(augment.mixing_weights(jax.random.key(seed), 9, 12, **alphas))


def test_mixup_takes_one_part_of_all_pixels():
    found = [weights_of(seed, mixup=0.4) for seed in range(8)]
    assert all(np.ptp(each) == 0 and 0 <= each.min() <= each.max() <= 1 for each in found)
    assert len({float(each[0, 0, 0]) for each in found}) == 8


def test_cutmix_takes_a_rectangle():
    areas = []
    for seed in range(30):
        other = weights_of(seed, cutmix=1.0)[..., 0] == 0
        rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        areas.append(other.mean())
        if len(rows):
            assert other[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert 0.1 < np.mean(areas) < 0.6  # a half before it is cut at the border


def test_with_both_either_is_drawn_and_with_none_nothing_is_mixed():
    kinds = {len(np.unique(weights_of(seed, mixup=0.8, cutmix=1.0))) for seed in range(20)}
    assert kinds == {1, 2}
    assert (weights_of(0) == 1).all()


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_labels_are_mixed_as_pixels_are(alphas):
    """Images that are their own label everywhere have it in the mean afterwards."""
    labels = jnp.array([0.0, 1.0, 2.0, 5.0])
    images = jnp.broadcast_to(labels[:, None, None, None], (4, 9, 12, 1))
    weights = augment.mixing_weights(jax.random.key(3), 9, 12, **alphas)
    mixed = augment.mix(weights, images).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mixed, augment.mix(jnp.mean(weights), labels), rtol=1e-5)
    assert not np.allclose(mixed, labels)
