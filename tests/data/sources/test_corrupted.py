import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jssl.config import defaults
from jssl.data import datasets, sources
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.pipeline import EvalBatches, TrainBatches
from jssl.data.sources import corrupted
from jssl.errors import UserError


def pictures(count=6, height=24, width=20, channels=3):
    """Random patches of 3 x 3 pixels: they have edges and flat parts."""
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, channels), np.uint8)
    return small.repeat(3, axis=1).repeat(3, axis=2)[:, :height, :width]


# Corruptions.


def once(image, kind, severity):
    return corrupted.corrupt_one(image, kind, severity, np.random.default_rng(1))


def by_hsv(image, change):
    """change(h, s, v) of every pixel, by colorsys."""
    result = np.zeros(image.shape)
    for y, x in np.ndindex(image.shape[:2]):
        result[y, x] = colorsys.hsv_to_rgb(*np.clip(change(*colorsys.rgb_to_hsv(*image[y, x] / 255.0)), 0, 1))
    return 255 * result


@pytest.mark.parametrize(("severity", "std"), [(1, 0.04), (5, 0.10)])
def test_gaussian_noise(severity, std):
    noise = once(np.full((100, 100, 3), 128, np.uint8), "gaussian_noise", severity) / 255 - 128 / 255
    assert abs(noise.mean()) < 0.003
    assert abs(noise.std() / std - 1) < 0.03
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(("severity", "photons"), [(1, 500), (5, 50)])
def test_shot_noise_grows_with_the_light(severity, photons):
    for value in (0, 30, 120):
        seen = once(np.full((100, 100, 3), value, np.uint8), "shot_noise", severity) / 255
        assert abs(seen.mean() - value / 255) < 0.003
        assert abs(seen.var() - value / 255 / photons) < 0.05 * value / 255 / photons + 2e-6


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (5, 0.07)])
def test_impulse_noise(severity, share):
    seen = once(np.full((200, 100, 3), 128, np.uint8), "impulse_noise", severity)
    black, white = ((seen == value).mean() for value in (0, 255))
    assert abs(black - share / 2) < 0.1 * share
    assert abs(white - share / 2) < 0.1 * share
    assert set(np.unique(seen)) == {0, 128, 255}


def test_gaussian_blur():
    image = pictures()[0]
    for severity, sigma in ((1, 0.4), (5, 1.0)):
        expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest")
        np.testing.assert_allclose(once(image, "gaussian_blur", severity), expected, atol=0.6)


