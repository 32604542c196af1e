import colorsys
import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from jssl import rng, settings
from jssl.data import augment as aug
from jssl.data.augment import image_ops as ops
from jssl.data.augment import operators
from jssl.data.augment.randaugment import randaugment

KEY = jax.random.key(0)
TOLERANCE = 2 / 255

# These tests compile more than they compute.
fast_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
EVERYTHING = aug.ViewSpec(
    size=12,
    crop_area_min=0.2,
    flip_prob=0.5,
    jitter_prob=1.0,
    brightness=0.8,
    contrast=0.8,
    saturation=0.8,
    hue=0.2,
    gray_prob=0.2,
    blur_prob=0.5,
    sobel_prob=0.2,
    solarize_prob=0.2,
    degrees=20.0,
    translate=0.1,
    scale_min=0.9,
    scale_max=1.1,
    shear=5.0,
    noise_std=0.1,
    cutout_size=0.3,
    cutout_prob=0.5,
)

SMALL = aug.ViewSpec(size=8, copies=2, crop_area_min=0.2, flip_prob=0.5, brightness=0.8, cutout_size=0.3)


def picture(height=24, width=20, channels=3, seed=0):
    """Random uint8 image with hard edges, so that wrong borders and offsets show."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def unit(image):
    return jnp.asarray(image, jnp.float32) / 255


def pil_apply(image, function):
    """function on an 8-bit PIL image, back as float."""
    return np.asarray(function(Image.fromarray(image)), np.float64) / 255


# Deterministic operators against PIL, colorsys and plain NumPy.


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_resized_crop_agrees_with_pil(interpolation):
    image, size = picture(), 9
    crop = fast_jit(lambda x, box: ops.resized_crop(x, *box, size, interpolation))
    method = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[interpolation]
    for box in (
        (0, 0, 24, 20),  # the whole image, smaller
        (3, 5, 6, 7),  # larger
        (2, 1, 20, 7),  # smaller one way, larger the other
        (23, 0, 1, 20),  # one row
        (4, 4, 9, 9),  # no change of scale
    ):
        top, left, height, width = box
        # Mode F is PIL's resize without its rounding and clipping between the two passes.
        cut = np.asarray(image, np.float32)[top : top + height, left : left + width]
        planes = [Image.fromarray(np.ascontiguousarray(cut[..., c])) for c in range(3)]
        expected = np.stack([np.asarray(x.resize((size, size), method)) for x in planes], -1)
        expected = np.clip(expected / 255, 0, 1)
        actual = crop(unit(image), box)
        np.testing.assert_allclose(actual, expected, atol=1e-4, err_msg=str(box))
    with pytest.raises(ValueError, match="interpolation is 'nearest'"):
        ops.resized_crop(unit(image), 0, 0, 24, 20, size, "nearest")


@pytest.mark.parametrize(
    ("operator", "enhancer"),
    [
        (ops.adjust_brightness, ImageEnhance.Brightness),
        (ops.adjust_contrast, ImageEnhance.Contrast),
        (ops.adjust_saturation, ImageEnhance.Color),
    ],
)
def test_linear_colour_agrees_with_pil(operator, enhancer):
    image = picture()
    compiled = fast_jit(operator)
    for factor in (0.0, 0.4, 1.0, 1.7):
        expected = pil_apply(image, lambda x, f=factor: enhancer(x).enhance(f))
        np.testing.assert_allclose(compiled(unit(image), factor), expected, atol=TOLERANCE)


def test_hue_agrees_with_colorsys():
    image = picture()
    image[0] = [128, 128, 128]
    image[1] = [255, 0, 255]
    image[2] = 0
    image = image / 255.0
    adjust_hue = fast_jit(ops.adjust_hue)
    for factor in (-0.5, -0.13, 0.0, 0.2, 0.5):
        expected = np.zeros_like(image)
        for y, x in np.ndindex(image.shape[:2]):
            h, s, v = colorsys.rgb_to_hsv(*image[y, x])
            expected[y, x] = colorsys.hsv_to_rgb((h + factor) % 1.0, s, v)
        actual = adjust_hue(jnp.asarray(image, jnp.float32), factor)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_hsv_agrees_with_colorsys():
    image = picture(12, 10)
    image[0], image[1], image[2], image[3] = 0, 255, 77, [255, 0, 0]
    image = image / 255.0
    expected = np.array([[colorsys.rgb_to_hsv(*pixel) for pixel in row] for row in image])
    planes = jnp.moveaxis(jnp.asarray(image, jnp.float32), -1, 0)
    hsv = fast_jit(ops.to_hsv)(planes)
    np.testing.assert_allclose(jnp.moveaxis(hsv, 0, -1), expected, atol=1e-5)
    back = fast_jit(ops.from_hsv)
    np.testing.assert_allclose(back(hsv), planes, atol=1e-5)
    np.testing.assert_allclose(back(hsv + jnp.array([-1.0, 0, 0])[:, None, None]), planes, atol=1e-5)


def test_reflected_window_is_a_crop_of_a_padded_image():
    image = picture(6, 5)
    padded = np.pad(image, ((5, 5), (4, 4), (0, 0)), mode="reflect") / 255
    window = fast_jit(ops.reflected_window)
    for down, right in itertools.product((-5, -1, 0, 5), (-4, 0, 2, 4)):
        expected = padded[5 + down : 11 + down, 4 + right : 9 + right]
        np.testing.assert_allclose(window(unit(image), down, right), expected, atol=1e-6)


def test_grey_and_solarize_agree_with_pil():
    image = picture()
    grey = pil_apply(image, lambda x: x.convert("L").convert("RGB"))
    np.testing.assert_allclose(ops.to_grayscale(unit(image)), grey, atol=TOLERANCE)
    for threshold in (128, 40):
        inverted = pil_apply(image, lambda x, t=threshold: ImageOps.solarize(x, t))
        actual = ops.invert_above(unit(image), (threshold - 0.5) / 255)
        np.testing.assert_allclose(actual, inverted, atol=1e-6)
    np.testing.assert_allclose(ops.invert_above(unit(image)), pil_apply(image, ImageOps.solarize), atol=1e-6)


@pytest.mark.parametrize(("sigma", "taps"), [(0.1, 3), (2.0, 9), (3.0, 23)])
def test_blur_agrees_with_padded_convolution(sigma, taps):
    image = picture(14, 12) / 255.0
    radius = taps // 2
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    expected = np.zeros_like(image)
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    for i, j in itertools.product(range(taps), repeat=2):
        expected += kernel[i] * kernel[j] * padded[i : i + 14, j : j + 12]
    actual = fast_jit(ops.blur, static_argnums=2)(jnp.asarray(image, jnp.float32), sigma, taps)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_edges_agree_with_scipy():
    for image in (picture(), picture(channels=1)):
        grey = unit(image).mean(axis=-1)
        length = np.hypot(*(ndimage.sobel(grey, axis, mode="nearest") for axis in (0, 1))) / 4
        edges = np.asarray(ops.sobel(unit(image)))
        np.testing.assert_allclose(
            edges, np.broadcast_to(np.minimum(length, 1)[..., None], image.shape), atol=1e-5
        )
        assert edges.max() > 0.1


def test_blur_kernel_size():
    assert [ops.default_kernel_size(s) for s in (8, 32, 96, 224)] == [3, 3, 9, 23]
    with pytest.raises(ValueError, match="odd"):
        ops.blur(jnp.zeros((8, 8, 3)), 1.0, 4)
    with pytest.raises(ValueError, match="at most 15"):
        ops.blur(jnp.zeros((8, 8, 3)), 1.0, 17)


def inverse_matrix(angle, translate, scale, shear):
    """torchvision's forward matrix about the origin, inverted numerically."""
    a, sx, sy = np.deg2rad([angle, *shear])
    forward = np.array(
        [
            [np.cos(a - sy) / np.cos(sy), -np.cos(a - sy) * np.tan(sx) / np.cos(sy) - np.sin(a)],
            [np.sin(a - sy) / np.cos(sy), -np.sin(a - sy) * np.tan(sx) / np.cos(sy) + np.cos(a)],
        ]
    )
    inverse = np.linalg.inv(scale * forward)
    return np.concatenate([inverse, -inverse @ np.array(translate)[:, None]], axis=1)


