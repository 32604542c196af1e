"""Random views of images in JAX: a view is a chain of operators (operators.py), described by a ViewSpec.

The operators see one image: views() vmaps them inside the caller's jit.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jssl import rng
from jssl.data.augment import image_ops, operators
from jssl.data.augment.color_space import lab_to_rgb, rgb_to_lab, scale_lab, unscale_lab
from jssl.data.augment.randaugment import randaugment
from jssl.data.augment.sound import SoundView
from jssl.data.augment.view_spec import ViewSpec
from jssl.errors import UserError
from jssl.parallel import microbatches
from jssl.types import Array

Specs = Mapping[str, ViewSpec]


def copies_of(specs: Specs) -> dict[str, int]:
    """The number of copies of every view, by name.

    Example:
      >>> from jssl.data.augment.views import ViewSpec, copies_of
      >>> copies_of({"global": ViewSpec(size=32, copies=2), "local": ViewSpec(size=16, copies=6)})
      {'global': 2, 'local': 6}
    """
    return {name: spec.copies for name, spec in specs.items()}


def draw_number(view: str, copy: int) -> int:
    """The number of a copy of a view from which its random key is derived, uint32."""
    return zlib.crc32(f"{view}/{copy}".encode())


def augment(key: Array, image: Array, spec: ViewSpec, crop: bool = True) -> Array:
    """Makes one view of one image.

    In order: crop (or resize), pad, flip, affine, RandAugment, HSV jitter, colour jitter, grey, Sobel,
    blur, solarise, noise, cutout.
    Each draws from its own key, so switching one off leaves the draws of the others as they were.

    Args:
      key: a PRNG key.
      image: float32[H, W, C] in [0, 1]; H = W = spec.size where crop is False. What changes colours (saturation,
        hue, HSV jitter, grey) leaves images of other than 1 or 3 channels as they are.
      spec: what to do.
      crop: whether to crop or resize; False where the host has done it.

    Returns:
      float32[size, size, C] in [0, 1].

    Raises:
      UserError: if image is not [H, W, C], or crop is False and its sides are not spec.size.

    Example:
      >>> import jax
      >>> from jssl.data import augment
      >>> spec = augment.ViewSpec(size=4, flip_prob=1.0)
      >>> image = jax.numpy.linspace(0.0, 1.0, 16).reshape(4, 4, 1)
      >>> view = augment.augment(jax.random.key(0), image, spec)
      >>> bool((view == image[:, ::-1]).all())
      True
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
        image = operators.random_resized_crop(keys[0], image, spec.size, area, ratio, spec.interpolation)
    elif not ready:
        image = image_ops.resized_crop(image, 0, 0, height, width, spec.size, spec.interpolation)
    image = operators.random_window(rng.derive(key, "pad"), image, spec.pad)
    image = operators.horizontal_flip(keys[1], image, spec.flip_prob)
    scale = (spec.scale_min, spec.scale_max)
    image = operators.affine(
        keys[2], image, spec.degrees, spec.translate, scale, spec.shear, spec.affine_prob
    )
    image = randaugment(rng.derive(key, "randaugment"), image, spec.randaug_num_ops, spec.randaug_magnitude)
    image = operators.hsv_jitter(
        rng.derive(key, "hsv"),
        image,
        spec.hsv_prob,
        spec.hsv_hue,
        spec.hsv_power,
        spec.hsv_gain,
        spec.hsv_shift,
    )
    image = operators.color_jitter(
        keys[3],
        image,
        spec.brightness,
        spec.contrast,
        spec.saturation,
        spec.hue,
        spec.jitter_prob,
    )
    image = operators.grayscale(keys[4], image, spec.gray_prob)
    image = operators.sobel(rng.derive(key, "sobel"), image, spec.sobel_prob)
    sigma = (spec.blur_sigma_min, spec.blur_sigma_max)
    image = operators.gaussian_blur(keys[5], image, spec.blur_prob, sigma)
    image = operators.solarize(keys[6], image, spec.solarize_prob, spec.solarize_threshold)
    image = operators.gaussian_noise(keys[7], image, spec.noise_std, spec.noise_prob)
    return operators.cutout(keys[8], image, spec.cutout_size, spec.cutout_prob)


