"""Random image augmentation in JAX: a view is a chain of operators, described by a ViewSpec.

Random operators take (key, image float32[H, W, C] in [0, 1], ...) and return an image of the same
kind, C = 1 or 3; saturation, hue and greying leave a grey image as it is. They see one image:
views() vmaps them inside the caller's jit. Hyper-parameters are Python numbers, so what is off
(probability 0, strength 0) is not traced at all. The deterministic operators are in image_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jssl import chunks
from jssl.data import image_ops
from jssl.data.view_spec import ViewSpec
from jssl.errors import UserError
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
    """
    box = random_crop_box(key, image.shape[0], image.shape[1], area, ratio)
    return image_ops.resized_crop(image, *box, size, interpolation)


def horizontal_flip(key: Array, image: Array, prob: float = 0.5) -> Array:
    """Mirrors left and right with probability prob."""
    return _maybe(key, image, prob, lambda _, x: x[:, ::-1])


def jitter_order(key: Array, count: int = 4) -> Array:
    """A uniform random permutation: the place of each of `count` operators, int32[count]."""
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
      UserError: if image is not [H, W, 1 or 3].

    References:
      torchvision.transforms.ColorJitter; Chen et al., SimCLR, 2020, appendix A.
      https://arxiv.org/abs/2002.05709
    """
    image_ops.check_image(image)
    if image.shape[-1] == 1:
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


def grayscale(key: Array, image: Array, prob: float = 0.2) -> Array:
    """Turns the image grey with probability prob; the number of channels stays."""
    if image.shape[-1] == 1:
        return image
    return _maybe(key, image, prob, lambda _, x: image_ops.to_grayscale(x))


def gaussian_blur(
    key: Array,
    image: Array,
    prob: float = 0.5,
    sigma: Range = (0.1, 2.0),
    kernel_size: int | None = None,
) -> Array:
    """Blurs with probability prob and sigma uniform in its range; see image_ops.blur."""
    return _maybe(key, image, prob, lambda k, x: image_ops.blur(x, _uniform(k, *sigma), kernel_size))


def solarize(key: Array, image: Array, prob: float = 0.2, threshold: float = 0.5) -> Array:
    """Inverts the pixels at or above threshold with probability prob."""
    return _maybe(key, image, prob, lambda _, x: image_ops.invert_above(x, threshold))


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
    """Adds normal noise with probability prob and clips to [0, 1]."""
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
    """
    if size == 0:
        return image
    height, width = image.shape[:2]
    side = max(1, round(size * min(height, width)))

    def cut(key: Array, image: Array) -> Array:
        centre = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
        return image_ops.erase(image, (centre[0], centre[1]), side)

    return _maybe(key, image, prob, cut)


Specs = Sequence[ViewSpec] | Mapping[str, ViewSpec]


def _expand(specs: Specs) -> list[ViewSpec]:
    """The spec of every view, copies repeated, in order."""
    ordered = specs.values() if isinstance(specs, Mapping) else specs
    return [spec for spec in ordered for _ in range(spec.copies)]


def num_views(specs: Specs) -> int:
    """How many views views() returns: the sum of copies."""
    return len(_expand(specs))


def augment(key: Array, image: Array, spec: ViewSpec, crop: bool = True) -> Array:
    """Makes one view of one image.

    In order: crop (or resize), flip, affine, colour jitter, grey, blur, solarise, noise, cutout.
    Each draws from its own key, so switching one off leaves the draws of the others as they were.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1], C = 1 or 3; H = W = spec.size where crop is False.
      spec: what to do.
      crop: whether to crop or resize; False where the host has done it.

    Returns:
      float32[size, size, C] in [0, 1].

    Raises:
      UserError: if image is not [H, W, 1 or 3], or crop is False and its sides are not spec.size.
    """
    image_ops.check_image(image)
    height, width = image.shape[:2]
    keys = jax.random.split(key, 9)
    ready = (height, width) == (spec.size, spec.size)
    if not crop and not ready:
        raise UserError(f"the image is {height} x {width}; crop it to {spec.size} x {spec.size}")
    if crop and (spec.crop_area_min, spec.crop_area_max) != (1, 1):
        area = (spec.crop_area_min, spec.crop_area_max)
        ratio = (spec.crop_ratio_min, spec.crop_ratio_max)
        image = random_resized_crop(keys[0], image, spec.size, area, ratio, spec.interpolation)
    elif not ready:
        image = image_ops.resized_crop(image, 0, 0, height, width, spec.size, spec.interpolation)
    image = horizontal_flip(keys[1], image, spec.flip_prob)
    scale = (spec.scale_min, spec.scale_max)
    image = affine(keys[2], image, spec.degrees, spec.translate, scale, spec.shear, spec.affine_prob)
    image = color_jitter(
        keys[3],
        image,
        spec.brightness,
        spec.contrast,
        spec.saturation,
        spec.hue,
        spec.jitter_prob,
    )
    image = grayscale(keys[4], image, spec.gray_prob)
    sigma = (spec.blur_sigma_min, spec.blur_sigma_max)
    image = gaussian_blur(keys[5], image, spec.blur_prob, sigma)
    image = solarize(keys[6], image, spec.solarize_prob, spec.solarize_threshold)
    image = gaussian_noise(keys[7], image, spec.noise_std, spec.noise_prob)
    return cutout(keys[8], image, spec.cutout_size, spec.cutout_prob)