general_warp = fast_jit(ops.warp)
separable_warp = fast_jit(lambda x, translate, scale: ops.warp(x, 0.0, translate, scale))


@pytest.mark.parametrize(
    ("angle", "translate", "scale", "shear"),
    [
        (30.0, (0.0, 0.0), 1.0, (0.0, 0.0)),
        (-75.0, (3.0, -2.0), 1.3, (10.0, 0.0)),
        (10.0, (1.5, 0.0), 0.7, (-8.0, 15.0)),
        (0.0, (3.0, -2.0), 1.0, (0.0, 0.0)),
        (0.0, (-1.25, 0.5), 0.8, (0.0, 0.0)),
    ],
)
def test_warp_agrees_with_a_loop_and_with_pil(angle, translate, scale, shear):
    image = picture(15, 18)
    height, width = image.shape[:2]
    matrix = inverse_matrix(angle, translate, scale, shear)
    expected, interior = np.zeros(image.shape), np.zeros((height, width), bool)
    for y, x in np.ndindex(height, width):
        u, v = matrix @ [x - (width - 1) / 2, y - (height - 1) / 2, 1.0]
        u, v = u + (width - 1) / 2, v + (height - 1) / 2
        interior[y, x] = 0.01 < u < width - 1.01 and 0.01 < v < height - 1.01
        for j, i in itertools.product((0, 1), repeat=2):
            column, row = int(np.floor(u)) + i, int(np.floor(v)) + j
            if 0 <= column < width and 0 <= row < height:
                weight = (1 - abs(u - column)) * (1 - abs(v - row))
                expected[y, x] += weight * image[row, column] / 255
    assert interior.sum() > 50
    a, b = matrix[:, :2], matrix[:, 2]
    centre = np.array([width, height]) / 2
    c = b + centre - a @ centre
    data = (*a[0], c[0], *a[1], c[1])
    pil = pil_apply(image, lambda x: x.transform(x.size, Image.AFFINE, data, Image.BILINEAR))

    results = [general_warp(unit(image), angle, translate, scale, shear)]
    if angle == 0:
        results.append(separable_warp(unit(image), translate, scale))
    for actual in results:
        np.testing.assert_allclose(actual, expected, atol=1e-4)
        np.testing.assert_allclose(np.asarray(actual)[interior], pil[interior], atol=TOLERANCE)