def views(
    key: Array,
    images: Array | Mapping[str, Sequence[Array]],
    specs: Specs,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    parts: int = 1,
    color_space: str = "rgb",
    sound: SoundView | None = None,
) -> dict[str, tuple[Array, ...]]:
    """Makes all views of a batch.

    The randomness of a view of example i depends on the key, the name and copy of the view, and i only: not on the
    other examples, the batch size or the other views.

    Args:
      key: a PRNG key.
      images: uint8 or uint16[B, H, W, C], cropped here; or by view a [B, size, size, C] for every copy, already
        cropped on the host.
      specs: what each view is, by name.
      mean: subtracted from every view at the end; one number, or one a channel.
      std: then divided by, > 0.
      parts: of the batch, which are augmented one after the other to save memory; B must divide by it.
      color_space: of the views, see `to_float`.
      sound: how every view hears, where the images are waveforms; see `SoundView.image`.

    Returns:
      By view a float32[B, size, size, C] for every copy.

    Raises:
      UserError: if there is no view, host crops are not those of the specs, or a shape does not fit.

    Example:
      >>> import jax
      >>> from jssl.data import augment
      >>> images = jax.numpy.zeros((8, 32, 32, 3), "uint8")
      >>> specs = {"global": augment.ViewSpec(size=24, copies=2), "local": augment.ViewSpec(size=8)}
      >>> made = jax.jit(lambda key, images: augment.views(key, images, specs))(jax.random.key(0), images)
      >>> {name: [view.shape for view in copies] for name, copies in made.items()}
      {'global': [(8, 24, 24, 3), (8, 24, 24, 3)], 'local': [(8, 8, 8, 3)]}
    """
    refs = [(name, copy) for name, spec in specs.items() for copy in range(spec.copies)]
    if not refs:
        raise UserError("there is no view; give at least one ViewSpec")
    crops = images if isinstance(images, Mapping) else None
    if crops is not None and {name: len(each) for name, each in crops.items()} != copies_of(specs):
        raise UserError("host crops and views differ: give a crop for every copy of every view")
    recipe_of = {ref: dataclasses.replace(specs[ref[0]], copies=1) for ref in refs}
    made: dict[tuple[str, int], Array] = {}

    # Views of one recipe are traced once, which halves the compiled program of most methods.
    for recipe in dict.fromkeys(recipe_of.values()):
        same = [ref for ref in refs if recipe_of[ref] == recipe]
        sources: Any = images
        if crops is not None:
            sources = jnp.stack([crops[name][copy] for name, copy in same])

        def make(v: Array, i: Array, image: Array, spec: ViewSpec = recipe) -> Array:
            own_key = jax.random.fold_in(jax.random.fold_in(key, v), i)
            if sound is not None:
                image = sound.image(image, rng.derive(own_key, "sound"))
            made = augment(own_key, to_float(image), spec, crops is None)
            return to_float(made, mean, std, color_space)

        def by_example(v: Array, i: Array, images: Array, make: Callable[..., Array] = make) -> Array:
            each = jax.vmap(make, (None, 0, 0))
            if parts == 1:
                return each(v, i, images)
            split = microbatches.split_microbatches((i, images), parts)
            return microbatches.join_microbatches(jax.lax.map(lambda part: each(v, *part), split))

        by_view = jax.vmap(by_example, (0, None, None if crops is None else 0))
        rows = jnp.arange(sources.shape[0 if crops is None else 1])
        found = by_view(jnp.asarray([draw_number(*ref) for ref in same], jnp.uint32), rows, sources)
        made |= {ref: found[place] for place, ref in enumerate(same)}
    return {name: tuple(made[name, copy] for copy in range(spec.copies)) for name, spec in specs.items()}