def views(
    key: Array,
    images: Array | Sequence[Array],
    specs: Specs,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    parts: int = 1,
) -> tuple[Array, ...]:
    """Makes all views of a batch.

    The randomness of view v of example i depends on (key, v, i) only: not on the other examples,
    the batch size or the other views.

    Args:
      key: a PRNG key.
      images: uint8[B, H, W, C], cropped here; or one uint8[B, size, size, C] for every view
        (copies expanded, in order), already cropped on the host.
      specs: the ViewSpecs in order, as a sequence or by name.
      mean: subtracted from every view at the end; one number, or one a channel.
      std: then divided by, > 0.
      parts: of the batch, which are augmented one after the other to save memory; B must divide by it.

    Returns:
      num_views(specs) arrays, float32[B, size, size, C] each.

    Raises:
      UserError: if there is no view, the number of host crops is not num_views(specs), or a shape
        does not fit.
    """
    expanded = _expand(specs)
    crop = not isinstance(images, tuple | list)
    sources: list[Array] = [images] * len(expanded) if crop else list(images)  # type: ignore[list-item]
    if not expanded:
        raise UserError("there is no view; give at least one ViewSpec")
    if len(sources) != len(expanded):
        raise UserError(f"{len(sources)} host crops for {len(expanded)} views; give one a view")

    # Views of one recipe are traced once, which halves the compiled program of most methods.
    result: list[Array] = [jnp.zeros(())] * len(expanded)
    for spec in dict.fromkeys(expanded):
        numbers = [v for v, other in enumerate(expanded) if other == spec]
        same = sources[numbers[0]] if crop else jnp.stack([sources[v] for v in numbers])

        def make(v: Array, i: Array, image: Array, spec: ViewSpec = spec) -> Array:
            own_key = jax.random.fold_in(jax.random.fold_in(key, v), i)
            return to_float(augment(own_key, to_float(image), spec, crop), mean, std)

        def by_example(v: Array, i: Array, images: Array, make: Callable[..., Array] = make) -> Array:
            together = jax.vmap(make, (None, 0, 0))
            if parts == 1:
                return together(v, i, images)
            split = chunks.split_rows((i, images), parts)
            return chunks.join_rows(jax.lax.map(lambda part: together(v, *part), split))

        by_view = jax.vmap(by_example, (0, None, None if crop else 0))
        made = by_view(jnp.asarray(numbers), jnp.arange(sources[numbers[0]].shape[0]), same)
        for place, v in enumerate(numbers):
            result[v] = made[place]
    return tuple(result)


def to_float(images: Array, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> Array:
    """Images as a network takes them; all there is to do in evaluation.

    Args:
      images: uint8[..., C], or floats already in [0, 1].
      mean: subtracted; one number, or one a channel.
      std: then divided by, > 0.

    Returns:
      float32[..., C]: (images in [0, 1] - mean) / std.

    Raises:
      UserError: if mean or std has neither 1 nor C numbers, or std has one that is not > 0.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise UserError(
                f"{name} has {len(values)} numbers for {images.shape[-1]} channels; "
                "give one for all, or one a channel"
            )
    if not all(s > 0 for s in std):
        raise UserError(f"std is {tuple(std)}; set numbers > 0")
    integer = jnp.issubdtype(images.dtype, jnp.integer)
    images = images.astype(jnp.float32) / 255.0 if integer else images.astype(jnp.float32)
    if any(m != 0 for m in mean):
        images = images - jnp.array(mean, jnp.float32)
    if any(s != 1 for s in std):
        images = images / jnp.array(std, jnp.float32)
    return images


def center_resize(images: Array, size: int, interpolation: str = "bicubic") -> Array:
    """The largest central square of every image, resized with antialiasing.

    Args:
      images: uint8[B, H, W, C] or float32[B, H, W, C] in [0, 1].
      size: side of the result.
      interpolation: 'bicubic' or 'bilinear'.

    Returns:
      [B, size, size, C] of the same dtype (uint8 is rounded); images itself if it has that size.
    """
    height, width = images.shape[1:3]
    if height == width == size:
        return images
    side = min(height, width)
    box = ((height - side) // 2, (width - side) // 2, side, side)
    result = jax.vmap(lambda x: image_ops.resized_crop(x, *box, size, interpolation))(to_float(images))
    return result if images.dtype == result.dtype else jnp.round(result * 255).astype(images.dtype)