def test_warp_turns_clockwise_and_moves_right_and_down():
    image = np.zeros((15, 18, 3), np.float32)
    image[0, 8:10] = 1.0  # the middle of the top
    turned = general_warp(image, 90.0, (0.0, 0.0), 1.0, (0.0, 0.0))
    np.testing.assert_allclose(turned[6:9, 15:17].sum(), 6.0, atol=1e-3)  # now at the right
    assert separable_warp(image, (2.0, 3.0), 1.0)[3, 10, 0] == 1


@pytest.mark.parametrize("fast", [general_warp, separable_warp])
def test_warp_fills_from_outside(fast):
    """As if the image were what it is above the fill, and the fill were black."""
    image = np.asarray(unit(picture(9, 12)))
    angle, translate, scale, shear = 0.0, (2.5, -3.0), 0.8, (0.0, 0.0)
    if fast is general_warp:
        angle, shear = 25.0, (10.0, 0.0)
        actual = ops.warp(image, angle, translate, scale, shear, fill=0.3)
    else:
        actual = ops.warp(image, translate=translate, scale=scale, fill=0.3)
    black = np.asarray(general_warp(image, angle, translate, scale, shear))
    share = np.asarray(general_warp(np.ones_like(image), angle, translate, scale, shear))
    assert (share == 0).any()
    np.testing.assert_allclose(actual, black + 0.3 * (1 - share), atol=1e-5)


def test_erase_overhangs():
    image = jnp.zeros((6, 8, 1))
    inside = np.asarray(ops.erase(image, (3, 4), 3))[..., 0]
    expected = np.zeros((6, 8))
    expected[2:5, 3:6] = 0.5
    np.testing.assert_array_equal(inside, expected)
    corner = np.asarray(ops.erase(image, (0, 7), 4))[..., 0]
    expected = np.zeros((6, 8))
    expected[:2, 5:] = 0.5
    np.testing.assert_array_equal(corner, expected)


# Random operators.

OPERATORS = {
    "crop": lambda k, x, p: operators.random_resized_crop(k, x, 9, (0.2, 0.8)),
    "flip": lambda k, x, p: operators.horizontal_flip(k, x, p),
    "window": lambda k, x, p: operators.random_window(k, x, 3 if p else 0),
    "hsv": lambda k, x, p: operators.hsv_jitter(k, x, p),
    "jitter": lambda k, x, p: operators.color_jitter(k, x, 0.8, 0.8, 0.8, 0.2, p),
    "gray": lambda k, x, p: operators.grayscale(k, x, p),
    "blur": lambda k, x, p: operators.gaussian_blur(k, x, p, (0.5, 2.0)),
    "sobel": lambda k, x, p: operators.sobel(k, x, p),
    "solarize": lambda k, x, p: operators.solarize(k, x, p),
    "affine": lambda k, x, p: operators.affine(k, x, 30, 0.3, (0.7, 1.4), 10, p),
    "noise": lambda k, x, p: operators.gaussian_noise(k, x, 0.2, p),
    "cutout": lambda k, x, p: operators.cutout(k, x, 0.4, p),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_range_and_probability(name, channels):
    images = jnp.stack([unit(picture(12, 12, channels, seed)) for seed in range(64)])
    keys = jax.random.split(KEY, 64)

    probs = (1.0, 0.5) if channels == 3 else (1.0,)  # chance knows no channels
    always, *half = fast_jit(jax.vmap(lambda k, x: tuple(OPERATORS[name](k, x, prob) for prob in probs)))(
        keys, images
    )
    always = np.asarray(always)
    side = 9 if name == "crop" else 12
    assert always.shape == (64, side, side, channels)
    assert always.dtype == np.float32
    assert always.min() >= 0
    assert always.max() <= 1
    if name == "crop":
        return
    image = images[0]
    assert OPERATORS[name](KEY, image, 0.0) is image
    changed = np.any(always != np.asarray(images), axis=(1, 2, 3))
    if name == "window":  # one of 49 moves is none
        assert changed.mean() > 0.8
        return
    assert changed.all() == (not (name == "gray" and channels == 1))
    assert changed.any() == changed.all()
    if changed.all() and half:
        acted = np.any(np.asarray(half[0]) != np.asarray(images), axis=(1, 2, 3)).mean()
        assert 0.25 < acted < 0.75


def test_jitter_order_is_uniform():
    draws = 24 * 500
    orders = fast_jit(jax.vmap(operators.jitter_order))(jax.random.split(KEY, draws))
    _, counts = np.unique(np.asarray(orders), axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 500.0) ** 2 / 500).sum() < 49.7  # chi-square, 23 degrees, p = 0.001


