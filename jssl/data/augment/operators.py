"""Random operators on images in JAX.

They take (key, image float32[H, W, C] in [0, 1], ...) and return an image of the same kind. Saturation, hue and greying
are for colours: they leave images of other than 3 channels as they are. They see one image. Hyper-parameters are
Python numbers, so what is off (probability 0, strength 0) is not traced at all. The deterministic operators are in
image_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jssl.data.augment import image_ops
from jssl.types import Array

Range = tuple[float, float]

_CROP_TRIES = 10  # as torchvision


def _uniform(key: Array, low: float, high: float) -> Array:
    return jax.random.uniform(key, (), minval=low, maxval=high)


def _maybe(key: Array, image: Array, prob: float, operator: Callable[[Array, Array], Array]) -> Array:
    """operator(key, image) with probability prob, else image; prob 0 and 1 are decided now."""
    if prob <= 0:
        return image
    if prob >= 1:
        return operator(key, image)
    coin, key = jax.random.split(key)
    return jnp.where(jax.random.bernoulli(coin, prob), operator(key, image), image)


def random_crop_box(
    key: Array, height: int, width: int, area: Range = (0.08, 1.0), ratio: Range = (3 / 4, 4 / 3)
) -> tuple[Array, Array, Array, Array]:
    """Draws the box of a random resized crop.

    Ten boxes are drawn at once and the first that fits is taken; where none does, the largest
    central box with the nearest ratio within the range.

    Args:
      key: a PRNG key.
      height: rows of the image.
      width: columns of the image.
      area: range of the fraction of the image covered, drawn uniformly.
      ratio: range of width / height of the box, drawn log-uniformly.

    Returns:
      (top, left, height, width), int32[] each; the box lies within the image.

    References:
      torchvision.transforms.RandomResizedCrop; Szegedy et al., Going deeper with convolutions,
      2014, section 6. https://arxiv.org/abs/1409.4842

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> box = operators.random_crop_box(jax.random.key(0), height=32, width=32, area=(1.0, 1.0), ratio=(1.0, 1.0))
      >>> [int(side) for side in box]  # the only box of that area and ratio
      [0, 0, 32, 32]
    """
    draw = jax.random.uniform(key, (2 * _CROP_TRIES + 2,))
    areas = height * width * (area[0] + (area[1] - area[0]) * draw[:_CROP_TRIES])
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    ratios = jnp.exp(log_low + (log_high - log_low) * draw[_CROP_TRIES:-2])
    widths = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits & (jnp.cumsum(fits) == 1)

    ratio_kept = min(max(width / height, ratio[0]), ratio[1])
    central_height = max(1, min(height, round(width / ratio_kept)))
    central_width = max(1, min(width, round(height * ratio_kept)))
    found = first.any()
    box_height = jnp.where(found, (first * heights).sum(), central_height)
    box_width = jnp.where(found, (first * widths).sum(), central_width)
    room_y, room_x = height - box_height, width - box_width
    top = jnp.where(found, jnp.floor(draw[-2] * (room_y + 1)).astype(jnp.int32), room_y // 2)
    left = jnp.where(found, jnp.floor(draw[-1] * (room_x + 1)).astype(jnp.int32), room_x // 2)
    return top, left, box_height, box_width


def random_resized_crop(
    key: Array,
    image: Array,
    size: int,
    area: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    interpolation: str = "bicubic",
) -> Array:
    """Cuts out a random box and resizes it, antialiased: float32[size, size, C] in [0, 1].

    See random_crop_box for the box and image_ops.resized_crop for the resize and its errors.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.zeros((48, 64, 3))
      >>> operators.random_resized_crop(jax.random.key(0), image, size=32, area=(0.2, 1.0)).shape
      (32, 32, 3)
    """
    box = random_crop_box(key, image.shape[0], image.shape[1], area, ratio)
    return image_ops.resized_crop(image, *box, size, interpolation)


def horizontal_flip(key: Array, image: Array, prob: float = 0.5) -> Array:
    """Mirrors left and right with probability prob.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.array([[0.0, 1.0]])[..., None]
      >>> print(operators.horizontal_flip(jax.random.key(0), image, prob=1.0)[..., 0])
      [[1. 0.]]
    """
    return _maybe(key, image, prob, lambda _, x: x[:, ::-1])


def random_window(key: Array, image: Array, pad: int) -> Array:
    """Pads by reflection and cuts out a window of the size before, uniformly at random.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1].
      pad: pixels added on every side, less than H and W; 0 leaves the image as it is.

    Returns:
      float32[H, W, C] in [0, 1].

    References:
      The weak augmentation of Sohn et al., FixMatch, 2020, section 2.3: 12.5 % of the side.
      https://arxiv.org/abs/2001.07685

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> operators.random_window(jax.random.key(0), jax.numpy.zeros((32, 32, 3)), pad=4).shape
      (32, 32, 3)
    """
    if pad == 0:
        return image
    down, right = jax.random.randint(key, (2,), -pad, pad + 1)
    return image_ops.reflected_window(image, down, right)


def jitter_order(key: Array, count: int = 4) -> Array:
    """A uniform random permutation: the place of each of `count` operators, int32[count].

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> sorted(operators.jitter_order(jax.random.key(0), count=4).tolist())
      [0, 1, 2, 3]
    """
    draw = jax.random.uniform(key, (count,))
    tie = (draw == draw[:, None]) & jnp.tri(count, k=-1, dtype=bool)
    return ((draw < draw[:, None]) | tie).sum(axis=1, dtype=jnp.int32)


def color_jitter(
    key: Array,
    image: Array,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    prob: float = 0.8,
) -> Array:
    """Random brightness, contrast, saturation and hue, in random order.

    The first three are blends with three coefficients. They fill three slots before the one turn
    of hue and three after it; slots that the drawn order leaves empty hold the identity. So under
    vmap no order costs more than another, and hue is computed once.

    Brightness and contrast change the channels of any image alike, saturation and hue those of colour images only.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1].
      brightness: the factor is uniform in [max(0, 1 - brightness), 1 + brightness].
      contrast: as brightness.
      saturation: as brightness.
      hue: the turn is uniform in [-hue, hue], hue <= 0.5.
      prob: probability that anything is done.

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      UserError: if image is not [H, W, C].

    References:
      torchvision.transforms.ColorJitter; Chen et al., SimCLR, 2020, appendix A.
      https://arxiv.org/abs/2002.05709

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.full((8, 8, 3), 0.5)
      >>> jittered = operators.color_jitter(jax.random.key(0), image, 0.4, 0.4, 0.4, 0.1, prob=1.0)
      >>> 0.3 <= float(jittered.min()) <= float(jittered.max()) <= 0.7  # grey: brightness alone changes it
      True
    """
    image_ops.check_image(image)
    if image.shape[-1] != 3:
        saturation = hue = 0.0
    strengths = [s for s in (brightness, contrast, saturation) if s > 0]
    # What a factor multiplies, less what it pulls towards, as (gain, grey, mean).
    towards = [(1.0, 0.0, 0.0), (1.0, 0.0, -1.0), (1.0, -1.0, 0.0)]
    towards = [t for t, s in zip(towards, (brightness, contrast, saturation)) if s > 0]
    count, turns = len(strengths), hue > 0
    if prob <= 0 or not (count or turns):
        return image

    def jitter(key: Array, planes: Array) -> Array:
        order_key, factor_key, hue_key = jax.random.split(key, 3)
        slots = jnp.zeros((0, 3))
        if count:
            place = jitter_order(order_key, count + turns)
            after = place[:count] > place[count] if turns else jnp.zeros(count, bool)
            slot = place[:count] + (count - 1) * after  # hue, before it, held one place
            strength = jnp.array(strengths)
            low = jnp.maximum(0.0, 1.0 - strength)
            factor = low + (1.0 + strength - low) * jax.random.uniform(factor_key, (count,))
            change = (factor - 1.0)[:, None] * jnp.array(towards)
            filled = slot[:, None] == jnp.arange(count * (1 + turns))
            slots = (filled[..., None] * change[:, None]).sum(axis=0) + jnp.array([1.0, 0.0, 0.0])

        def blend(planes: Array, slot: Array) -> tuple[Array, None]:
            grey = slot[1] if saturation > 0 else None
            mean = slot[2] if contrast > 0 else None
            return image_ops.blend(planes, slot[0], grey, mean), None

        # Loops: XLA fuses unrolled slots into their users and repeats them for every channel.
        # The SimCLR chain at 32 px on a CPU takes 71 us a view unrolled and 50 so, side by side.
        planes, _ = jax.lax.scan(blend, planes, slots[:count])
        if turns:
            planes = image_ops.turn_hue(planes, _uniform(hue_key, -hue, hue))
            planes, _ = jax.lax.scan(blend, planes, slots[count:])
        return planes

    return image_ops.pixels(_maybe(key, image_ops.planes(image), prob, jitter))


def hsv_jitter(
    key: Array,
    image: Array,
    prob: float = 1.0,
    hue: float = 0.1,
    power: float = 2.0,
    gain: float = 0.5,
    shift: float = 0.1,
) -> Array:
    """Random change of hue, saturation and value.

    Hue h becomes h + U(-hue, hue) turns. Saturation and value x become, each with its own draws,
    x ** 2 ** U(-power, power) * 2 ** U(-gain, gain) + U(-shift, shift), clipped to [0, 1].
    The only channel of a grey image is its value; the grey pixels of a colour image may take on a tint. Images of
    other channels stay as they are.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1].
      prob: probability that anything is done.
      hue: in turns, in [0, 0.5].
      power: of the exponent, in octaves.
      gain: of the factor, in octaves.
      shift: of the summand.

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      Zhai et al., S4L, 2019, as Dosovitskiy et al., Exemplar CNN, 2014, section 3.1.
      https://arxiv.org/abs/1905.03670 https://arxiv.org/abs/1406.6909

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> operators.hsv_jitter(jax.random.key(0), jax.numpy.zeros((8, 8, 3))).shape
      (8, 8, 3)
    """

    def jitter(key: Array, planes: Array) -> Array:
        hue_key, value_key = jax.random.split(key)
        draw = jax.random.uniform(value_key, (3, 2), minval=-1.0, maxval=1.0)
        exponent, factor = jnp.exp2(power * draw[0]), jnp.exp2(gain * draw[1])

        def change(x: Array, i: int) -> Array:
            return jnp.clip(x ** exponent[i] * factor[i] + shift * draw[2, i], 0.0, 1.0)

        if len(planes) == 1:
            return change(planes, 1)
        h, s, v = image_ops.to_hsv(planes)
        turned = h + _uniform(hue_key, -hue, hue)
        return image_ops.from_hsv(jnp.stack([turned, change(s, 0), change(v, 1)]))

    if prob <= 0 or image.shape[-1] not in (1, 3):
        return image
    return image_ops.pixels(_maybe(key, image_ops.planes(image), prob, jitter))


def grayscale(key: Array, image: Array, prob: float = 0.2) -> Array:
    """Turns a colour image grey with probability prob; the number of channels stays.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> red = jax.numpy.array([[[1.0, 0.0, 0.0]]])
      >>> [round(x, 3) for x in operators.grayscale(jax.random.key(0), red, prob=1.0).ravel().tolist()]
      [0.299, 0.299, 0.299]
    """
    if image.shape[-1] != 3:
        return image
    return _maybe(key, image, prob, lambda _, x: image_ops.to_grayscale(x))


def gaussian_blur(
    key: Array,
    image: Array,
    prob: float = 0.5,
    sigma: Range = (0.1, 2.0),
    kernel_size: int | None = None,
) -> Array:
    """Blurs with probability prob and sigma uniform in its range; see image_ops.blur.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.full((8, 8, 3), 0.5)
      >>> blurred = operators.gaussian_blur(jax.random.key(0), image, prob=1.0)
      >>> round(float(blurred.min()), 3), round(float(blurred.max()), 3)  # there is nothing to blur
      (0.5, 0.5)
    """
    return _maybe(key, image, prob, lambda k, x: image_ops.blur(x, _uniform(k, *sigma), kernel_size))


def solarize(key: Array, image: Array, prob: float = 0.2, threshold: float = 0.5) -> Array:
    """Inverts the pixels at or above threshold with probability prob.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.array([[0.25, 1.0]])[..., None]
      >>> print(operators.solarize(jax.random.key(0), image, prob=1.0)[..., 0])
      [[0.25 0.  ]]
    """
    return _maybe(key, image, prob, lambda _, x: image_ops.invert_above(x, threshold))


def sobel(key: Array, image: Array, prob: float = 0.2) -> Array:
    """Shows the edges instead of the image with probability prob; see image_ops.sobel.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> flat = jax.numpy.full((4, 4, 1), 0.5)
      >>> float(operators.sobel(jax.random.key(0), flat, prob=1.0).max())  # without edges
      0.0
    """
    return _maybe(key, image, prob, lambda _, x: image_ops.sobel(x))


def affine(
    key: Array,
    image: Array,
    degrees: float = 0.0,
    translate: float = 0.0,
    scale: Range = (1.0, 1.0),
    shear: float = 0.0,
    prob: float = 1.0,
) -> Array:
    """Random rotation, translation, scale and shear about the centre; see image_ops.warp.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1].
      degrees: the rotation is uniform in [-degrees, degrees].
      translate: the shift is uniform within this fraction of each side, then rounded to pixels.
      scale: range of the magnification, uniform.
      shear: the shear along x is uniform in [-shear, shear] degrees.
      prob: probability that anything is done.

    Returns:
      float32[H, W, C] in [0, 1]; what comes from outside the image is 0.

    References:
      torchvision.transforms.RandomAffine.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> image = jax.numpy.ones((8, 8, 3))
      >>> moved = operators.affine(jax.random.key(0), image, degrees=15.0, translate=0.1, scale=(0.9, 1.1))
      >>> moved.shape
      (8, 8, 3)
    """
    if degrees == 0 and translate == 0 and scale == (1, 1) and shear == 0:
        return image

    def move(key: Array, image: Array) -> Array:
        angle_key, shift_key, scale_key, shear_key = jax.random.split(key, 4)
        height, width = image.shape[:2]
        shift = jax.random.uniform(shift_key, (2,), minval=-translate, maxval=translate)
        return image_ops.warp(
            image,
            _uniform(angle_key, -degrees, degrees) if degrees else 0.0,
            (jnp.round(shift[0] * width), jnp.round(shift[1] * height)),
            _uniform(scale_key, *scale),
            (_uniform(shear_key, -shear, shear) if shear else 0.0, 0.0),
        )

    return _maybe(key, image, prob, move)


def gaussian_noise(key: Array, image: Array, std: float, prob: float = 1.0) -> Array:
    """Adds normal noise with probability prob and clips to [0, 1].

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> noisy = operators.gaussian_noise(jax.random.key(0), jax.numpy.full((8, 8, 3), 0.5), std=0.1)
      >>> 0.0 <= float(noisy.min()) < 0.5 < float(noisy.max()) <= 1.0
      True
    """
    if std == 0:
        return image
    return _maybe(
        key,
        image,
        prob,
        lambda k, x: jnp.clip(x + std * jax.random.normal(k, x.shape), 0.0, 1.0),
    )


def cutout(key: Array, image: Array, size: float, prob: float = 1.0) -> Array:
    """Greys out a square at a uniformly random centre with probability prob.

    The side is `size` times the shorter side of the image, at least one pixel where size > 0; the
    square may hang over the border. See image_ops.erase.

    Example:
      >>> import jax
      >>> from jssl.data.augment import operators
      >>> cut = operators.cutout(jax.random.key(0), jax.numpy.zeros((8, 8, 1)), size=0.5)
      >>> 4 <= int((cut == 0.5).sum()) <= 16  # a square of 4 x 4, which may hang over the border
      True
    """
    if size == 0:
        return image
    height, width = image.shape[:2]
    side = max(1, round(size * min(height, width)))

    def cut(key: Array, image: Array) -> Array:
        centre = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
        return image_ops.erase(image, (centre[0], centre[1]), side)

    return _maybe(key, image, prob, cut)
