"""CIE Lab: lightness L, and colour on two axes, a (green to red) and b (blue to yellow); sRGB under D65, 2 degrees.

Networks see Lab centred and scaled, see `SCALE`: distances are those of CIE over 50.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jssl.types import Array

SPACES = ("rgb", "lab")
CENTRE = (50.0, 0.0, 0.0)  # of Lab, subtracted from what networks see
SCALE = 50.0  # which it is then divided by: L is in [-1, 1], a and b within 2.2 of 0
GRID = 10  # of the bins of colour
# The least and the greatest b of the bins, in tens, for a = -90, -80, ..., 100: of all colours of sRGB.
_GAMUT = (
    *((8, 8), (4, 8), (2, 9), (0, 9), (-2, 9), (-3, 9), (-4, 9), (-4, 9), (-5, 9), (-6, 9)),
    *((-7, 8), (-7, 8), (-8, 8), (-9, 8), (-9, 7), (-10, 7), (-11, 7), (-11, 7), (-9, 0), (-7, -5)),
)

_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_FROM_RGB = _XYZ / _WHITE[:, None]
_TO_RGB = np.linalg.inv(_FROM_RGB)
_OPPONENT = np.array([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])  # and L - 16
_FROM_OPPONENT = np.linalg.inv(_OPPONENT)


def rgb_to_lab(images: Array) -> Array:
    """sRGB to Lab.

    Args:
      images: float32[..., 3] in [0, 1].

    Returns:
      float32[..., 3]: L in [0, 100], a in [-86.2, 98.3], b in [-107.9, 94.5].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import color_space
      >>> red = color_space.rgb_to_lab(jnp.array([1.0, 0.0, 0.0]))
      >>> [round(float(number), 1) for number in red]
      [53.2, 80.1, 67.2]
    """
    steep = ((jnp.maximum(images, 0.04045) + 0.055) / 1.055) ** 2.4
    xyz = _linear(jnp.where(images > 0.04045, steep, images / 12.92), _FROM_RGB)
    f = jnp.where(xyz > 0.008856, jnp.cbrt(jnp.maximum(xyz, 0.008856)), 7.787 * xyz + 16 / 116)
    return _linear(f, _OPPONENT) - jnp.array([16.0, 0.0, 0.0])


def lab_to_rgb(images: Array) -> Array:
    """Lab to sRGB, float32[..., 3] each; colours that no screen shows are cut to [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import color_space
      >>> color_space.lab_to_rgb(jnp.array([100.0, 0.0, 0.0])).round(2).tolist()
      [1.0, 1.0, 1.0]
    """
    f = _linear(images + jnp.array([16.0, 0.0, 0.0]), _FROM_OPPONENT)
    xyz = jnp.where(f > 0.008856 ** (1 / 3), f**3, (f - 16 / 116) / 7.787)
    rgb = jnp.clip(_linear(xyz, _TO_RGB), 0, 1)
    return jnp.where(rgb > 0.0031308, 1.055 * jnp.maximum(rgb, 0.0031308) ** (1 / 2.4) - 0.055, 12.92 * rgb)


def scale_lab(lab: Array) -> Array:
    """Lab as networks see it, float32[..., 3]: centred at L = 50, and divided by 50.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import color_space
      >>> color_space.scale_lab(jnp.array([100.0, 0.0, -25.0])).tolist()
      [1.0, 0.0, -0.5]
    """
    return (lab - jnp.array(CENTRE)) / SCALE


def unscale_lab(images: Array) -> Array:
    """Lab of what networks see, float32[..., 3] each: undoes `scale_lab`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import color_space
      >>> color_space.unscale_lab(jnp.array([1.0, 0.0, -0.5])).tolist()
      [100.0, 0.0, -25.0]
    """
    return images * SCALE + jnp.array(CENTRE)


def ab_bins() -> np.ndarray:
    """Centres of the bins of colour: the points of a grid of 10 on the ab plane that are the nearest of some colour.

    Colours are those of sRGB in 8 bits. (The table that Zhang et al. released has 313 bins, and no description of the
    gamut that they are of.)

    Returns:
      float32[261, 2], in order of a, then of b.

    References:
      Zhang et al., Colorful Image Colorization, 2016, section 2.1. https://arxiv.org/abs/1603.08511

    Example:
      >>> from jssl.data.augment import color_space
      >>> color_space.ab_bins().shape
      (261, 2)
    """
    cells = [(a, b) for a, (low, high) in zip(range(-9, 11), _GAMUT) for b in range(low, high + 1)]
    return GRID * np.array(cells, np.float32)


def _linear(x: Array, matrix: np.ndarray) -> Array:
    """A matrix [3, 3] times vectors [..., 3]."""
    return jnp.einsum(
        "...c,dc->...d", x, jnp.asarray(matrix, jnp.float32), precision=jax.lax.Precision.HIGHEST
    )