def test_jitter_applies_every_order():
    """Every result is one of the 24 compositions, with that draw's factors, and all 24 occur."""
    image = unit(picture(6, 6))
    results = fast_jit(jax.vmap(lambda k: operators.color_jitter(k, image, 0.8, 0.8, 0.8, 0.2, prob=1.0)))(
        jax.random.split(KEY, 400)
    )
    adjust = [
        fast_jit(jax.vmap(operator))
        for operator in (
            ops.adjust_brightness,
            ops.adjust_contrast,
            ops.adjust_saturation,
            ops.adjust_hue,
        )
    ]

    @fast_jit
    @jax.vmap
    def draw(key):  # prob = 1 hands the key on as it is
        order_key, factor_key, hue_key = jax.random.split(key, 3)
        factors = 0.2 + 1.6 * jax.random.uniform(factor_key, (3,))
        turn = jax.random.uniform(hue_key, (), minval=-0.2, maxval=0.2)
        return operators.jitter_order(order_key), jnp.append(factors, turn)

    places, factors = draw(jax.random.split(KEY, 400))
    permutations = list(itertools.permutations(range(4)))
    made = []
    for permutation in permutations:
        x = jnp.broadcast_to(image, (400, *image.shape))
        for i in permutation:
            x = adjust[i](x, factors[:, i])
        made.append(np.asarray(x))
    made = np.stack(made, axis=1)
    drawn = [permutations.index(tuple(np.argsort(place).tolist())) for place in places]
    assert set(drawn) == set(range(24))
    np.testing.assert_allclose(results, made[np.arange(400), drawn], atol=2e-5)
    errors = np.abs(made - np.asarray(results)[:, None]).max(axis=(2, 3, 4))
    assert np.median(np.sort(errors, axis=1)[:, -1]) > 0.05  # the order matters here


def test_jitter_without_hue_or_with_hue_alone():
    image = unit(picture(6, 6))
    keys = jax.random.split(KEY, 32)

    def jitter(*strengths):
        f = fast_jit(jax.vmap(lambda k: operators.color_jitter(k, image, *strengths, prob=1.0)))
        return np.asarray(f(keys))

    turned = jitter(0, 0, 0, 0.3)
    np.testing.assert_allclose(turned.max(-1), np.broadcast_to(image.max(-1), (32, 6, 6)))
    brighter = jitter(0.5, 0, 0, 0)
    small = np.asarray(image) < 0.6  # not clipped at any factor up to 1.5
    ratio = (brighter / np.maximum(image, 1e-6))[:, small & (np.asarray(image) > 0.05)]
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)
    assert 0.5 <= ratio.min() < 0.7
    assert 1.3 < ratio.max() <= 1.5 + 1e-5
    assert operators.color_jitter(KEY, image, 0, 0, 0, 0) is image


def test_random_window_draws_every_move_alike():
    image = unit(picture(6, 5, 1))
    keys = jax.random.split(KEY, 4900)
    views = np.asarray(fast_jit(jax.vmap(lambda k: operators.random_window(k, image, 3)))(keys))
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = [padded[y : y + 6, x : x + 5] for y, x in itertools.product(range(7), repeat=2)]
    counts = np.array([(np.abs(views - window).max(axis=(1, 2, 3)) < 1e-6).sum() for window in windows])
    assert counts.sum() == 4900
    assert ((counts - 100.0) ** 2 / 100).sum() < 84  # chi-square, 48 degrees, p = 0.001


HSV = {"hue": 0.0, "power": 0.0, "gain": 0.0, "shift": 0.0}


@pytest.mark.parametrize(
    ("name", "strength", "draw"),
    [
        ("power", 2.0, lambda x: np.log2(np.log(x) / np.log(0.5))),
        ("gain", 0.5, lambda x: np.log2(x / 0.5)),
        ("shift", 0.1, lambda x: x - 0.5),
    ],
)
def test_hsv_jitter_draws_uniformly_and_for_each_on_its_own(name, strength, draw):
    """Undoing one change on a pixel with s = v = 1/2 gives the numbers that were drawn."""
    image = jnp.array([[[0.5, 0.25, 0.25]]])
    fields = HSV | {name: strength}
    results = fast_jit(jax.vmap(lambda k: operators.hsv_jitter(k, image, **fields)))(
        jax.random.split(KEY, 4000)
    )
    hsv = np.array([colorsys.rgb_to_hsv(*x) for x in np.asarray(results[:, 0, 0], np.float64)])
    np.testing.assert_allclose(np.sin(2 * np.pi * hsv[:, 0]), 0.0, atol=1e-4)
    drawn = draw(hsv[:, 1:]) / strength
    for values in drawn.T:
        assert np.abs(np.sort(values) - np.linspace(-1, 1, 4000)).max() < 0.07  # twice 0.035: p < 1e-4
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.06


def test_hsv_jitter_agrees_with_colorsys():
    """The whole formula, with the draws of each key; hue wraps around; grey images have value only."""
    image = picture(5, 6)
    jitter = fast_jit(lambda k, x: operators.hsv_jitter(k, x, 1.0, 0.4, 2.0, 0.5, 0.3))
    turns = []
    for key in jax.random.split(KEY, 6):  # prob = 1 hands the key on as it is
        hue_key, value_key = jax.random.split(key)
        turn = float(jax.random.uniform(hue_key, (), minval=-0.4, maxval=0.4))
        scale = np.array([[2.0], [0.5], [0.3]])
        power, gain, shift = scale * jax.random.uniform(value_key, (3, 2), minval=-1.0, maxval=1.0)
        expected = np.zeros(image.shape)
        for y, x in np.ndindex(image.shape[:2]):
            h, *sv = colorsys.rgb_to_hsv(*image[y, x] / 255.0)
            sv = np.clip(np.power(sv, 2**power) * 2**gain + shift, 0, 1)
            expected[y, x] = colorsys.hsv_to_rgb((h + turn) % 1.0, *sv)
        np.testing.assert_allclose(jitter(key, unit(image)), expected, atol=1e-4)
        value = np.clip((image[..., :1] / 255.0) ** 2 ** power[1] * 2 ** gain[1] + shift[1], 0, 1)
        np.testing.assert_allclose(jitter(key, unit(image[..., :1])), value, atol=1e-4)
        turns.append(turn)
    assert min(turns) < -0.1
    assert max(turns) > 0.1


