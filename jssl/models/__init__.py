"""Networks by name. This folder is the only one that imports flax.linen."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from jssl.errors import UserError, unknown
from jssl.models.convnet import ConvNet
from jssl.models.heads import MLP, Linear, Prototypes, Topped
from jssl.models.network import Network
from jssl.models.resnet import ResNet
from jssl.models.vit import ViT
from jssl.models.wide_resnet import WideResNet

__all__ = ["ENCODERS", "Network", "encoder", "encoder_defaults", "linear", "mlp", "prototypes"]

_FAMILIES: dict[str, type[nn.Module]] = {"resnet": ResNet, "vit": ViT, "convnet": ConvNet, "wrn": WideResNet}
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# name -> family, and what the name fixes
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("resnet", {"stage_sizes": (2, 2, 2, 2), "bottleneck": False}),
    "resnet34": ("resnet", {"stage_sizes": (3, 4, 6, 3), "bottleneck": False}),
    "resnet50": ("resnet", {"stage_sizes": (3, 4, 6, 3), "bottleneck": True}),
    "resnet101": ("resnet", {"stage_sizes": (3, 4, 23, 3), "bottleneck": True}),
    "resnet152": ("resnet", {"stage_sizes": (3, 8, 36, 3), "bottleneck": True}),
    "vit_ti": ("vit", {"features": 192, "layers": 12, "heads": 3}),
    "vit_s": ("vit", {"features": 384, "layers": 12, "heads": 6}),
    "vit_b": ("vit", {"features": 768, "layers": 12, "heads": 12}),
    "vit_l": ("vit", {"features": 1024, "layers": 24, "heads": 16}),
    "convnet": ("convnet", {}),
    "wrn_28_2": ("wrn", {"depth": 28, "widen": 2}),
    "wrn_28_8": ("wrn", {"depth": 28, "widen": 8}),
}


def encoder_defaults() -> dict[str, dict[str, Any]]:
    """Every option of every family with its default, `{'resnet': {'width': 1.0, ...}, ...}`."""
    return {family: _options(module) for family, module in _FAMILIES.items()}


def encoder(config: Mapping[str, Any], dtype: str = "float32") -> Network:
    """Builds the encoder that a config names: images [B, H, W, C] to features float32 [B, D].

    Args:
      config: `{'name': 'resnet18', 'resnet': {...}, 'vit': {...}, 'convnet': {...}}`; the sub-dict of
        the name's family holds the options, and an option that it lacks keeps its default. 'top' adds layers of a
        head, see `heads.Topped`.
      dtype: of convolutions and matmuls, 'float32' or 'bfloat16'.

    Raises:
      UserError: for an unknown name, option or dtype, and for a value that an option cannot take.
    """
    name = config["name"]
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    family, fixed = ENCODERS[name]
    module = _FAMILIES[family]
    options = {
        key: _checked(module, key, value, f"encoder.{family}.{key}")
        for key, value in (config[family].items() if family in config else ())
    }
    built = module(**fixed, **options, dtype=_dtype(dtype))
    sizes = tuple(config["head_layers"]) if "head_layers" in config else ()
    if not all(type(size) is int and size > 0 for size in sizes):
        raise UserError(f"encoder.head_layers must be a tuple of positive integers, not {sizes!r}")
    if not sizes:
        return Network(built)
    shared = {key: getattr(built, key) for key in ("batch_norm_groups", "bn_momentum") if hasattr(built, key)}
    return Network(Topped(built, sizes, **shared, dtype=_dtype(dtype)))


def mlp(
    sizes: Sequence[int],
    *,
    batch_norm: bool = True,
    last_batch_norm: bool = False,
    last_affine: bool = True,
    last_bias: bool = True,
    batch_norm_groups: int = 1,
    bn_momentum: float = 0.9,
    activation: Literal["relu", "gelu"] = "relu",
    dtype: str = "float32",
) -> Network:
    """Builds a projector or predictor, [B, D] to float32 [B, sizes[-1]]; see `heads.MLP`.

    Raises:
      UserError: if sizes is empty or not positive, or for an unknown activation or dtype.
    """
    if not sizes or min(sizes) < 1:
        raise UserError(f"mlp sizes must be positive integers, at least one, not {tuple(sizes)}")
    module = MLP(
        tuple(sizes),
        batch_norm=batch_norm,
        last_batch_norm=last_batch_norm,
        last_affine=last_affine,
        last_bias=last_bias,
        batch_norm_groups=batch_norm_groups,
        bn_momentum=bn_momentum,
        activation=activation,
        dtype=_dtype(dtype),
    )
    for key in _options(MLP):
        _checked(MLP, key, getattr(module, key), f"mlp.{key}")
    return Network(module)


def linear(
    features: int,
    *,
    kernel_init: Literal["zeros", "normal"] = "zeros",
    bias: bool = True,
    dtype: str = "float32",
) -> Network:
    """Builds a linear classifier, [B, D] to logits float32 [B, features]; see `heads.Linear`.

    Raises:
      UserError: for less than one feature, an unknown initialiser or an unknown dtype.
    """
    if features < 1:
        raise UserError(f"a linear head needs at least one feature, not {features}")
    _checked(Linear, "kernel_init", kernel_init, "linear.kernel_init")
    return Network(Linear(features, kernel_init, bias, _dtype(dtype)))


def prototypes(count: int) -> Network:
    """Builds the similarities with `count` learned unit vectors, [B, D] to float32 [B, count]; see `heads.Prototypes`.

    Raises:
      UserError: for less than one prototype.
    """
    if count < 1:
        raise UserError(f"at least one prototype is needed, not {count}")
    return Network(Prototypes(count))


def _options(module: type[nn.Module]) -> dict[str, Any]:
    """The fields of a module that a config may set: those with a default."""
    return {
        field.name: field.default
        for field in dataclasses.fields(module)
        if field.default is not dataclasses.MISSING and field.name not in ("dtype", "parent", "name")
    }


# Numbers that make no sense would otherwise fail far from the config, or not at all.
_RANGES: dict[str, tuple[float, float]] = {
    "bn_momentum": (0.0, 1.0),
    "drop_path": (0.0, 0.999),
    "slope": (0.0, 1.0),
    "width": (1e-3, 1e3),
}


def _checked(module: type[nn.Module], key: str, value: Any, where: str) -> Any:
    """Returns the value in the type of the module's option `key`, or raises a UserError."""
    options = _options(module)
    if key not in options:
        raise unknown(f"option {where.rpartition('.')[0]}", key, options)
    hint = typing.get_type_hints(module)[key]
    kind = type(options[key])
    if kind is tuple:
        ok = isinstance(value, (tuple, list)) and len(value) > 0
        ok = ok and all(type(item) is int and item > 0 for item in value)
        value = tuple(value) if ok else value
        expected = "a tuple of positive integers"
    elif typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        ok = type(value) is kind and value in choices
        expected = " or ".join(map(repr, choices))
    elif kind is float:
        low, high = _RANGES[key]
        ok = type(value) in (int, float) and low <= value <= high
        value = float(value) if ok else value
        expected = f"a number from {low:g} to {high:g}"
    elif kind is int:
        ok = type(value) is int and value > 0
        expected = "a positive integer"
    else:
        ok = type(value) is bool
        expected = "True or False"
    if not ok:
        raise UserError(f"{where} must be {expected}, not {value!r}")
    return value


def _dtype(name: str) -> Any:
    if name not in _DTYPES:
        raise unknown("dtype", name, _DTYPES)
    return _DTYPES[name]
