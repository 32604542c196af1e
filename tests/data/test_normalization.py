import sys

import numpy as np
import pytest
from absl import flags as absl_flags
from ml_collections import config_flags
from PIL import Image

from jssl.config import defaults
from jssl.data import datasets, normalization, sources
from jssl.data.sources import ArraySource
from jssl.errors import UserError


def arrays(dtype="uint16", count=50, channels=3, **options):
    shape, top = (count, 6, 5, channels), 3000 if dtype == "uint16" else 200
    images = np.random.default_rng(0).integers(100, top, shape).astype(dtype)
    images[..., 0] //= 2
    return sources.ArraySource("x", images, **options)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_estimate_is_numpys_of_all_pixels(dtype):
    source = arrays(dtype)
    mean, std = normalization.estimate(source, seed=0)
    unit = source.images.reshape(-1, 3) / np.iinfo(dtype).max
    np.testing.assert_allclose(mean, unit.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, unit.std(axis=0), rtol=1e-5)
    assert all(type(value) is float for value in mean + std)
    assert (mean, std) == normalization.estimate(source, seed=9)  # all of them are looked at


def test_a_sample_is_seeded_and_unreadable_images_do_not_count():
    source = arrays(count=40)
    same, other = (normalization.estimate(source, seed, max_images=10) for seed in (0, 1))
    assert same == normalization.estimate(source, 0, max_images=10) != other
    bad = arrays(count=40, bad=dict.fromkeys(range(1, 40), "torn"))
    np.testing.assert_allclose(
        normalization.estimate(bad, 0)[0], source.images[0].mean(axis=(0, 1)) / 65535, rtol=1e-5
    )
    with pytest.raises(UserError, match="none of 1 images of x is readable"):
        normalization.estimate(arrays(count=1, bad={0: "torn"}), 0)


def test_a_channel_of_one_value_has_std_one():
    flat = sources.ArraySource("x", np.full((3, 2, 2, 1), 51, np.uint8))
    assert normalization.estimate(flat, 0) == ((0.2,), (1.0,))


def config(**changes):
    found = defaults("simclr")
    found.data.update({"name": "digits", **changes})
    return found


def test_data_know_what_the_config_asks_for():
    assert datasets.open_data(config()).info.mean is None
    data = datasets.open_data(config(mean=("estimate",)))
    assert data.info.std is None
    assert data.info.mean == normalization.estimate(data.train, 0)[0]  # of what trains, not of the holdout
    assert data.info.mean != normalization.estimate(sources.load("digits", "train"), 0)[0]


def test_what_a_run_noted_stays(monkeypatch):
    asked = config(mean=("estimate",), std=("estimate",))
    noted = datasets.open_data(asked).info
    monkeypatch.setattr(normalization, "estimate", lambda *_: pytest.fail("estimated anew"))
    assert datasets.open_data(asked, noted).info == noted


@pytest.mark.parametrize(
    ("given", "found"), [("estimate", ("estimate",)), ("(0.5,)", (0.5,)), ("0.5", (0.5,))]
)
def test_command_lines_may_say_either(given, found, monkeypatch):
    flags, argv = absl_flags.FlagValues(), ["program", f"--config.data.mean={given}"]
    monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for the keys that are set
    config_flags.DEFINE_config_dict("config", config(), flag_values=flags)
    flags(argv)
    assert flags.config.data.mean == found
    normalization.check(flags.config.data)
    resolved = normalization.resolve(flags.config.data.mean, (0.1, 0.2), 0.0)
    assert resolved == ((0.1, 0.2) if given == "estimate" else (0.5,))


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", [("estimated",), (0.5, "estimate"), ("0.5",)])
def test_other_words_are_refused(name, value):
    with pytest.raises(UserError, match=rf"data.{name}=.*must be numbers in parentheses.*or 'estimate'"):
        normalization.check(config(**{name: value}).data)