def test_crop_box_distribution():
    height, width, area, ratio = 200, 160, (0.1, 0.5), (3 / 4, 4 / 3)
    keys = jax.random.split(KEY, 8000)
    box = fast_jit(jax.vmap(lambda k: operators.random_crop_box(k, height, width, area, ratio)))(keys)
    top, left, h, w = (np.asarray(side, np.float64) for side in box)
    assert ((top >= 0) & (left >= 0) & (h > 0) & (w > 0)).all()
    assert ((top + h <= height) & (left + w <= width)).all()
    fractions = h * w / (height * width)
    # Kolmogorov-Smirnov distances from the two uniform laws; 0.03 is p < 1e-6 at 8000 draws.
    for values, low, high in (
        (fractions, *area),
        (np.log(w / h), np.log(ratio[0]), np.log(ratio[1])),
    ):
        law = np.clip((np.sort(values) - low) / (high - low), 0, 1)
        assert np.abs(law - np.arange(1, 8001) / 8001).max() < 0.03
    place = top / (height - h)
    assert abs(place.mean() - 0.5) < 0.02
    assert place.min() == 0
    assert place.max() == 1


def test_crop_box_fits_small_images_and_falls_back():
    shapes = ((3, 3), (2, 9), (40, 5))
    draw = fast_jit(jax.vmap(lambda k: [operators.random_crop_box(k, *shape) for shape in shapes]))
    for (height, width), box in zip(shapes, draw(jax.random.split(KEY, 500)), strict=True):
        top, left, h, w = (np.asarray(side) for side in box)
        assert ((top >= 0) & (left >= 0) & (h > 0) & (w > 0)).all()
        assert ((top + h <= height) & (left + w <= width)).all()
    # No box of 90 % and a ratio near 1 fits a long image: the largest central one is taken.
    wide, tall = fast_jit(
        lambda k: (
            operators.random_crop_box(k, 10, 40, (0.9, 1.0), (0.9, 1.2)),
            operators.random_crop_box(k, 40, 10, (0.9, 1.0), (0.8, 1.2)),
        )
    )(KEY)
    assert [int(side) for side in wide] == [0, 14, 10, 12]
    assert [int(side) for side in tall] == [14, 0, 12, 10]


def test_random_affine_draws_within_ranges():
    """With shifts alone a dot moves by whole pixels, over the whole range and not beyond."""
    image = jnp.zeros((21, 21, 1)).at[10, 10].set(1.0)
    keys = jax.random.split(KEY, 300)
    moved = fast_jit(jax.vmap(lambda k: operators.affine(k, image, translate=0.2)))(keys)
    places = np.argwhere(np.asarray(moved)[..., 0] == 1)[:, 1:] - 10
    assert len(places) == 300
    assert set(places[:, 0].tolist()) == set(places[:, 1].tolist()) == set(range(-4, 5))


# Views.

LARGE = dataclasses.replace(SMALL, size=12, copies=1)


@pytest.fixture(scope="module")
def batch():
    return jnp.stack([jnp.asarray(picture(16, 16, 3, seed)) for seed in range(6)])


@pytest.fixture(scope="module")
def make_views():
    specs = {"large": LARGE, "small": SMALL}
    return fast_jit(lambda key, images: aug.views(key, images, specs))


def test_views_are_independent(batch, make_views):
    made = make_views(KEY, batch)
    (first,), small = made["large"], made["small"]
    assert first.shape == (6, 12, 12, 3)
    assert [x.shape for x in small] == [(6, 8, 8, 3)] * 2
    assert all(x.dtype == jnp.float32 for x in (first, *small))
    assert first.min() >= 0
    assert first.max() <= 1
    assert (np.abs(small[0] - small[1]).max(axis=(1, 2, 3)) > 0.05).all()
    (again,) = make_views(KEY, batch)["large"]
    np.testing.assert_array_equal(first, again)
    (other,) = make_views(jax.random.key(1), batch)["large"]
    assert (np.abs(first - other).max(axis=(1, 2, 3)) > 0.05).all()

    # The same image in every row gives a different view in every row.
    (same,) = make_views(KEY, jnp.broadcast_to(batch[:1], batch.shape))["large"]
    for i, j in itertools.combinations(range(6), 2):
        assert np.abs(same[i] - same[j]).max() > 0.05
    # Row 2 depends on its own image only, nor on how many rows and views there are.
    (changed,) = make_views(KEY, batch.at[3:].set(0).at[0].set(255))["large"]
    np.testing.assert_array_equal(first[1:3], changed[1:3])
    # Nor on what other views there are, or in which order.
    fewer = fast_jit(lambda key, images: aug.views(key, images, {"large": LARGE}))(KEY, batch[:3])
    assert set(fewer) == {"large"}
    np.testing.assert_allclose(first[:3], fewer["large"][0], atol=1e-5)
    specs = {"small": dataclasses.replace(SMALL, copies=1), "a": LARGE}
    renamed = fast_jit(lambda key, images: aug.views(key, images, specs))(KEY, batch)
    np.testing.assert_allclose(small[0], renamed["small"][0], atol=1e-5)
    assert (np.abs(first - renamed["a"][0]).max(axis=(1, 2, 3)) > 0.05).all()


