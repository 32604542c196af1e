"""RandAugment in JAX: a few operators, drawn anew for every image, one after the other.

Under vmap a switch would compute all fourteen operators for every image. So they are three families, each
computed once a slot and leaving the image as it is where none of its members was drawn: one affine map, one
change of tones, one blend.
"""

from __future__ import annotations

import enum

import jax
import jax.numpy as jnp

from jssl.data.augment import image_ops
from jssl.types import Array

_GREY = 0.5  # what moves into the image from outside


class Operator(enum.IntEnum):
    """The pool of FixMatch, by the numbers that are drawn."""

    IDENTITY = 0
    AUTOCONTRAST = 1
    BRIGHTNESS = 2
    COLOR = 3
    CONTRAST = 4
    EQUALIZE = 5
    POSTERIZE = 6
    ROTATE = 7
    SHARPNESS = 8
    SHEAR_X = 9
    SHEAR_Y = 10
    SOLARIZE = 11
    TRANSLATE_X = 12
    TRANSLATE_Y = 13


def randaugment(key: Array, image: Array, count: int, strength: float = 1.0) -> Array:
    """Applies operators drawn with replacement, each with a level drawn uniformly.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1].
      count: operators one after the other; 0 leaves the image as it is.
      strength: part of every range that is used, in [0, 1]; see apply.

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      Cubuk et al., RandAugment, 2019. https://arxiv.org/abs/1909.13719
      Sohn et al., FixMatch, 2020, appendix D. https://arxiv.org/abs/2001.07685

    Example:
      >>> import jax
      >>> from jssl.data.augment import randaugment
      >>> randaugment.randaugment(jax.random.key(0), jax.numpy.zeros((8, 8, 3)), count=2).shape
      (8, 8, 3)
    """
    if count == 0:
        return image
    operator_key, level_key = jax.random.split(key)
    operators = jax.random.randint(operator_key, (count,), 0, len(Operator))
    levels = jax.random.uniform(level_key, (count,))

    def slot(image: Array, drawn: tuple[Array, Array]) -> tuple[Array, None]:
        return apply(image, *drawn, strength), None

    # A loop, as in operators.color_jitter: XLA would fuse unrolled slots into their users.
    return jax.lax.scan(slot, image, (operators, levels))[0]


def apply(image: Array, operator: Array | int, level: Array | float, strength: float = 1.0) -> Array:
    """One operator of the pool.

    Ranges at strength 1, all uniform; a smaller one brings their ends nearer to the identity:

      brightness, color, contrast, sharpness: the factor, 0.05 .. 0.95
      posterize: bits that stay, 8 .. 4
      rotate: -30 .. 30 degrees
      shear_x, shear_y: -0.3 .. 0.3 pixels a pixel, the top and the left edge resting
      solarize: threshold, 1 .. 0
      translate_x, translate_y: -0.3 .. 0.3 of the side, rounded to pixels

    Identity, autocontrast and equalize have none; color is the identity where C is not 3. Moves are bilinear, with
    grey from outside. Equalize and posterize see 256 tones of [0, 1].

    Args:
      image: float32[H, W, C] in [0, 1].
      operator: an Operator, int, may be traced.
      level: where in its range, in [0, 1), may be traced.
      strength: part of the range, in [0, 1].

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      FixMatch, table 12; the operators are those of PIL's ImageOps and ImageEnhance.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import randaugment
      >>> image = jnp.array([[0.25, 0.75]])[..., None]
      >>> darker = randaugment.apply(image, randaugment.Operator.BRIGHTNESS, level=0.5)  # by a factor of 0.5
      >>> [round(x, 3) for x in darker[..., 0].ravel().tolist()]
      [0.125, 0.375]
    """
    signed = strength * (2.0 * level - 1.0)
    families = (
        lambda planes: _move(planes, operator, signed),
        lambda planes: _change_tones(planes, operator, strength * level),
        lambda planes: _enhance(planes, operator, 1.0 - strength * (0.05 + 0.9 * level)),
    )

    # A loop, again: fused into one, they take four times as long on a CPU.
    def change(planes: Array, family: Array) -> tuple[Array, None]:
        return jax.lax.switch(family, families, planes), None

    order = jnp.arange(len(families))
    return image_ops.pixels(jax.lax.scan(change, image_ops.planes(image), order)[0])


def _move(planes: Array, operator: Array | int, level: Array | float) -> Array:
    """Rotation, shear or translation, level in [-1, 1]."""

    def amount(of: Operator, most: float) -> Array:
        return jnp.where(operator == of, most * level, 0.0)

    image = image_ops.pixels(planes)
    height, width = image.shape[:2]
    shear_x, shear_y = amount(Operator.SHEAR_X, 0.3), amount(Operator.SHEAR_Y, 0.3)
    right = jnp.round(amount(Operator.TRANSLATE_X, 0.3) * width) - shear_x * height / 2
    down = jnp.round(amount(Operator.TRANSLATE_Y, 0.3) * height) - shear_y * width / 2
    shear = (jnp.rad2deg(jnp.arctan(shear_x)), jnp.rad2deg(jnp.arctan(shear_y)))
    angle = amount(Operator.ROTATE, 30.0)
    return image_ops.planes(image_ops.warp(image, angle, (right, down), shear=shear, fill=_GREY))