def test_brightness_and_saturation_agree_with_colorsys():
    image = pictures()[0]
    image[0], image[1] = 0, [255, 0, 10]
    for severity, shift in ((1, 0.05), (5, 0.3)):
        expected = by_hsv(image, lambda h, s, v, shift=shift: (h, s, v + shift))
        np.testing.assert_allclose(once(image, "brightness", severity), expected, atol=0.51)
    for severity, a, b in ((1, 0.3, 0), (3, 1.5, 0), (5, 2.5, 0.2)):
        expected = by_hsv(image, lambda h, s, v, a=a, b=b: (h, a * s + b, v))
        np.testing.assert_allclose(once(image, "saturate", severity), expected, atol=0.51)
    grey = np.full((4, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(once(grey, "saturate", 5), grey)


def test_contrast():
    image = pictures()[0]
    for severity, factor in ((1, 0.75), (5, 0.15)):
        actual = once(image, "contrast", severity).astype(float)
        np.testing.assert_allclose(actual.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.3)
        np.testing.assert_allclose(actual.std(axis=(0, 1)), factor * image.std(axis=(0, 1)), atol=0.3)


def test_pixelate():
    """A few large pixels, each the mean of the small ones whose centres it holds."""
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    actual = once(image, "pixelate", 5)  # 13 x 13
    centres = np.arange(20) + 0.5
    held = np.abs(centres - (np.arange(13)[:, None] + 0.5) * 20 / 13) <= 10 / 13
    means = held / held.sum(axis=1, keepdims=True)
    small = np.einsum("hy,wx,yxc->hwc", means, means, image)
    large = np.floor(centres * 13 / 20).astype(int)
    np.testing.assert_allclose(actual, small[large][:, large], atol=1.01)


def test_jpeg():
    image = pictures()[0]
    for severity, quality in ((1, 80), (5, 40)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(once(image, "jpeg", severity), np.asarray(Image.open(file)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", corrupted.KINDS)
def test_every_corruption_grows_and_is_a_function_of_its_row(kind, channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 30, channels), np.uint8)
    images[2] = images[0]
    before = images.copy()
    results = [corrupted.corrupt(images, kind, severity, seed=7) for severity in (1, 2, 3, 4, 5)]
    assert all(x.dtype == np.uint8 and x.shape == images.shape for x in results)
    np.testing.assert_array_equal(images, before)
    errors = [np.abs(x - images.astype(float)).mean() for x in results]
    if kind == "saturate":
        assert (min(errors) > 1) == (channels == 3)
    else:
        assert errors[0] > 0
        assert errors[0] < errors[2] < errors[4]
    result = results[4]
    np.testing.assert_array_equal(
        result[1], corrupted.corrupt_one(images[1], kind, 5, np.random.default_rng((7, 1)))
    )
    np.testing.assert_array_equal(result[:2], corrupted.corrupt(images[:2], kind, 5, seed=7))
    random = kind.endswith("noise")
    assert np.array_equal(result[0], result[2]) != random
    assert np.array_equal(result, corrupted.corrupt(images, kind, 5, seed=8)) != random


@pytest.mark.parametrize("kind", sorted(set(corrupted.KINDS) - {"jpeg"}))
def test_sixteen_bits_are_corrupted_as_eight_are(kind):
    narrow = np.random.default_rng(0).integers(0, 256, (1, 16, 12, 5), np.uint8)
    wide = narrow.astype(np.uint16) * 257
    result = corrupted.corrupt(wide, kind, 3, seed=0)
    assert result.dtype == np.uint16
    expected = corrupted.corrupt(narrow, kind, 3, seed=0)
    np.testing.assert_allclose(result / 65535, expected / 255, atol=0.51 / 255)
    small, large = (corrupted.lower_resolution(x, 5) for x in (narrow, wide))
    np.testing.assert_allclose(large / 65535, small / 255, atol=0.51 / 255)


def test_jpeg_takes_no_sixteen_bits():
    deep = sources.ArraySource("deep", np.zeros((1, 8, 8, 1), np.uint16))
    with pytest.raises(UserError, match="jpeg takes images of uint8 with 1 or 3 channels, not uint16 with 1"):
        corrupted.corrupted(deep, "jpeg", 3, 0, seed=0)


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("gausian_noise", 1, "unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"),
        ("jpeg", 0, "severity of jpeg is 0; set it to 1, 2, 3, 4 or 5"),
        ("jpeg", 6, "severity of jpeg is 6"),
        ("jpeg", 2.5, "severity of jpeg is 2.5"),
        ("jpeg", True, "severity of jpeg is True"),
    ],
)
def test_bad_corruptions(kind, severity, message):
    images = pictures(1)
    with pytest.raises(UserError, match=message):
        corrupted.corrupt(images, kind, severity, seed=0)
    with pytest.raises(UserError, match=message):
        corrupted.corrupt_one(images[0], kind, severity, np.random.default_rng(0))
    with pytest.raises(UserError, match=message):
        corrupted.corrupted(sources.ArraySource("a", images), kind, severity, 0, seed=0)


# Resolution.


@pytest.mark.parametrize("channels", [1, 3])
def test_lower_resolution_keeps_low_frequencies_only(channels):
    images = pictures(2, 24, 24, channels)
    result = corrupted.lower_resolution(images, 6)
    assert result.shape == images.shape
    assert result.dtype == np.uint8
    whole, small = np.fft.fft2(np.stack([images, result]) / 255.0, axes=(2, 3))
    frequency = np.abs(np.fft.fftfreq(24) * 24)
    highest = np.maximum(frequency[:, None], frequency)
    high, low = highest > 5, (highest > 0) & (highest < 2)
    assert (np.abs(small[:, high]) ** 2).sum() < 0.1 * (np.abs(whole[:, high]) ** 2).sum()
    assert (np.abs(small - whole)[:, low] ** 2).sum() < 0.05 * (np.abs(whole[:, low]) ** 2).sum()
    np.testing.assert_allclose(result.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=2)
    np.testing.assert_array_equal(corrupted.lower_resolution(images, 24), images)
    np.testing.assert_array_equal(corrupted.lower_resolution(images, 99), images)
    for size in (0, -3, 2.5):
        with pytest.raises(UserError, match=r"the resolution is .*; set it to a side in pixels"):
            corrupted.lower_resolution(images, size)
        with pytest.raises(UserError, match="the resolution is"):
            corrupted.corrupted(sources.ArraySource("a", images), "", 1, size or -1, seed=0)


# Sources.


@pytest.fixture
def folder(tmp_path):
    """Six PNGs of two classes and, at the end, one that is none."""
    for i, image in enumerate(pictures()):
        path = tmp_path / ("ant" if i < 3 else "bee") / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "bee" / "broken.png").write_text("not an image")
    return sources.FolderSource(tmp_path)


def test_shifted_arrays_and_files_agree(folder):
    images = pictures()
    array = sources.ArraySource("a", images, np.array([0, 0, 0, 1, 1, 1]), ("ant", "bee"), {4: "a.png: torn"})
    for corruption, resolution in (("gaussian_noise", 0), ("", 9), ("impulse_noise", 9)):
        expected = images if not resolution else corrupted.lower_resolution(images, resolution)
        expected = corrupted.corrupt(expected, corruption, 3, seed=5) if corruption else expected
        now = corrupted.corrupted(array, corruption, 3, resolution, seed=5)
        assert isinstance(now, sources.ArraySource)
        np.testing.assert_array_equal(now.images, expected)
        assert (now.name, now.class_names, now.bad) == (array.name, array.class_names, array.bad)
        np.testing.assert_array_equal(now.labels(), array.labels())

        later = corrupted.corrupted(folder, corruption, 3, resolution, seed=5)
        for i in range(6):
            np.testing.assert_array_equal(later.decode(later.open(i), i), expected[i])
        with pytest.raises(sources.BadImage, match=r"bee/broken\.png"):
            later.open(6)
        assert len(later) == 7
        assert later.class_names == ("ant", "bee")
        assert later.filename(0) == "ant/0.png"
        np.testing.assert_array_equal(later.labels(), folder.labels())
    np.testing.assert_array_equal(array.images, pictures())
    for source in (array, folder):
        assert corrupted.corrupted(source, "", 0, 0, seed=5) is source


def test_batches_of_a_shifted_folder(folder):
    """Whole images and crops alike, in training and in evaluation; the unreadable one is passed over."""
    source = corrupted.corrupted(folder, "gaussian_noise", 5, 12, seed=5)
    expected = corrupted.corrupt(corrupted.lower_resolution(pictures(), 12), "gaussian_noise", 5, seed=5)
    batch = TrainBatches(source, 7, seed=0, steps=1, process=0, processes=1)[0]
    np.testing.assert_array_equal(batch["image"], expected[batch["index"]])
    assert batch["bad"].tolist().count(6) == 1
    batch = EvalBatches(source, 6, process=0, processes=1)[0]
    np.testing.assert_array_equal(batch["image"], expected)

    whole = ViewSpec(size=20, crop_area_min=0.3)
    crops = TrainBatches(source, 7, seed=0, steps=1, crop_specs={"whole": whole}, process=0, processes=1)[0]
    array = sources.ArraySource("a", np.concatenate([expected, expected[:1]]), bad={6: "none"})
    same = TrainBatches(array, 7, seed=0, steps=1, crop_specs={"whole": whole}, process=0, processes=1)[0]
    np.testing.assert_array_equal(crops["image"]["whole"], same["image"]["whole"])


def test_a_part_of_a_shifted_source_is_shifted_as_the_whole_is(folder):
    part = corrupted.corrupted(folder, "contrast", 5, 0, seed=0).take([1, 2])
    expected = corrupted.corrupt(pictures(), "contrast", 5, seed=0)
    np.testing.assert_array_equal(part.decode(part.open(1), 1), expected[2])


def options(**changes):
    config = defaults("simclr")
    config.data.update({"name": "digits", "labels": "5 per class", "holdout": 0.0})
    config.data.unlabeled.update(changes)
    return config


def test_the_unlabelled_stream_may_differ_from_the_labelled_one():
    plain = datasets.open_data(options())
    assert plain.unlabeled()[0] is plain.train
    source, labels = plain.labeled()
    assert len(source) == plain.info.num_labeled == 50
    np.testing.assert_array_equal(labels, source.labels())

    alone = datasets.open_data(options(with_labeled=False))
    assert alone.info.num_examples == len(alone.train) - 50
    assert (alone.unlabeled()[1] == -1).all()
    assert not set(alone.unlabeled_indices) & set(alone.labeled_indices)

    tailed = datasets.open_data(options(imbalance_ratio=10.0))
    counts = np.bincount(tailed.unlabeled()[0].labels())
    assert counts[0] / counts[-1] == pytest.approx(10, rel=0.1)
    assert tailed.info.num_examples == counts.sum()

    noisy = datasets.open_data(options(corruption="gaussian_noise", severity=5, resolution=4))
    images = noisy.unlabeled()[0].images
    assert images.shape == noisy.train.images.shape
    assert (images != noisy.train.images).mean() > 0.5
    np.testing.assert_array_equal(noisy.labeled()[0].images, plain.labeled()[0].images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corruption": "jpg"}, "unknown corruption 'jpg': did you mean 'jpeg'"),
        ({"corruption": "jpeg", "severity": 6}, "set it to 1, 2, 3, 4 or 5"),
        ({"resolution": -1}, "at least 1"),
        ({"imbalance_ratio": 0.5}, "set it to at least 1"),
    ],
)
def test_a_shift_that_there_is_not_is_told_when_the_data_are_opened(changes, message):
    with pytest.raises(UserError, match=message):
        datasets.open_data(options(**changes))


def test_with_all_labels_there_is_nothing_else():
    config = options(with_labeled=False)
    config.data.labels = "all"
    with pytest.raises(UserError, match="all images have labels"):
        datasets.open_data(config)