def test_augment_permutes_with_keys_and_images(batch):
    run = fast_jit(jax.vmap(lambda k, x: aug.augment(k, x, EVERYTHING)))
    keys, images = jax.random.split(KEY, 6), aug.to_float(batch)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_array_equal(run(keys, images)[order], run(keys[order], images[order]))


def test_views_of_host_crops(batch):
    plain = aug.ViewSpec(size=16)
    flipped = aug.ViewSpec(size=8, crop_area_min=0.3, flip_prob=1.0, copies=2)
    small = batch[:, :8, :8]
    specs = {"whole": plain, "small": flipped}
    result = aug.views(KEY, {"whole": (batch,), "small": (small, 255 - small)}, specs)
    assert set(result) == {"whole", "small"}
    np.testing.assert_allclose(result["whole"][0], batch / 255, atol=1e-6)
    np.testing.assert_allclose(result["small"][0], small[:, :, ::-1] / 255, atol=1e-6)
    np.testing.assert_allclose(result["small"][1], 1 - small[:, :, ::-1] / 255, atol=1e-6)
    with pytest.raises(ValueError, match="a crop for every copy of every view"):
        aug.views(KEY, {"whole": (batch,), "small": (small,)}, specs)
    with pytest.raises(ValueError, match="16 x 16; crop it to 8 x 8"):
        aug.views(KEY, {"whole": (batch,), "small": (batch, batch)}, specs)


def test_views_only_resize_by_default_and_standardise(batch):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    (whole,) = aug.views(KEY, batch, {"x": aug.ViewSpec(size=16)}, mean, std)["x"]
    expected = (np.asarray(batch) / 255.0 - mean) / std
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(aug.to_float(batch, mean, std), expected, atol=1e-5)
    spec = aug.ViewSpec(size=8, interpolation="bilinear")
    (half,) = fast_jit(lambda k, x: aug.views(k, x, {"x": spec})["x"])(KEY, batch)
    # At half the size the triangle weighs 4 pixels by 1, 3, 3, 1 (3, 3, 1 and 1, 3, 3 outside).
    rows = sum(w * np.eye(16, k=k)[::2] for w, k in zip((1, 3, 3, 1), (-1, 0, 1, 2)))
    rows = rows / rows.sum(axis=1, keepdims=True)
    expected = np.einsum("hy,wx,yxc->hwc", rows, rows, batch[4] / 255)
    np.testing.assert_allclose(half[4], expected, atol=1e-5)
    (one,) = aug.views(KEY, batch, {"x": aug.ViewSpec(size=16)}, (0.5,), (0.5,))["x"]
    np.testing.assert_allclose(one, np.asarray(batch) / 127.5 - 1, atol=1e-5)
    with pytest.raises(ValueError, match="mean has 2 numbers for 3 channels"):
        aug.to_float(batch, (0.1, 0.2))
    with pytest.raises(ValueError, match="std is"):
        aug.to_float(batch, (0.0,), (0.0,))
    with pytest.raises(ValueError, match="no view"):
        aug.views(KEY, batch, {})


def test_every_operator_of_the_chain_is_wired(batch):
    """Switching one operator on changes the view as that operator alone does."""
    image, size = aug.to_float(batch[0]), 16
    linear = {"jitter_prob": 1.0}
    cases = [
        ({"crop_area_min": 0.2}, lambda k, x: operators.random_resized_crop(k[0], x, 16, (0.2, 1.0))),
        ({"flip_prob": 1.0}, lambda k, x: x[:, ::-1]),
        ({"pad": 5}, lambda k, x: operators.random_window(k["pad"], x, 5)),
        ({"randaug_num_ops": 5}, lambda k, x: randaugment(k["randaugment"], x, 5)),
        (
            {"randaug_num_ops": 5, "randaug_magnitude": 0.5},
            lambda k, x: randaugment(k["randaugment"], x, 5, 0.5),
        ),
        ({"hsv_prob": 1.0}, lambda k, x: operators.hsv_jitter(k["hsv"], x)),
        (
            {"hsv_prob": 0.9, "hsv_hue": 0.2, "hsv_power": 1.0, "hsv_gain": 0.3, "hsv_shift": 0.2},
            lambda k, x: operators.hsv_jitter(k["hsv"], x, 0.9, 0.2, 1.0, 0.3, 0.2),
        ),
        ({"degrees": 30.0}, lambda k, x: operators.affine(k[2], x, degrees=30.0)),
        ({"translate": 0.3}, lambda k, x: operators.affine(k[2], x, translate=0.3)),
        ({"shear": 30.0}, lambda k, x: operators.affine(k[2], x, shear=30.0)),
        ({"scale_min": 0.5}, lambda k, x: operators.affine(k[2], x, scale=(0.5, 1.0))),
        (linear | {"brightness": 0.5}, lambda k, x: operators.color_jitter(k[3], x, 0.5, 0, 0, 0, 1)),
        (linear | {"contrast": 0.5}, lambda k, x: operators.color_jitter(k[3], x, 0, 0.5, 0, 0, 1)),
        (linear | {"saturation": 0.5}, lambda k, x: operators.color_jitter(k[3], x, 0, 0, 0.5, 0, 1)),
        (linear | {"hue": 0.5}, lambda k, x: operators.color_jitter(k[3], x, 0, 0, 0, 0.5, 1)),
        ({"gray_prob": 1.0}, lambda k, x: ops.to_grayscale(x)),
        (
            {"blur_prob": 1.0, "blur_sigma_min": 1.0},
            lambda k, x: operators.gaussian_blur(k[5], x, 1.0, (1.0, 2.0)),
        ),
        ({"sobel_prob": 1.0}, lambda k, x: ops.sobel(x)),
        ({"sobel_prob": 0.7}, lambda k, x: operators.sobel(k["sobel"], x, 0.7)),
        ({"solarize_prob": 1.0, "solarize_threshold": 0.3}, lambda k, x: ops.invert_above(x, 0.3)),
        ({"noise_std": 0.2}, lambda k, x: operators.gaussian_noise(k[7], x, 0.2)),
        ({"cutout_size": 0.5}, lambda k, x: operators.cutout(k[8], x, 0.5)),
    ]

    @fast_jit
    def run(key, image):
        keys = dict(enumerate(jax.random.split(key, 9)))
        keys |= {name: rng.derive(key, name) for name in ("pad", "randaugment", "hsv", "sobel")}
        return [
            (aug.augment(key, image, aug.ViewSpec(size=size, **fields)), operator(keys, image))
            for fields, operator in cases
        ]

    assert aug.augment(KEY, image, aug.ViewSpec(size=size)) is image
    for (fields, _), (actual, expected) in zip(cases, run(KEY, image), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6, err_msg=str(fields))
        assert np.abs(actual - image).max() > 0.01, fields


