import sys

import numpy as np
import pytest
from absl import flags as absl_flags
from ml_collections import config_flags

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
        assert normalization.of_full_range(source, 0) is source
    assert (
        "scan: pixels of 16 bits whose largest is 4080 of 65535, nearly black: set data.max_value=4095"
        in caplog.text
    )
    full = normalization.of_full_range(source, 4095)
    np.testing.assert_array_equal(
        full.gather(range(4))["image"], np.round(pixels * (65535 / 4095)).astype(np.uint16)
    )
    with pytest.raises(UserError, match=r"data\.max_value=300 is more than pixels of uint8 hold, 255"):
        normalization.of_full_range(ArraySource("a", pixels.astype(np.uint8)), 300)
