"""Losses of boxes against NumPy in double precision, cell by cell, and extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import losses

SHAPE, CLASSES = (5, 7), 3
BOXES = [
    [[0.1, 0.1, 0.5, 0.4], [0.3, 0.2, 0.9, 0.9], [0, 0, 0, 0]],
    [[0, 0, 1, 1], [0.6, 0.6, 0.9, 0.9], [0, 0.7, 0.2, 1]],
]
LABELS = [[0, 2, -1], [1, 1, 0]]
CERTAIN = [[True, True, True], [True, True, False]]


@pytest.fixture(scope="module")
def targets():
    arguments = jnp.array(BOXES), jnp.array(LABELS), jnp.array(CERTAIN)
    return jax.tree.map(np.asarray, losses.center_targets(*arguments, CLASSES, SHAPE))


def gaussian(box):
    """Around the cell of the middle, its standard deviations in proportion to the sides."""
    found = np.ones(SHAPE)
    for cell in np.ndindex(SHAPE):
        for axis, side in enumerate(SHAPE):
            middle = min(np.floor((box[axis] + box[axis + 2]) / 2 * side), side - 1)
            spread = max(0.09 * (box[axis + 2] - box[axis]) * side, 0.3)
            found[cell] *= np.exp(-((cell[axis] - middle) ** 2) / (2 * spread**2))
    return found


def test_every_box_has_a_gaussian_in_the_map_of_its_class(targets):
    for image in range(2):
        known = [n for n in range(3) if LABELS[image][n] >= 0 and CERTAIN[image][n]]
        each = np.stack([gaussian(BOXES[image][n]) for n in known])
        expected = np.zeros((*SHAPE, CLASSES))
        for label in range(CLASSES):
            own = [g for n, g in zip(known, each) if LABELS[image][n] == label]
            expected[..., label] = np.max(own, axis=0) if own else 0
        np.testing.assert_allclose(targets["heat"][image], expected, atol=1e-6)
        np.testing.assert_allclose(targets["weight"][image], each.max(axis=0), atol=1e-6)
        largest = np.array(BOXES[image])[known][each.argmax(axis=0)]
        there = each.max(axis=0) > 1e-3
        np.testing.assert_allclose(targets["boxes"][image][there], largest[there], rtol=1e-6)
    assert (targets["heat"] == 1).sum() == 4


def test_around_what_is_uncertain_nothing_is_learnt(targets):
    scored = targets["scored"]
    assert scored[1, 0, 5, 0] == 0  # the middle of the uncertain box
    assert scored[0].all()
    assert scored[1, ..., 1:].all()


def test_the_focal_loss_of_a_heat_map(targets):
    rng = np.random.default_rng(0)
    heat, scored = (np.float64(targets[name]) for name in ("heat", "scored"))
    logits = rng.normal(size=heat.shape)
    p, total = 1 / (1 + np.exp(-logits)), 0.0
    for cell in np.ndindex(heat.shape):
        if heat[cell] == 1:
            total -= (1 - p[cell]) ** 2 * np.log(p[cell])
        else:
            total -= scored[cell] * (1 - heat[cell]) ** 4 * p[cell] ** 2 * np.log(1 - p[cell])
    found = losses.heat_map_focal(*map(jnp.asarray, (logits, heat, scored)))
    assert float(found) == pytest.approx(total / 4, rel=1e-5)


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_the_focal_loss_has_finite_slopes_at_extremes(size):
    heat = jnp.array([[[[1.0], [0.5]]]])
    slope = jax.grad(losses.heat_map_focal)(jnp.full(heat.shape, size), heat, jnp.ones_like(heat))
    assert np.isfinite(slope).all()
    with pytest.raises(ValueError, match=r"^heat_map_focal: .* must be one shape$"):
        losses.heat_map_focal(heat, heat, heat[0])


def test_generalised_overlap_of_boxes_on_a_grid_by_counting():
    rng = np.random.default_rng(1)
    corners = np.sort(rng.integers(0, 12, (2, 30, 2, 2)), axis=2)  # low and high, of both axes
    boxes = corners.reshape(2, 30, 4)
    inside = np.zeros((2, 30, 12, 12), bool)
    for side, number in np.ndindex(2, 30):
        y0, x0, y1, x1 = boxes[side, number]
        inside[side, number, y0:y1, x0:x1] = True
    for a, b, in_a, in_b in zip(*boxes, *inside):
        if not (in_a.any() and in_b.any()):
            continue
        union, inner = (in_a | in_b).sum(), (in_a & in_b).sum()
        low, high = np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])
        expected = inner / union - (np.prod(high - low) - union) / np.prod(high - low)
        found = losses.generalized_iou(jnp.asarray(a, float), jnp.asarray(b, float))
        assert float(found) == pytest.approx(expected, abs=1e-5)


def test_boxes_without_area_have_finite_slopes():
    slope = jax.grad(losses.generalized_iou)(jnp.zeros(4), jnp.array([0.5, 0.5, 0.5, 0.5]))
    assert np.isfinite(slope).all()