def test_new_operators_have_their_place_and_leave_the_draws_of_the_others(batch):
    """Window, flip, RandAugment, HSV, noise: what one draws does not depend on the others."""
    on = {"pad": 4, "flip_prob": 0.5, "randaug_num_ops": 1, "hsv_prob": 1.0, "noise_std": 0.1}

    @fast_jit
    @jax.vmap
    def both(key, image):
        keys = jax.random.split(key, 9)
        expected = operators.random_window(rng.derive(key, "pad"), image, 4)
        expected = operators.horizontal_flip(keys[1], expected)
        expected = randaugment(rng.derive(key, "randaugment"), expected, 1)
        expected = operators.hsv_jitter(rng.derive(key, "hsv"), expected)
        expected = operators.gaussian_noise(keys[7], expected, 0.1)
        return aug.augment(key, image, aug.ViewSpec(size=16, **on)), expected

    actual, expected = both(jax.random.split(KEY, 6), aug.to_float(batch))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_grey_images_keep_one_channel(batch):
    grey = batch[..., :1]
    (view,) = fast_jit(lambda k, x: aug.views(k, x, {"x": EVERYTHING})["x"])(KEY, grey)
    assert view.shape == (6, 12, 12, 1)
    image = aug.to_float(grey[0])
    assert ops.adjust_saturation(image, 0.3) is ops.adjust_hue(image, 0.3) is image
    assert operators.color_jitter(KEY, image, 0, 0, 0.8, 0.2, prob=1.0) is image
    with pytest.raises(ValueError, match="not \\[4, 4\\]"):
        aug.augment(KEY, jnp.zeros((4, 4)), EVERYTHING)


def test_what_is_no_colour_is_for_any_number_of_channels():
    """Geometry, blur, noise, cutout, solarisation, brightness and contrast; colours stay."""
    channels = 5
    image = unit(picture(12, 12, channels))
    chain = (
        lambda x: operators.random_resized_crop(KEY, x, 12),
        lambda x: operators.random_window(KEY, x, 3),
        lambda x: operators.horizontal_flip(KEY, x, 1.0),
        lambda x: operators.affine(KEY, x, 20.0, 0.1, (0.8, 1.2), 10.0),
        lambda x: operators.gaussian_blur(KEY, x, 1.0),
        lambda x: operators.solarize(KEY, x, 1.0),
        lambda x: operators.cutout(KEY, x, 0.5),
        lambda x: operators.color_jitter(KEY, x, 0.8, 0.0, 0.0, 0.0, 1.0),
    )

    @fast_jit
    def both(image):
        alone = jnp.moveaxis(image, -1, 0)[..., None]
        return [(operator(image), jax.vmap(operator)(alone)[..., 0]) for operator in chain]

    for whole, alone in both(image):
        np.testing.assert_allclose(whole, jnp.moveaxis(alone, 0, -1), atol=1e-6)
    expected = np.clip(0.5 * np.asarray(image) + 0.5 * np.asarray(image).mean(), 0, 1)
    np.testing.assert_allclose(ops.adjust_contrast(image, 0.5), expected, atol=1e-6)
    assert operators.color_jitter(KEY, image, 0, 0, 0.8, 0.2, prob=1.0) is image
    assert operators.hsv_jitter(KEY, image) is operators.grayscale(KEY, image, 1.0) is image
    assert ops.adjust_saturation(image, 0.3) is ops.adjust_hue(image, 0.3) is image
    view = jax.eval_shape(lambda x: aug.augment(KEY, x, EVERYTHING), image)
    assert view.shape == (12, 12, channels)


def test_what_is_skipped_is_said():
    asked = ("saturation", "hue", "gray_prob", "hsv_prob", "color of RandAugment")
    spec = aug.ViewSpec(size=12, saturation=0.1, hue=0.1, gray_prob=0.1, hsv_prob=0.1, randaug_num_ops=1)
    assert spec.skipped(5) == asked
    assert (
        spec.skipped(1)
        == spec.skipped(3)
        == aug.ViewSpec(size=12, brightness=0.4, flip_prob=1.0).skipped(5)
        == ()
    )