def to_float(
    images: Array,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    color_space: str = "rgb",
) -> Array:
    """Images as a network takes them; all there is to do in evaluation.

    Args:
      images: uint8 or uint16[..., C], whose largest value becomes 1, or floats already in [0, 1].
      mean: subtracted; one number, or one a channel.
      std: then divided by, > 0.
      color_space: 'rgb' for pixels as they are; 'lab' makes CIE Lab of the three channels of sRGB, centred and divided
        by 50 (L is in [-1, 1]), before mean and std.

    Returns:
      float32[..., C]: (images in [0, 1] - mean) / std.

    Raises:
      UserError: if mean or std has neither 1 nor C numbers, or std has one that is not > 0; for Lab of other than
        three channels.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data import augment
      >>> images = jnp.array([[0, 255]], jnp.uint8).reshape(1, 1, 2, 1)
      >>> augment.to_float(images, mean=(0.5,), std=(0.25,)).ravel().tolist()
      [-2.0, 2.0]
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise UserError(
                f"{name} has {len(values)} numbers for {images.shape[-1]} channels; "
                "give one for all, or one a channel"
            )
    if not all(s > 0 for s in std):
        raise UserError(f"std is {tuple(std)}; set numbers > 0")
    most = jnp.iinfo(images.dtype).max if jnp.issubdtype(images.dtype, jnp.integer) else 1
    images = images.astype(jnp.float32) / most if most > 1 else images.astype(jnp.float32)
    if color_space == "lab":
        check_colors(images.shape[-1])
        images = scale_lab(rgb_to_lab(images))
    if any(m != 0 for m in mean):
        images = images - jnp.array(mean, jnp.float32)
    if any(s != 1 for s in std):
        images = images / jnp.array(std, jnp.float32)
    return images


def to_pixels(
    images: Array,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    color_space: str = "rgb",
) -> Array:
    """Images of what a network takes, to be looked at: undoes `to_float`.

    Args:
      images: float[..., C], as from `to_float`.
      mean, std, color_space: as there.

    Returns:
      float32[..., C], in [0, 1] if they came from there.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data import augment
      >>> images = jnp.array([0.0, 0.5, 1.0])  # a pixel
      >>> seen = augment.to_float(images, color_space="lab")
      >>> augment.to_pixels(seen, color_space="lab").round(3).tolist()
      [0.0, 0.5, 1.0]
    """
    images = images * jnp.array(std, jnp.float32) + jnp.array(mean, jnp.float32)
    return lab_to_rgb(unscale_lab(images)) if color_space == "lab" else images


def check_colors(channels: int) -> None:
    """Raises UserError if images of so many channels have no Lab."""
    if channels != 3:
        raise UserError(
            f"data.color_space='lab' takes images of 3 channels, red, green and blue, not of {channels}"
        )


def center_resize(images: Array, size: int, interpolation: str = "bicubic", fraction: float = 1.0) -> Array:
    """The central square of every image, resized with antialiasing.

    Args:
      images: uint8 or uint16[B, H, W, C], or float32[B, H, W, C] in [0, 1].
      size: side of the result.
      interpolation: 'bicubic' or 'bilinear'.
      fraction: side of the square over the shorter side of the images, in (0, 1].

    Returns:
      [B, size, size, C] of the same dtype (integers are rounded); images itself if it is that.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data import augment
      >>> images = jnp.full((2, 48, 64, 3), 7, jnp.uint8)
      >>> small = augment.center_resize(images, 32)
      >>> small.shape, int(small.min()), int(small.max())
      ((2, 32, 32, 3), 7, 7)
    """
    height, width = images.shape[1:3]
    side = max(1, round(min(height, width) * fraction))
    if height == width == size == side:
        return images
    box = ((height - side) // 2, (width - side) // 2, side, side)
    result = jax.vmap(lambda x: image_ops.resized_crop(x, *box, size, interpolation))(to_float(images))
    if images.dtype == result.dtype:
        return result
    return jnp.round(result * jnp.iinfo(images.dtype).max).astype(images.dtype)


def five_crops(images: Array, part: float = 0.875) -> list[Array]:
    """The centre and the four corners of square images, resized to what they were.

    Args:
      images: float[B, S, S, C] in [0, 1], so before they are standardised.
      part: side of a crop over that of the image, in (0, 1].

    Returns:
      Five arrays float32[B, S, S, C].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.data import augment
      >>> [crop.shape for crop in augment.five_crops(jnp.zeros((2, 32, 32, 3)))]
      [(2, 32, 32, 3), (2, 32, 32, 3), (2, 32, 32, 3), (2, 32, 32, 3), (2, 32, 32, 3)]
    """
    size = images.shape[1]
    side = max(1, round(part * size))
    room = size - side
    corners = [(room // 2, room // 2), (0, 0), (0, room), (room, 0), (room, room)]

    def crop(top: int, left: int) -> Array:
        return jax.vmap(lambda x: image_ops.resized_crop(x, top, left, side, side, size, "bilinear"))(images)

    return [crop(top, left) for top, left in corners]
