"""Object detection without anchors: heat maps of centres, and boxes that are told from their centres."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.types import Array

SPREAD = 0.09  # standard deviation of a centre's Gaussian, as a part of the box's sides
NARROWEST = 0.3  # the same, at the least, in cells of the map
EPSILON = 1e-6


def center_targets(
    boxes: Array, labels: Array, certain: Array, classes: int, shape: tuple[int, int]
) -> dict[str, Array]:
    """What a map should say of the boxes of images.

    Every box has a Gaussian around the cell of its centre, in the map of its class; of several the largest counts.

    Args:
      boxes: float32[B, M, 4], y0, x0, y1, x1 as parts of the sides.
      labels: int32[B, M] in [0, classes), -1 where there is no box.
      certain: bool[B, M]; around the centres of others nothing is learnt.
      classes: their number.
      shape: of the map, (h, w).

    Returns:
      'heat' float32[B, h, w, classes] in [0, 1], 1 in the cells of centres; 'scored' of the same shape, 0 where
      nothing is learnt, else 1; 'boxes' float32[B, h, w, 4], of each cell that whose Gaussian is largest there; and
      'weight' float32[B, h, w], that Gaussian.

    References:
      Zhou et al., Objects as Points, 2019 (the heat map). https://arxiv.org/abs/1904.07850
      Liu et al., Training-Time-Friendly Network, 2019 (the Gaussian, and its cells tell the box, too).
      https://arxiv.org/abs/1909.00700

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> box, label, sure = jnp.array([[[0.0, 0.0, 1.0, 1.0]]]), jnp.array([[0]]), jnp.array([[True]])
      >>> print(losses.center_targets(box, label, sure, 1, (3, 3))["heat"][0, 1, :, 0].round(3))
      [0.004 1.    0.004]
    """
    size = jnp.array(shape, jnp.float32)
    centres = jnp.minimum(jnp.floor((boxes[..., :2] + boxes[..., 2:]) / 2 * size), size - 1)
    spread = jnp.maximum(SPREAD * (boxes[..., 2:] - boxes[..., :2]) * size, NARROWEST)
    rows, columns = (
        jnp.exp(-0.5 * jnp.square((jnp.arange(side) - centres[..., axis, None]) / spread[..., axis, None]))
        for axis, side in enumerate(shape)
    )
    gaussian = rows[..., :, None] * columns[..., None, :]  # [B, M, h, w]
    heat, unsure = (
        _by_class(gaussian * chosen[..., None, None], labels, classes)
        for chosen in ((labels >= 0) & certain, (labels >= 0) & ~certain)
    )
    gaussian = gaussian * ((labels >= 0) & certain)[..., None, None]
    nearest = jnp.argmax(gaussian, axis=1)
    own = jnp.take_along_axis(boxes, nearest.reshape(len(boxes), -1, 1), axis=1)
    return {
        "heat": heat,
        "scored": (unsure <= heat).astype(jnp.float32),
        "boxes": own.reshape(len(boxes), *shape, 4),
        "weight": jnp.max(gaussian, axis=1),
    }


def _by_class(gaussian: Array, labels: Array, classes: int) -> Array:
    """The largest of the maps [B, M, h, w] of every class, [B, h, w, classes]."""
    images = jnp.arange(len(gaussian))[:, None]
    empty = jnp.zeros((len(gaussian), classes, *gaussian.shape[2:]))
    return jnp.moveaxis(empty.at[images, jnp.maximum(labels, 0)].max(gaussian), 1, -1)


def heat_map_focal(logits: Array, heat: Array, scored: Array, power: float = 2.0, near: float = 4.0) -> Array:
    """Focal loss of a heat map that costs less in the neighbourhood of centres.

    A centre, where heat is 1, costs -(1 - p)^power log p, every other cell -(1 - heat)^near p^power log(1 - p).

    Args:
      logits: float[B, h, w, classes], of p.
      heat: float[B, h, w, classes] in [0, 1].
      scored: of the same shape, 0 where nothing is learnt.
      power: how little cells cost that are right already.
      near: how little cells cost that lie near a centre.

    Returns:
      float[], at least 0: the sum over the number of centres, or over 1 if there are none.

    References:
      Zhou et al., Objects as Points, 2019, eq. 1. https://arxiv.org/abs/1904.07850

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> heat = jnp.array([[[[1.0], [0.0]]]])
      >>> round(float(losses.heat_map_focal(jnp.zeros_like(heat), heat, jnp.ones_like(heat))), 3)  # 2 * log(2) / 4
      0.347
    """
    if not logits.shape == heat.shape == scored.shape:
        raise ValueError(f"heat_map_focal: {logits.shape}, {heat.shape} and {scored.shape} must be one shape")
    logits, p, centre = logits.astype(jnp.float32), jax.nn.sigmoid(logits), heat == 1
    each = jnp.where(
        centre,
        -((1 - p) ** power) * jax.nn.log_sigmoid(logits),
        -((1 - heat) ** near) * p**power * jax.nn.log_sigmoid(-logits),
    )
    return jnp.sum(each * scored) / jnp.maximum(1, jnp.sum(centre))


def generalized_iou(a: Array, b: Array) -> Array:
    """Generalised intersection over union of boxes, one by one.

    Args:
      a, b: float[..., 4], y0, x0, y1, x1.

    Returns:
      float[...] in [-1, 1]: 1 for equal boxes, below 0 for those that are far from each other.

    References:
      Rezatofighi et al., Generalized Intersection over Union, 2019. https://arxiv.org/abs/1902.09630

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl import losses
      >>> unit, beside = jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([0.0, 1.0, 1.0, 3.0])
      >>> float(losses.generalized_iou(unit, unit)), float(losses.generalized_iou(unit, beside))
      (1.0, 0.0)
    """
    inner = _area(jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:]))
    hull = _area(jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - inner
    return inner / jnp.maximum(union, EPSILON) - (hull - union) / jnp.maximum(hull, EPSILON)


def _area(low: Array, high: Array) -> Array:
    return jnp.prod(jnp.maximum(high - low, 0), axis=-1)