def test_sixteen_bits_are_divided_by_their_maximum():
    deep = np.array([[[[0], [257], [65535]]]], np.uint16)
    np.testing.assert_allclose(aug.to_float(deep)[0, 0, :, 0], [0, 1 / 255, 1], rtol=1e-6)
    same = aug.to_float((deep // 257).astype(np.uint8))
    np.testing.assert_allclose(aug.to_float(deep), same, rtol=1e-6)
    large = np.full((1, 8, 8, 5), 40_000, np.uint16)
    small = aug.center_resize(large, 4)
    assert (small.dtype, small.shape) == (np.uint16, (1, 4, 4, 5))
    np.testing.assert_array_equal(small, 40_000)


def test_views_trace_once_and_abstractly(batch):
    traces = []

    @fast_jit
    def run(key, images):
        traces.append(1)
        return aug.views(key, images, {"x": aug.ViewSpec(size=8, crop_area_min=0.2, flip_prob=0.5)})

    shape = jax.eval_shape(run, KEY, jax.ShapeDtypeStruct((6, 16, 16, 3), jnp.uint8))
    assert shape["x"][0].shape == (6, 8, 8, 3)
    before = len(traces)
    for seed in range(3):
        run(jax.random.key(seed), batch)
    assert len(traces) - before <= 1


def test_center_resize():
    images = jnp.asarray(picture(10, 14)[None])
    resize = fast_jit(aug.center_resize, static_argnums=1)
    result = resize(images, 5)
    assert result.dtype == jnp.uint8
    exact = resize(unit(images), 5)
    assert exact.dtype == jnp.float32
    crop = fast_jit(lambda x: ops.resized_crop(x, 0, 2, 10, 10, 5))
    np.testing.assert_allclose(exact[0], crop(unit(images[0])), atol=1e-6)
    assert np.abs(np.asarray(result, np.float32) - 255 * exact).max() <= 0.5 + 1e-3
    square = images[:, :, :10]
    assert aug.center_resize(square, 10) is square


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size=0 must be from 1 to 16384"),
        ({"size": 8.5}, "size=8.5 must be a whole number"),
        ({"size": 8, "copies": 0}, "copies=0 must be from 1 to 1024"),
        ({"size": 8, "blur_prob": 1.5}, r"blur_prob=1.5 must be in \[0, 1\]"),
        ({"size": 8, "blur_prob": float("nan")}, "blur_prob=nan must be"),
        ({"size": 8, "hue": 0.6}, "hue=0.6 must be from 0 to 0.5"),
        ({"size": 8, "brightness": -1}, "brightness=-1 must be at least 0"),
        ({"size": 8, "contrast": "much"}, "contrast='much' must be a number"),
        ({"size": 8, "pad": 8}, "pad=8 must be less than size, which is 8"),
        ({"size": 8, "pad": -1}, "pad=-1 must be at least 0"),
        ({"size": 8, "pad": 0.5}, "pad=0.5 must be a whole number"),
        ({"size": 8, "randaug_num_ops": 1.5}, "randaug_num_ops=1.5 must be a whole number"),
        ({"size": 8, "randaug_magnitude": 1.5}, r"randaug_magnitude=1.5 must be in \[0, 1\]"),
        ({"size": 8, "hsv_prob": 2}, r"hsv_prob=2 must be in \[0, 1\]"),
        ({"size": 8, "hsv_hue": 0.6}, "hsv_hue=0.6 must be from 0 to 0.5"),
        ({"size": 8, "hsv_power": -1}, "hsv_power=-1 must be"),
        ({"size": 8, "hsv_gain": float("inf")}, "hsv_gain=inf must be"),
        ({"size": 8, "hsv_shift": 1.5}, r"hsv_shift=1.5 must be in \[0, 1\]"),
        ({"size": 8, "crop_area_min": 0.0}, "crop_area_min=0.0 must be above 0 and at most 1"),
        ({"size": 8, "crop_area_max": 2.0}, "crop_area_max=2.0 must be"),
        ({"size": 8, "crop_ratio_min": 2.0}, "crop_ratio_min=2.0 must be at most crop_ratio_max"),
        ({"size": 8, "scale_min": 1.5}, "scale_min=1.5 must be at most scale_max, which is 1.0"),
        ({"size": 8, "interpolation": "nearest"}, "unknown interpolation 'nearest'"),
        ({"size": 1, "blur_prob": 0.5}, "size=1 must be at least 2, or blur_prob 0"),
    ],
)
def test_bad_spec_values(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        aug.ViewSpec(**fields)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"(views\.first\.|unknown views\.first\.interpolation)"):
        settings.make(aug.ViewSpec, fields, "views.first")


def test_a_spec_of_a_section():
    spec = settings.make(aug.ViewSpec, {"size": 32, "blur_prob": 0.5}, "views.first")
    assert spec == aug.ViewSpec(size=32, blur_prob=0.5)
    with pytest.raises(
        ValueError, match=r"unknown key of views\.first 'blur_probs': did you mean 'blur_prob'"
    ):
        settings.make(aug.ViewSpec, {"size": 32, "blur_probs": 0.5}, "views.first")
    with pytest.raises(ValueError, match=r"views\.first\.size is missing"):
        settings.make(aug.ViewSpec, {"flip_prob": 0.5}, "views.first")
