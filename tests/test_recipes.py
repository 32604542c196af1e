"""Presets that claim a recipe have its values; see official.py."""

import pytest

import jssl
from jssl.config import flatten
from tests.official import CIFAR10, IMAGENET, SEMI, SOLO, WRN


def compared(preset, official):
    """The keys of a preset whose values are others: {key: (ours, official)}."""
    ours = flatten(jssl.get_config(preset).to_dict())
    return {
        key: (ours.get(key, "missing"), value)
        for key, value in official.items()
        if ours.get(key, "missing") != (pytest.approx(value) if isinstance(value, float) else value)
    }


@pytest.mark.parametrize("name", CIFAR10)
def test_cifar10_presets_are_solo_learns(name):
    assert compared(f"{name}:cifar10", {**SOLO, **CIFAR10[name]}) == {}


@pytest.mark.parametrize("name", SEMI)
def test_semi_supervised_cifar10_presets_are_torchssls_and_usbs(name):
    own = {key if "." in key else f"method.terms.{name}.{key}": value for key, value in SEMI[name].items()}
    assert compared(f"{name}:cifar10", {**WRN, **own}) == {}


@pytest.mark.parametrize("preset", IMAGENET)
def test_imagenet_presets_are_the_authors(preset):
    assert compared(preset, IMAGENET[preset]) == {}
