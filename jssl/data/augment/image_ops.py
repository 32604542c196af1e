"""Deterministic image operators in JAX: one image in, one image out, vmapped by the caller.

An image is float32[H, W, C] in [0, 1], and so is every result. Factors and boxes may be traced; sizes and kernel
sizes are Python numbers. Colour is that of images with C = 3: grey images and those of other channels keep theirs.
The random versions are in operators.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jssl.types import Array

Scalar = Array | float

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, the weights of mode 'L' in PIL
INTERPOLATIONS = ("bilinear", "bicubic")
_EXACT = jax.lax.Precision.HIGHEST  # bfloat16 passes on a TPU would cost up to 2/255


def check_image(image: Array) -> None:
    """Raises ValueError unless image is [H, W, C], C at least 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image_ops.check_image(jnp.zeros((32, 32)))
      Traceback (most recent call last):
      ValueError: an image is [H, W, C], not [32, 32]
    """
    if image.ndim != 3 or not image.shape[-1]:
        raise ValueError(f"an image is [H, W, C], not {list(image.shape)}")


def planes(image: Array) -> Array:
    """[H, W, C] to [C, H, W]: on a CPU, colour is faster channels-first, over whole rows.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image_ops.planes(jnp.zeros((4, 5, 3))).shape
      (3, 4, 5)
    """
    check_image(image)
    return jnp.moveaxis(image, -1, 0)


def pixels(planes: Array) -> Array:
    """[C, H, W] back to [H, W, C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image_ops.pixels(jnp.zeros((3, 4, 5))).shape
      (4, 5, 3)
    """
    return jnp.moveaxis(planes, 0, -1)


def luma(planes: Array) -> Array:
    """The grey image of float32[C, H, W]: float32[H, W]; the mean of the channels where they are no colours.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> green = jnp.array([0.0, 1.0, 0.0]).reshape(3, 1, 1)
      >>> round(float(image_ops.luma(green)[0, 0]), 3)
      0.587
    """
    if planes.shape[0] != 3:
        return planes[0] if planes.shape[0] == 1 else planes.mean(axis=0)
    return sum((w * p for w, p in zip(_LUMA, planes)), jnp.zeros_like(planes[0]))


def _separable(image: Array, rows: Array, columns: Array) -> Array:
    """rows [h, H] and columns [w, W] applied to image [H, W, C]: [h, w, C]."""
    result = jnp.einsum("hy,cyx->chx", rows, planes(image), precision=_EXACT)
    return pixels(jnp.einsum("wx,chx->chw", columns, result, precision=_EXACT))


# Geometry


def resampling_weights(size: int, length: int, start: Scalar, extent: Scalar, interpolation: str) -> Array:
    """Weights that resample the pixels start .. start + extent of a line to `size` pixels.

    When shrinking, the filter is widened by the scale (antialiasing). Taps outside the box count
    nothing and each row is renormalised, as if the box had been cut out first.

    Args:
      size: output length.
      length: input length.
      start: first pixel of the box, int, in [0, length).
      extent: pixels in the box, int, in [1, length - start].
      interpolation: 'bilinear' (triangle) or 'bicubic' (Keys, a = -1/2).

    Returns:
      float32[size, length]; every row sums to 1.

    Raises:
      ValueError: if the interpolation is another one.

    References:
      PIL's Image.resize with reducing_gap=None; Keys, Cubic convolution interpolation, 1981.

    Example:
      >>> from jssl.data.augment import image_ops
      >>> result = image_ops.resampling_weights(2, 4, 0, 4, "bilinear")  # 4 pixels to 2, antialiased
      >>> [round(x, 3) for x in result.ravel().tolist()]
      [0.429, 0.429, 0.143, 0.0, 0.0, 0.143, 0.429, 0.429]
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation is {interpolation!r}; set 'bilinear' or 'bicubic'")
    start = jnp.asarray(start, jnp.float32)
    extent = jnp.asarray(extent, jnp.float32)
    scale = extent / size
    centre = start + (jnp.arange(size) + 0.5) * scale
    pixel = jnp.arange(length)
    x = jnp.abs(pixel + 0.5 - centre[:, None]) / jnp.maximum(scale, 1.0)
    if interpolation == "bilinear":
        weights = jnp.maximum(1.0 - x, 0.0)
    else:
        near = (1.5 * x - 2.5) * x * x + 1.0
        far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
        weights = jnp.where(x < 1.0, near, jnp.where(x < 2.0, far, 0.0))
    weights = jnp.where((pixel >= start) & (pixel < start + extent), weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def resized_crop(
    image: Array,
    top: Scalar,
    left: Scalar,
    height: Scalar,
    width: Scalar,
    size: int,
    interpolation: str = "bicubic",
) -> Array:
    """Cuts a box out of an image and resizes it, antialiased, to size x size.

    Args:
      image: float32[H, W, C] in [0, 1].
      top: first row of the box, int, may be traced, as may left, height and width.
      left: first column.
      height: rows in the box; the box lies within the image.
      width: columns in the box.
      size: side of the result.
      interpolation: 'bilinear' or 'bicubic'; the overshoot of the latter is clipped.

    Returns:
      float32[size, size, C] in [0, 1].

    Raises:
      ValueError: on another interpolation, or if image is not [H, W, C].

    References:
      torchvision.transforms.functional.resized_crop with antialias=True.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.arange(16.0).reshape(4, 4, 1) / 16
      >>> crop = image_ops.resized_crop(image, top=1, left=2, height=2, width=2, size=2)
      >>> [round(x, 3) for x in (16 * crop[..., 0]).ravel().tolist()]
      [6.0, 7.0, 10.0, 11.0]
    """
    check_image(image)
    rows = resampling_weights(size, image.shape[0], top, height, interpolation)
    columns = resampling_weights(size, image.shape[1], left, width, interpolation)
    return jnp.clip(_separable(image, rows, columns), 0.0, 1.0)


def warp(
    image: Array,
    angle: Scalar = 0.0,
    translate: tuple[Scalar, Scalar] = (0.0, 0.0),
    scale: Scalar = 1.0,
    shear: tuple[Scalar, Scalar] = (0.0, 0.0),
    fill: float = 0.0,
) -> Array:
    """Affine map about the image centre: shear, then rotation, scale and translation.

    Bilinear; outside the image lies a plane of one value. Where angle and shear are Python zeros the
    map is separable and costs two small matmuls, otherwise four gathers.

    Args:
      image: float32[H, W, C] in [0, 1].
      angle: degrees, clockwise.
      translate: (right, down) in pixels.
      scale: magnification, > 0.
      shear: (x, y) in degrees, each in (-90, 90).
      fill: what comes from outside, in [0, 1].

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      torchvision.transforms.functional.affine with bilinear interpolation.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.array([[0.0, 0.25, 0.5, 0.75]])[..., None]
      >>> print(image_ops.warp(image, translate=(1.0, 0.0), fill=1.0)[..., 0])  # one pixel to the right
      [[1.   0.   0.25 0.5 ]]
    """
    check_image(image)
    height, width, channels = image.shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    v = (jnp.arange(height) - centre_y - translate[1]) / scale
    u = (jnp.arange(width) - centre_x - translate[0]) / scale
    if all(isinstance(a, int | float) and a == 0 for a in (angle, *shear)):
        rows = jnp.maximum(1 - jnp.abs((v + centre_y)[:, None] - jnp.arange(height)), 0)
        columns = jnp.maximum(1 - jnp.abs((u + centre_x)[:, None] - jnp.arange(width)), 0)
        result = _separable(image, rows, columns)
        if fill:
            result += fill * (1 - rows.sum(axis=1)[:, None] * columns.sum(axis=1))[..., None]
        return jnp.clip(result, 0.0, 1.0)

    angle, shear_x, shear_y = (jnp.deg2rad(a) for a in (angle, *shear))
    x = jnp.cos(angle) * u + jnp.sin(angle) * v[:, None]
    y = -jnp.sin(angle) * u + jnp.cos(angle) * v[:, None]
    y = y + jnp.tan(shear_y) * x
    x = x + jnp.tan(shear_x) * y
    x, y = x + centre_x, y + centre_y
    flat = image.reshape(height * width, channels)
    x0, y0 = jnp.floor(x), jnp.floor(y)
    result, covered = jnp.zeros_like(image), jnp.zeros((height, width))
    for column, row in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        weight = jnp.where(inside, (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row)), 0)
        index = jnp.where(inside, row * width + column, 0).astype(jnp.int32)
        result += weight[..., None] * flat[index]
        covered += weight
    if fill:
        result += fill * (1 - covered)[..., None]
    return jnp.clip(result, 0.0, 1.0)


def reflected_window(image: Array, down: Scalar, right: Scalar) -> Array:
    """The image shifted as a window of its size moves over it; beyond the border it is mirrored.

    The border pixels themselves are not doubled. Two small matmuls, no gather.

    Args:
      image: float32[H, W, C] in [0, 1].
      down: rows that the window moves, int in (-H, H), may be traced.
      right: columns that it moves, int in (-W, W).

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      numpy.pad(mode='reflect'), then a crop.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.array([[0.0, 0.25, 0.5, 0.75]])[..., None]
      >>> print(image_ops.reflected_window(image, down=0, right=2)[..., 0])
      [[0.5  0.75 0.5  0.25]]
    """

    def selection(length: int, start: Scalar) -> Array:
        last = length - 1
        source = last - jnp.abs(last - jnp.abs(jnp.arange(length) + start))
        return (source[:, None] == jnp.arange(length)).astype(jnp.float32)

    return _separable(image, selection(image.shape[0], down), selection(image.shape[1], right))


def default_kernel_size(size: int) -> int:
    """The odd number nearest to a tenth of the image side, at least 3 (SimCLR, appendix A).

    Example:
      >>> from jssl.data.augment import image_ops
      >>> image_ops.default_kernel_size(32), image_ops.default_kernel_size(224)
      (3, 23)
    """
    return max(3, 2 * (size // 20) + 1)


def blur(image: Array, sigma: Scalar, kernel_size: int | None = None) -> Array:
    """Gaussian blur with reflected borders, as two banded matmuls.

    Args:
      image: float32[H, W, C] in [0, 1].
      sigma: standard deviation in pixels, > 0, may be traced.
      kernel_size: odd number of taps; None takes default_kernel_size of the shorter side.

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if kernel_size is even, or reaches over the image more than once.

    References:
      torchvision.transforms.functional.gaussian_blur.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.zeros((3, 3, 1)).at[1, 1].set(1.0)
      >>> blurred = image_ops.blur(image, sigma=100.0, kernel_size=3)  # so wide that all 9 taps are alike
      >>> round(float(blurred[1, 1, 0]), 3)
      0.111
    """
    check_image(image)
    shorter = min(image.shape[:2])
    kernel_size = default_kernel_size(shorter) if kernel_size is None else kernel_size
    radius = kernel_size // 2
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is {kernel_size}; set an odd number of taps")
    if radius >= shorter:
        raise ValueError(f"kernel_size is {kernel_size}; set at most {2 * shorter - 1} here")
    sigma = jnp.asarray(sigma, jnp.float32)

    def gauss(distance: Array) -> Array:
        weight = jnp.exp(-0.5 * (distance / sigma) ** 2)
        return jnp.where(jnp.abs(distance) <= radius, weight, 0.0)

    total = gauss(jnp.arange(-radius, radius + 1)).sum()

    def band(length: int) -> Array:
        i, j = jnp.arange(length)[:, None], jnp.arange(length)
        first, last = j == 0, j == length - 1  # the border pixel itself is not doubled
        straight = gauss(i - j)
        before = jnp.where(first, 0.0, gauss(i + j))
        after = jnp.where(last, 0.0, gauss(2 * (length - 1) - i - j))
        return (straight + before + after) / total

    rows, columns = band(image.shape[0]), band(image.shape[1])
    return jnp.clip(_separable(image, rows, columns), 0.0, 1.0)


# Colour


def blend(planes: Array, gain: Scalar, grey: Scalar | None = None, mean: Scalar | None = None) -> Array:
    """clip(gain * image + grey * its grey image + mean * the mean of its grey image, 0, 1).

    Brightness, contrast and saturation are all of this form. None saves computing that term.

    Args:
      planes: channels-first image, float32[C, H, W] in [0, 1].
      gain: weight of the image itself.
      grey: weight of the grey image.
      mean: weight of the mean of the grey image.

    Returns:
      float32[C, H, W] in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> planes = jnp.array([0.25, 0.75]).reshape(1, 1, 2)
      >>> print(image_ops.blend(planes, gain=0.5, mean=0.5))  # half of the contrast
      [[[0.375 0.625]]]
    """
    result = gain * planes
    if grey is not None:
        result += grey * luma(planes)
    if mean is not None:
        result += mean * luma(planes).mean()
    return jnp.clip(result, 0.0, 1.0)


def turn_hue(planes: Array, factor: Scalar) -> Array:
    """adjust_hue on a channels-first colour image, float32[3, H, W] in [0, 1].

    HSV is never stored: with the hue k in sixths of a turn, m the smallest channel and c the
    chroma, red is m + c clip(|k - 3| - 1, 0, 1), green is m + c clip(2 - |k - 2|, 0, 1) and blue
    m + c clip(2 - |k - 4|, 0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> red = jnp.array([1.0, 0.0, 0.0]).reshape(3, 1, 1)
      >>> [round(x, 3) for x in image_ops.turn_hue(red, 1 / 3).ravel().tolist()]  # green
      [0.0, 1.0, 0.0]
    """
    k, low, high = _sixths(planes)
    k = k + 6.0 * factor
    k = k - 6.0 * jnp.floor(k / 6.0)
    return jnp.clip(low + (high - low) * _wheel(k), 0.0, 1.0)


def _sixths(planes: Array) -> tuple[Array, Array, Array]:
    """Hue in sixths of a turn, in [-1, 5], the smallest and the largest channel, [H, W] each."""
    red, green, blue = planes
    high = jnp.maximum(jnp.maximum(red, green), blue)
    low = jnp.minimum(jnp.minimum(red, green), blue)
    chroma = high - low
    unit = 1.0 / jnp.where(chroma > 1e-6, chroma, 1.0)
    # Not high == red: a compiler that computes red twice may round it in two ways.
    k = jnp.where(
        (red >= green) & (red >= blue),
        (green - blue) * unit,
        jnp.where(green >= blue, (blue - red) * unit + 2.0, (red - green) * unit + 4.0),
    )
    return k, low, high


def _wheel(k: Array) -> Array:
    """How much of the chroma each channel has at hue k, in [0, 6): [3, H, W]."""
    peak = jnp.array([3.0, 2.0, 4.0])[:, None, None]
    sign = jnp.array([1.0, -1.0, -1.0])[:, None, None]
    offset = jnp.array([-1.0, 2.0, 2.0])[:, None, None]
    return jnp.clip(offset + sign * jnp.abs(k - peak), 0.0, 1.0)


def to_hsv(planes: Array) -> Array:
    """RGB to HSV, float32[3, H, W] in [0, 1] each; hue is in turns, 0 where there is no colour.

    References:
      colorsys.rgb_to_hsv.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> green = jnp.array([0.0, 0.5, 0.0]).reshape(3, 1, 1)
      >>> [round(x, 3) for x in image_ops.to_hsv(green).ravel().tolist()]
      [0.333, 1.0, 0.5]
    """
    k, low, high = _sixths(planes)
    hue = jnp.where(k < 0.0, k + 6.0, k) / 6.0
    return jnp.stack([hue, jnp.where(high > 0.0, (high - low) / jnp.where(high > 0.0, high, 1.0), 0.0), high])


def from_hsv(planes: Array) -> Array:
    """HSV to RGB, float32[3, H, W]; hue is in turns and wraps around, the others are in [0, 1].

    References:
      colorsys.hsv_to_rgb.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> print(image_ops.from_hsv(jnp.array([0.5, 1.0, 1.0]).reshape(3, 1, 1)).ravel())  # cyan
      [0. 1. 1.]
    """
    hue, saturation, value = planes
    turned = 6.0 * (hue - jnp.floor(hue))
    return value * (1.0 - saturation * (1.0 - _wheel(turned)))


def adjust_brightness(image: Array, factor: Scalar) -> Array:
    """Scales the image: float32[H, W, C] in [0, 1], factor >= 0, result clipped to [0, 1].

    References:
      torchvision.transforms.functional.adjust_brightness.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.array([[0.25, 0.75]])[..., None]
      >>> print(image_ops.adjust_brightness(image, 2.0)[..., 0])
      [[0.5 1. ]]
    """
    return pixels(blend(planes(image), factor))


def adjust_contrast(image: Array, factor: Scalar) -> Array:
    """Moves the image away from the mean of its grey image: 0 gives that mean, 1 the image.

    Shapes and ranges as in adjust_brightness.

    References:
      torchvision.transforms.functional.adjust_contrast.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.array([[0.25, 0.75]])[..., None]
      >>> print(image_ops.adjust_contrast(image, 0.5)[..., 0])  # nearer to the mean, 0.5
      [[0.375 0.625]]
    """
    return pixels(blend(planes(image), factor, mean=1.0 - factor))


def adjust_saturation(image: Array, factor: Scalar) -> Array:
    """Moves the image away from its grey image: 0 gives the grey image, 1 the image.

    The identity unless C = 3. Shapes and ranges as in adjust_brightness.

    References:
      torchvision.transforms.functional.adjust_saturation.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> red = jnp.array([[[1.0, 0.0, 0.0]]])
      >>> [round(x, 3) for x in image_ops.adjust_saturation(red, 0.0).ravel().tolist()]  # its grey image
      [0.299, 0.299, 0.299]
    """
    check_image(image)
    return image if image.shape[-1] != 3 else pixels(blend(planes(image), factor, 1.0 - factor))


def adjust_hue(image: Array, factor: Scalar) -> Array:
    """Turns the hue of every pixel in HSV space by `factor` turns; the identity unless C = 3.

    Args:
      image: float32[H, W, C] in [0, 1].
      factor: in [-0.5, 0.5]; the ends agree.

    Returns:
      float32[H, W, C] in [0, 1].

    Raises:
      ValueError: if image is not [H, W, C].

    References:
      torchvision.transforms.functional.adjust_hue.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> red = jnp.array([[[1.0, 0.0, 0.0]]])
      >>> [round(x, 3) for x in image_ops.adjust_hue(red, 0.5).ravel().tolist()]  # cyan, the opposite colour
      [0.0, 1.0, 1.0]
    """
    check_image(image)
    return image if image.shape[-1] != 3 else pixels(turn_hue(planes(image), factor))


def to_grayscale(image: Array) -> Array:
    """The grey image, repeated over the channels of image: float32[H, W, C] in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> [round(x, 3) for x in image_ops.to_grayscale(jnp.array([[[0.0, 0.0, 1.0]]])).ravel().tolist()]
      [0.114, 0.114, 0.114]
    """
    return pixels(jnp.broadcast_to(luma(planes(image)), (image.shape[-1], *image.shape[:2])))


def invert_above(image: Array, threshold: Scalar = 0.5) -> Array:
    """Solarisation: x becomes 1 - x where x >= threshold, as PIL's ImageOps.solarize.

    Args:
      image: float32[H, W, C] in [0, 1].
      threshold: in [0, 1]; 0.5 is PIL's default of 128 on uint8 images.

    Returns:
      float32[H, W, C] in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> image = jnp.array([[0.25, 0.5, 1.0]])[..., None]
      >>> print(image_ops.invert_above(image)[..., 0])
      [[0.25 0.5  0.  ]]
    """
    return jnp.where(image >= threshold, 1.0 - image, image)


def sobel(image: Array) -> Array:
    """The strength of edges: the length of the two Sobel gradients of the mean over channels, at most 1.

    Args:
      image: float32[H, W, C] in [0, 1]; beyond the border it goes on as at the border.

    Returns:
      float32[H, W, C] in [0, 1], alike in all channels; 1 at a step from black to white.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> step = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0, 1.0]), (3, 4))[..., None]
      >>> image_ops.sobel(step)[0, :, 0].tolist()
      [0.0, 1.0, 1.0, 0.0]
    """
    check_image(image)
    grey = jnp.pad(image.mean(axis=-1), 1, mode="edge")
    below, beside = grey[2:] - grey[:-2], grey[:, 2:] - grey[:, :-2]
    down = below[:, :-2] + 2 * below[:, 1:-1] + below[:, 2:]
    right = beside[:-2] + 2 * beside[1:-1] + beside[2:]
    edges = jnp.minimum(jnp.sqrt(down**2 + right**2) / 4, 1.0)
    return jnp.broadcast_to(edges[..., None], image.shape)


def erase(image: Array, centre: tuple[Scalar, Scalar], side: int, fill: float = 0.5) -> Array:
    """Fills a square that may hang over the border.

    Args:
      image: float32[H, W, C] in [0, 1].
      centre: (row, column) of the centre in pixels, ints, may be traced.
      side: pixels.
      fill: value, in [0, 1].

    Returns:
      float32[H, W, C] in [0, 1].

    References:
      DeVries & Taylor, Cutout, 2017, section 3.2. https://arxiv.org/abs/1708.04552

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data.augment import image_ops
      >>> print(image_ops.erase(jnp.zeros((3, 3, 1)), centre=(0, 1), side=2)[..., 0])  # hangs over the top
      [[0.5 0.5 0. ]
       [0.  0.  0. ]
       [0.  0.  0. ]]
    """
    row = jnp.arange(image.shape[0]) - (centre[0] - side // 2)
    column = jnp.arange(image.shape[1]) - (centre[1] - side // 2)
    hole = ((row >= 0) & (row < side))[:, None] & (column >= 0) & (column < side)
    return jnp.where(hole[..., None], fill, image)