def _change_tones(planes: Array, operator: Array | int, level: Array | float) -> Array:
    """Autocontrast, equalisation, posterisation or solarisation, level in [0, 1]."""
    dropped = jnp.minimum(jnp.floor(5.0 * level), 4.0)
    tones = (
        (Operator.AUTOCONTRAST, autocontrast(planes)),
        (Operator.EQUALIZE, equalize(planes)),
        (Operator.POSTERIZE, posterize(planes, dropped)),
        (Operator.SOLARIZE, jnp.where(planes > 1.0 - level, 1.0 - planes, planes)),
    )
    result = planes
    for name, changed in tones:
        result = jnp.where(operator == name, changed, result)
    return result


def _enhance(planes: Array, operator: Array | int, factor: Array | float) -> Array:
    """Brightness, saturation, contrast or sharpness: a blend with black, grey, mean grey or smooth."""
    grey = image_ops.luma(planes)
    colours = grey if len(planes) == 3 else planes
    towards = jnp.where(operator == Operator.COLOR, colours, 0.0)
    towards = jnp.where(operator == Operator.CONTRAST, grey.mean(), towards)
    towards = jnp.where(operator == Operator.SHARPNESS, smooth(planes), towards)
    enhancers = (Operator.BRIGHTNESS, Operator.COLOR, Operator.CONTRAST, Operator.SHARPNESS)
    gain = jnp.where(jnp.array([operator == o for o in enhancers]).any(), factor, 1.0)
    return jnp.clip(gain * planes + (1.0 - gain) * towards, 0.0, 1.0)


def autocontrast(planes: Array) -> Array:
    """Stretches every channel to [0, 1]: float32[C, H, W]; a channel of one value stays.

    References:
      PIL's ImageOps.autocontrast.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import randaugment
      >>> print(randaugment.autocontrast(jnp.array([[[0.25, 0.375, 0.75]]])))
      [[[0.   0.25 1.  ]]]
    """
    low = planes.min(axis=(1, 2), keepdims=True)
    extent = planes.max(axis=(1, 2), keepdims=True) - low
    return jnp.where(extent > 0, (planes - low) / jnp.where(extent > 0, extent, 1.0), planes)


def equalize(planes: Array) -> Array:
    """Spreads the 256 tones of every channel evenly: float32[C, H, W] in [0, 1].

    As PIL does, it leaves a channel with fewer than 255 pixels below its brightest tone as it is.

    References:
      PIL's ImageOps.equalize.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import randaugment
      >>> dark = jnp.arange(1024).reshape(1, 32, 32) // 32 / 255  # 32 tones, all of them dark
      >>> equalized = randaugment.equalize(dark)
      >>> float(equalized.min()), float(equalized.max())
      (0.0, 1.0)
    """
    channels = len(planes)
    place = _tones(planes) + 256 * jnp.arange(channels)[:, None, None]
    histogram = jnp.zeros(256 * channels).at[place.ravel()].add(1.0, mode="promise_in_bounds")
    histogram = histogram.reshape(channels, 256)
    below = jnp.cumsum(histogram, axis=1) - histogram
    step = jnp.floor(jnp.where(histogram > 0, below, 0.0).max(axis=1, keepdims=True) / 255.0)
    table = jnp.floor((below + jnp.floor(step / 2.0)) / jnp.maximum(step, 1.0))
    spread = table.ravel().at[place].get(mode="promise_in_bounds")
    return jnp.where(step[..., None] > 0, jnp.minimum(spread / 255.0, 1.0), planes)


def posterize(planes: Array, dropped: Array | int) -> Array:
    """Clears the lowest `dropped` of the eight bits of every tone; 0 leaves the image as it is.

    References:
      PIL's ImageOps.posterize.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import randaugment
      >>> print((255 * randaugment.posterize(jnp.array([[[100 / 255, 200 / 255]]]), dropped=4)).round())
      [[[ 96. 192.]]]
    """
    unit = jnp.exp2(dropped)
    return jnp.where(unit > 1, jnp.floor(_tones(planes) / unit) * unit / 255.0, planes)


def smooth(planes: Array) -> Array:
    """The mean of 3 x 3 pixels of which the middle one counts five times; the border stays.

    References:
      PIL's ImageFilter.SMOOTH.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import randaugment
      >>> point = jnp.zeros((1, 3, 3)).at[0, 1, 1].set(1.0)
      >>> round(float(randaugment.smooth(point)[0, 1, 1]), 3)  # 5 / 13
      0.385
    """
    rows = planes[:, :-2] + planes[:, 1:-1] + planes[:, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = planes[:, 1:-1, 1:-1]
    return planes.at[:, 1:-1, 1:-1].set((box + 4.0 * inner) / 13.0)


def _tones(planes: Array) -> Array:
    """The nearest of the tones 0 .. 255, int32."""
    return jnp.round(planes * 255.0).astype(jnp.int32)