def test_twelve_bits_in_sixteen_fill_the_range(caplog):
    pixels = np.arange(4 * 8 * 8, dtype=np.uint16).reshape(4, 8, 8, 1) * 16
    source = ArraySource("scan", pixels)
    with caplog.at_level("WARNING", logger="absl"):
        assert normalization.value_range(source, ()) is None
    assert (
        "scan: pixels of 16 bits whose largest is 4080 of 65535, nearly black: set data.value_range=(0,4095)"
        in caplog.text
    )
    black_and_white = normalization.value_range(source, (0, 4095))
    full = normalization.spread(source, black_and_white, "uint16")
    np.testing.assert_array_equal(
        full.gather(range(4))["image"], np.round(pixels * (65535 / 4095)).astype(np.uint16)
    )
    eight_bits = ArraySource("a", pixels.astype(np.uint8))
    assert normalization.value_range(eight_bits, (0, 255)) is None
    with pytest.raises(
        UserError, match=r"data\.value_range=\(0, 300\) is more than pixels of uint8 hold, 0 to"
    ):
        normalization.value_range(eight_bits, (0, 300))
    with pytest.raises(
        UserError, match=r"pixels of a are uint8, those of the training images uint16: store them"
    ):
        normalization.spread(eight_bits, black_and_white, "uint16")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint32"])
def test_numbers_without_a_range_fill_sixteen_bits(dtype, caplog):
    pixels = np.arange(-96, 96).reshape(3, 8, 8, 1).astype(dtype)
    scale = (pixels.astype(float) - float(pixels.min())) / (float(pixels.max()) - float(pixels.min()))
    if dtype == "float32":
        pixels[0, 0, 0] = np.nan  # the least one
        scale = np.clip((pixels + 95) / 190, 0, 1)
        scale[0, 0, 0] = 0
    source = ArraySource("scan", pixels)
    with caplog.at_level("WARNING", logger="absl"):
        black_and_white = normalization.value_range(source, ())
    assert f"scan: pixels of {dtype}, of which {black_and_white[0]:g} is taken as black" in caplog.text
    full = normalization.spread(source, black_and_white, dtype)
    assert full.dtype == np.uint16
    np.testing.assert_allclose(full.gather(range(3))["image"], scale * 65535, atol=0.51 + 65535e-6)
    assert normalization.value_range(source, (), recorded=(0.0, 2.0)) == (0.0, 2.0)  # a run's stands
    with pytest.raises(UserError, match=r"the pixels of b are uint8, those of the training images .*: store"):
        normalization.spread(ArraySource("b", np.ones((3, 8, 8, 1), np.uint8)), black_and_white, dtype)
    with pytest.raises(UserError, match=r"that are all alike, or too far apart: set data\.value_range"):
        normalization.value_range(ArraySource("c", np.zeros((2, 4, 4, 1), dtype)), ())


@pytest.mark.parametrize("value", [(1,), (3, 2), (0, float("inf")), ("0", "1")])
def test_ranges_that_are_none_are_refused(value):
    with pytest.raises(UserError, match=r"data\.value_range"):
        normalization.check(config(value_range=value).data)


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_a_small_range_far_from_zero_is_kept_whole(offset):
    pixels = offset + np.arange(2 * 4 * 4).reshape(2, 4, 4, 1) / 64
    low, high = normalization.value_range(ArraySource("x", pixels), ())
    assert (low, high) == (pixels.min(), pixels.max())
    full = normalization.spread(ArraySource("x", pixels), (low, high), "float64").gather([0, 1])["image"]
    np.testing.assert_allclose(full.ravel(), np.arange(32) / 31 * 65535, atol=0.51)
    with pytest.raises(UserError, match="all alike, or too far apart"):
        normalization.value_range(ArraySource("x", np.array([-1.7e308, 1.7e308]).reshape(1, 1, 2, 1)), ())


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_the_byte_order_of_an_array_does_not_matter(suffix, tmp_path):
    pixels = np.arange(600, dtype=">u2").reshape(6, 10, 10, 1)
    path = tmp_path / f"a.{suffix}"
    np.save(path, pixels) if suffix == "npy" else np.savez(path, images=pixels)
    source = sources.load(str(path), "train")
    assert source.dtype == np.uint16
    for found in (
        source.gather([2, 0])["image"][0],
        source.handles([2])[0],
        source.take([2]).gather([0])["image"][0],
    ):
        assert found.dtype == np.dtype(np.uint16)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, pixels[2])


def test_files_of_eight_bits_have_no_range_of_sixteen(tmp_path):
    for number, dtype in enumerate((np.uint16, np.uint8)):
        Image.fromarray(np.full((8, 8), 200, dtype)).save(tmp_path / f"{number}.png")
    spread = normalization.spread(sources.load(str(tmp_path), "train"), (0.0, 4095.0), "uint16")
    assert spread.open(0)[0, 0] == round(200 / 4095 * 65535)
    with pytest.raises(sources.BadImage, match=r"1.png: pixels of uint8 where data.value_range is of uint16"):
        spread.open(1)
