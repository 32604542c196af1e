"""Encoders and heads by name, as networks of two pure functions: `init` and `apply`.

The only room that imports flax.linen; `network` is the seam that the rest of the library sees. Imports losses (for
`normalize`), parallel and what is below them.

  encoder = jssl.models.resnet18(stem="cifar")
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from jssl import settings
from jssl.errors import UserError, unknown
from jssl.models.convnet import ConvNet
from jssl.models.decoders import Code, DenseDecoder, Discriminator, MapDecoder, PatchDecoder
from jssl.models.filters import Channels, Sobel, SplitBrain
from jssl.models.flat import FlatMLP
from jssl.models.frames import Frames, OverTime, Window
from jssl.models.heads import MLP, CenterHead, Linear, NormalizedLinear, Prototypes, Topped
from jssl.models.network import Network, record
from jssl.models.recurrent import ConvGRU
from jssl.models.resnet import ResNet
from jssl.models.text import TextTransformer, TokenPredictor, up_to_end
from jssl.models.vit import ViT
from jssl.models.wide_resnet import WideResNet

__all__ = [
    "ENCODERS",
    "Network",
    "center_head",
    "code",
    "conv_gru",
    "convnet",
    "discriminator",
    "encoder",
    "encoder_defaults",
    "flat_mlp",
    "linear",
    "map_decoder",
    "mlp",
    "normalized_linear",
    "over_time",
    "patch_decoder",
    "prototypes",
    "record",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "text_transformer",
    "token_predictor",
    "up_to_end",
    "vit_b",
    "vit_l",
    "vit_mini",
    "vit_s",
    "vit_ti",
    "with_head",
    "wrn_28_2",
    "wrn_28_8",
]

OWN_KEYS = (
    "name",
    "weights",
    "head_layers",
    "sobel",
    "channels",
    "split_brain",
    "per_frame",
    "window",
)  # beside those of families
FAMILIES: dict[str, type[nn.Module]] = {
    "resnet": ResNet,
    "vit": ViT,
    "convnet": ConvNet,
    "wrn": WideResNet,
    "flat": FlatMLP,
}
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# name -> family, and what the name fixes
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("resnet", {"stage_sizes": (2, 2, 2, 2), "bottleneck": False}),
    "resnet34": ("resnet", {"stage_sizes": (3, 4, 6, 3), "bottleneck": False}),
    "resnet50": ("resnet", {"stage_sizes": (3, 4, 6, 3), "bottleneck": True}),
    "resnet101": ("resnet", {"stage_sizes": (3, 4, 23, 3), "bottleneck": True}),
    "resnet152": ("resnet", {"stage_sizes": (3, 8, 36, 3), "bottleneck": True}),
    "vit_mini": ("vit", {"features": 128, "layers": 4}),
    "vit_ti": ("vit", {"features": 192, "layers": 12}),
    "vit_s": ("vit", {"features": 384, "layers": 12}),
    "vit_b": ("vit", {"features": 768, "layers": 12}),
    "vit_l": ("vit", {"features": 1024, "layers": 24}),
    "convnet": ("convnet", {}),
    "flat_mlp": ("flat", {}),
    "wrn_28_2": ("wrn", {"depth": 28, "widen": 2}),
    "wrn_28_8": ("wrn", {"depth": 28, "widen": 8}),
}


def encoder_defaults() -> dict[str, dict[str, Any]]:
    """Every option of every family with its default, `{'resnet': {'width': 1.0, ...}, ...}`.

    Example:
      >>> from jssl import models
      >>> models.encoder_defaults()["convnet"]["width"]
      16
    """
    return {family: _options(module) for family, module in FAMILIES.items()}


def encoder(config: Mapping[str, Any], dtype: str = "float32") -> Network:
    """Builds the encoder that a config names: images [B, H, W, C] to features float32 [B, D].

    Args:
      config: `{'name': 'resnet18', 'resnet': {...}, 'vit': {...}, 'convnet': {...}}`; the sub-dict of
        the name's family holds the options, and an option that it lacks keeps its default. 'head_layers' adds layers
        of a head, see `heads.Topped`; 'sobel' lets it see gradients instead of colours, 'channels' some channels,
        'split_brain' makes two of it that see one part each, see `filters`;
        'per_frame' shows it one channel at a time, the frames of a clip, see `frames.Frames`; of clips longer than
        'window' it sees the frames in the middle.
      dtype: of convolutions and matmuls, 'float32' or 'bfloat16'.

    Raises:
      UserError: for an unknown name, option or dtype, and for a value that an option cannot take.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> encoder = models.encoder({"name": "convnet", "convnet": {"width": 4, "strides": (2, 2)}})
      >>> images = jax.numpy.zeros((2, 32, 32, 3))
      >>> features, _ = encoder.apply(*encoder.init(jax.random.key(0), images), images, train=False)
      >>> features.shape
      (2, 8)
    """
    name = config["name"]
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    family, fixed = ENCODERS[name]
    module = FAMILIES[family]
    for key in config:
        if key not in (*OWN_KEYS, *FAMILIES):
            raise unknown("key of encoder", key, (*OWN_KEYS, *FAMILIES))
    options = {family: {}, **config}[family]
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    outside = {**fixed, "dtype": _dtype(dtype), "parent": None, "name": None}
    built = settings.make(module, given, f"encoder.{family}", **outside)
    own = {
        "head_layers": (),
        "sobel": False,
        "channels": (),
        "split_brain": False,
        "per_frame": False,
        "window": 0,
        **config,
    }
    sizes = tuple(own["head_layers"])
    if not all(type(size) is int and size > 0 for size in sizes):
        raise UserError(f"encoder.head_layers must be a tuple of positive integers, not {sizes!r}")
    if own["sobel"]:
        built = Sobel(built)
    if own["split_brain"]:
        built = SplitBrain(built, built.clone())
    channels = tuple(own["channels"])
    if not all(type(channel) is int and channel >= 0 for channel in channels):
        raise UserError(f"encoder.channels must be a tuple of whole numbers of at least 0, not {channels!r}")
    if channels:
        built = Channels(built, channels)
    if own["per_frame"]:
        built = Frames(built)
    if own["window"]:
        built = Window(built, own["window"])
    return with_head(Network(built), sizes, dtype)


def with_head(network: Network, sizes: Sequence[int], dtype: str = "float32") -> Network:
    """An encoder and, on top of it, layers of a head, each dense, batch norm, ReLU; see `heads.Topped`.

    Args:
      network: whose parameters become the entry 'base' of the new one's, beside 'head'.
      sizes: outputs of the layers; () for the network itself.
      dtype: of the matmuls.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> encoder, images = models.with_head(models.convnet(width=4), (32,)), jax.numpy.zeros((2, 8, 8, 3))
      >>> params, stats = encoder.init(jax.random.key(0), images)
      >>> sorted(params), encoder.apply(params, stats, images, train=False)[0].shape
      (['base', 'head'], (2, 32))
    """
    if not sizes:
        return network
    head = Topped(
        network.module,
        tuple(sizes),
        batch_norm_groups=network.batch_norm_groups,
        bn_momentum=network.bn_momentum,
        dtype=_dtype(dtype),
    )
    return dataclasses.replace(network, module=head)


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
    weight_init: str = "lecun",
    dtype: str = "float32",
) -> Network:
    """Builds a projector or predictor, [B, D] to float32 [B, sizes[-1]]; see `heads.MLP`.

    Raises:
      UserError: if sizes is empty or not positive, or for an unknown activation or dtype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> projector, features = models.mlp((64, 16)), jax.numpy.zeros((2, 32))
      >>> z, stats = projector.apply(*projector.init(jax.random.key(0), features), features, train=True)
      >>> z.shape, sorted(stats)  # the last layer has no batch norm
      ((2, 16), ['bn0'])
    """
    given = {
        "sizes": tuple(sizes),
        "batch_norm": batch_norm,
        "last_batch_norm": last_batch_norm,
        "last_affine": last_affine,
        "last_bias": last_bias,
        "batch_norm_groups": batch_norm_groups,
        "bn_momentum": bn_momentum,
        "activation": activation,
        "weight_init": weight_init,
    }
    return Network(settings.make(MLP, given, "mlp", dtype=_dtype(dtype)))


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

    Example:
      >>> import jax
      >>> from jssl import models
      >>> classifier, features = models.linear(10), jax.numpy.ones((2, 32))
      >>> logits, _ = classifier.apply(*classifier.init(jax.random.key(0), features), features, train=True)
      >>> logits.shape, float(abs(logits).max())  # it begins with zeros
      ((2, 10), 0.0)
    """
    given = {"features": features, "kernel_init": kernel_init, "bias": bias}
    return Network(settings.make(Linear, given, "linear", dtype=_dtype(dtype)))


def normalized_linear(features: int) -> Network:
    """Builds batch norm and a linear classifier of every place, [..., D] to logits float32 [..., features].

    Raises:
      UserError: for less than one feature.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> head, maps = models.normalized_linear(5), jax.numpy.ones((2, 6, 6, 32))
      >>> head.apply(*head.init(jax.random.key(0), maps), maps, train=False)[0].shape
      (2, 6, 6, 5)
    """
    return Network(settings.make(NormalizedLinear, {"features": features}, "normalized_linear"))


def center_head(features: int, width: int = 64) -> Network:
    """Builds a detection head, maps [B, h, w, D] to float32 [B, h, w, features + 4]; see `heads.CenterHead`.

    Raises:
      UserError: for less than one feature.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> head, maps = models.center_head(5), jax.numpy.ones((2, 6, 6, 32))
      >>> head.apply(*head.init(jax.random.key(0), maps), maps, train=False)[0].shape
      (2, 6, 6, 9)
    """
    return Network(settings.make(CenterHead, {"features": features, "width": width}, "center_head"))


def text_transformer(
    vocabulary: int,
    end: int,
    *,
    features: int = 512,
    layers: int = 12,
    heads: int = 0,
    causal: bool = True,
    dtype: str = "float32",
) -> Network:
    """Builds CLIP's text tower, tokens int32 [B, N] to features float32 [B, features]; see `text.TextTransformer`.

    Raises:
      UserError: for sizes that are not positive, or features that do not divide into heads.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> tower = models.text_transformer(300, 2, features=64, layers=1)
      >>> tokens = jax.numpy.array([[1, 7, 2, 0]])
      >>> tower.apply(*tower.init(jax.random.key(0), tokens), tokens, train=False)[0].shape
      (1, 64)
    """
    given = {
        "vocabulary": vocabulary,
        "end": end,
        "features": features,
        "layers": layers,
        "heads": heads,
        "causal": causal,
    }
    return Network(settings.make(TextTransformer, given, "text", dtype=_dtype(dtype)))


def token_predictor(dtype: str = "float32") -> Network:
    """Builds the scores of all tokens at places of texts, from [B, K, D] and embeddings; see `text.TokenPredictor`.

    Raises:
      UserError: for an unknown dtype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> head, x, embeddings = models.token_predictor(), jax.numpy.ones((2, 3, 8)), jax.numpy.ones((50, 8))
      >>> head.apply(*head.init(jax.random.key(0), x, embeddings), x, embeddings, train=False)[0].shape
      (2, 3, 50)
    """
    return Network(TokenPredictor(_dtype(dtype)))


def prototypes(count: int, learn_norms: bool = False) -> Network:
    """Builds the similarities with `count` learned unit vectors, [B, D] to float32 [B, count]; see `heads.Prototypes`.

    Raises:
      UserError: for less than one prototype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> head, z = models.prototypes(100), jax.numpy.ones((2, 16))
      >>> scores, _ = head.apply(*head.init(jax.random.key(0), z), z, train=True)
      >>> scores.shape, bool((abs(scores) <= 1.0001).all())  # cosines
      ((2, 100), True)
    """
    return Network(settings.make(Prototypes, {"count": count, "learn_norms": learn_norms}, "prototypes"))


def patch_decoder(
    outputs: int, features: int, layers: int, heads: int, class_token: bool, dtype: str = "float32"
) -> Network:
    """Builds MAE's decoder, tokens and `restore` to float32 [B, N, outputs]; see `decoders.PatchDecoder`.

    Raises:
      UserError: for sizes less than 1, or features that do not divide by 4 and into heads.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> decoder = models.patch_decoder(12, features=16, layers=1, heads=2, class_token=False)
      >>> tokens, restore = jax.numpy.zeros((2, 1, 8)), jax.numpy.zeros((2, 4), int)
      >>> params, _ = jax.eval_shape(decoder.init, jax.random.key(0), tokens, restore)
      >>> params["pixels"]["kernel"].shape
      (16, 12)
    """
    given = {"features": features, "layers": layers, "heads": heads, "class_token": class_token}
    if features % 4 or features % heads:
        raise UserError(f"decoder: {features} features must divide by 4 and into {heads} heads")
    return Network(settings.make(PatchDecoder, given, "decoder", outputs=outputs, dtype=_dtype(dtype)))


def map_decoder(
    outputs: int,
    size: tuple[int, int],
    grid: tuple[int, int, int],
    features: int,
    dtype: str = "float32",
    kernel: int = 3,
) -> Network:
    """Builds the decoder of a feature map, or of a code of it, to float32 [B, H, W, outputs].

    Args:
      outputs: numbers of a pixel.
      size: (H, W).
      grid: (h, w, D) of the feature map: of one place it is decoded by dense layers, see `decoders.DenseDecoder`,
        otherwise by transposed convolutions, see `decoders.MapDecoder`.
      features: channels of the last transposed convolution, or units of the dense layer before the last.
      dtype: of the convolutions, 'float32' or 'bfloat16'.
      kernel: size of the last convolution; 1 is a ninth of the work where outputs are many.

    Raises:
      UserError: for sizes out of range.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> decoder, maps = models.map_decoder(3, (8, 8), (2, 2, 16), features=4), jax.numpy.zeros((5, 2, 2, 16))
      >>> decoder.apply(*decoder.init(jax.random.key(0), maps), maps, train=True)[0].shape
      (5, 8, 8, 3)
    """
    fixed = {"outputs": outputs, "size": size, "dtype": _dtype(dtype)}
    if grid[:2] == (1, 1):
        return Network(settings.make(DenseDecoder, {"features": features}, "decoder", **fixed))
    given = {"features": features, "kernel": kernel}
    return Network(settings.make(MapDecoder, given, "decoder", grid=grid, **fixed))


def discriminator(size: int, features: int, dtype: str = "float32") -> Network:
    """Builds a discriminator of images of a side: [B, H, W, C] to logits float32 [B]; see `decoders.Discriminator`.

    Raises:
      UserError: for sizes less than 1, or an unknown dtype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> judge, images = models.discriminator(16, features=4), jax.numpy.zeros((5, 16, 16, 3))
      >>> judge.apply(*judge.init(jax.random.key(0), images), images, train=True)[0].shape
      (5,)
    """
    return Network(
        settings.make(Discriminator, {"features": features}, "discriminator", size=size, dtype=_dtype(dtype))
    )


def code(size: int, activation: str = "none", dtype: str = "float32") -> Network:
    """Builds a bottleneck: feature maps [B, h, w, D] to codes float32 [B, size]; see `decoders.Code`.

    Raises:
      UserError: for a size less than 1, or an unknown activation or dtype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> bottleneck, maps = models.code(10, "sigmoid"), jax.numpy.zeros((5, 2, 2, 16))
      >>> bottleneck.apply(*bottleneck.init(jax.random.key(0), maps), maps, train=True)[0].shape
      (5, 10)
    """
    given = {"size": size, "activation": activation}
    return Network(settings.make(Code, given, "code", dtype=_dtype(dtype)))


def conv_gru(features: int, kernel: int = 1, dtype: str = "float32") -> Network:
    """Builds a convolutional GRU, [B, T, *places, D] to float32 [B, T, *places, features]; see `recurrent.ConvGRU`.

    Raises:
      UserError: for sizes less than 1, or an unknown dtype.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> context, clips = models.conv_gru(16), jax.numpy.ones((2, 5, 3, 3, 8))
      >>> states, _ = context.apply(*context.init(jax.random.key(0), clips), clips, train=True)
      >>> states.shape  # one for every frame, at each place
      (2, 5, 3, 3, 16)
    """
    given = {"features": features, "kernel": kernel}
    return Network(settings.make(ConvGRU, given, "conv_gru", dtype=_dtype(dtype)))


def over_time(encoder: Network) -> Network:
    """An encoder of pictures of sound whose features keep the order in time, float32 [B, w * D]; see `frames.OverTime`.

    Example:
      >>> import jax
      >>> from jssl import models
      >>> hears = models.over_time(models.convnet(width=4, strides=(2, 2)))
      >>> pictures = jax.numpy.zeros((2, 8, 12, 1))  # of 12 columns, of which strides leave 3
      >>> hears.apply(*hears.init(jax.random.key(0), pictures), pictures, train=False)[0].shape
      (2, 24)
    """
    return dataclasses.replace(encoder, module=OverTime(encoder.module))


def _options(module: type[nn.Module]) -> dict[str, Any]:
    """The fields of a module that a config may set: those with a default."""
    return settings.defaults(module, without=("dtype", "parent", "name"))


def _dtype(name: str) -> Any:
    if name not in _DTYPES:
        raise unknown("dtype", name, _DTYPES)
    return _DTYPES[name]


# Examples of the constructors below: how one of each family is used.
_EXAMPLES = {
    "resnet18": """
      >>> images = jax.numpy.zeros((2, 32, 32, 3))
      >>> encoder = models.resnet18(stem="cifar")
      >>> params, stats = jax.eval_shape(encoder.init, jax.random.key(0), images)
      >>> params["stem"]["kernel"].shape
      (3, 3, 3, 64)""",
    "vit_s": """
      >>> images = jax.numpy.zeros((2, 32, 32, 3))
      >>> encoder = models.vit_s(patch_size=8, image_size=32)
      >>> params, _ = jax.eval_shape(encoder.init, jax.random.key(0), images)
      >>> params["position"].shape  # the class token and 16 patches
      (1, 17, 384)""",
    "convnet": """
      >>> images = jax.numpy.zeros((2, 8, 8, 1))
      >>> encoder = models.convnet(width=4, strides=(2, 2))
      >>> params, stats = encoder.init(jax.random.key(0), images)
      >>> features, _ = encoder.apply(params, stats, images, train=False)
      >>> features.shape
      (2, 8)""",
    "flat_mlp": """
      >>> images = jax.numpy.zeros((2, 8, 8, 1))
      >>> encoder = models.flat_mlp(sizes=(32, 16))
      >>> params, _ = jax.eval_shape(encoder.init, jax.random.key(0), images)
      >>> params["dense0"]["kernel"].shape
      (64, 32)""",
    "wrn_28_2": """
      >>> images = jax.numpy.zeros((2, 32, 32, 3))
      >>> encoder = models.wrn_28_2(slope=0.0)
      >>> params, _ = jax.eval_shape(encoder.init, jax.random.key(0), images)
      >>> params["final_bn"]["scale"].shape
      (128,)""",
}


def _named(name: str, title: str, features: str) -> Callable[..., Network]:
    """The constructor of an encoder of the table, whose keyword arguments are the options of its family."""
    family, _ = ENCODERS[name]
    module = FAMILIES[family]

    def construct(*, head_layers: Sequence[int] = (), dtype: str = "float32", **options: Any) -> Network:
        return encoder({"name": name, family: options, "head_layers": head_layers}, dtype)

    hints = typing.get_type_hints(module)
    own = {**_options(module), "head_layers": (), "dtype": "float32"}
    hints |= {"head_layers": Sequence[int], "dtype": str}
    construct.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hints[key])
            for key, value in own.items()
        ],
        return_annotation=Network,
    )
    construct.__name__ = construct.__qualname__ = name
    example = _EXAMPLES.get(
        name,
        f"""
      >>> models.{name}() == models.encoder({{"name": "{name}"}})
      True""",
    )
    construct.__doc__ = f"""{title}: images [B, H, W, C] to features float32 [B, {features}].

    Args:
      {", ".join(_options(module))}: see `{module.__module__.rpartition(".")[2]}.{module.__name__}`.
      head_layers: sizes of layers of a head on top, see `heads.Topped`.
      dtype: of convolutions and matmuls, 'float32' or 'bfloat16'.

    Raises:
      UserError: for an unknown option, and for a value that an option cannot take.

    Example:
      >>> import jax
      >>> from jssl import models{example}
    """
    return construct


resnet18 = _named("resnet18", "ResNet-18 without its classifier", "512 * width")
resnet34 = _named("resnet34", "ResNet-34 without its classifier", "512 * width")
resnet50 = _named("resnet50", "ResNet-50 without its classifier", "2048 * width")
resnet101 = _named("resnet101", "ResNet-101 without its classifier", "2048 * width")
resnet152 = _named("resnet152", "ResNet-152 without its classifier", "2048 * width")
vit_mini = _named("vit_mini", "A small vision transformer of 4 blocks, for CPUs", "128")
vit_ti = _named("vit_ti", "Vision transformer ViT-Ti of 12 blocks", "192")
vit_s = _named("vit_s", "Vision transformer ViT-S of 12 blocks", "384")
vit_b = _named("vit_b", "Vision transformer ViT-B of 12 blocks", "768")
vit_l = _named("vit_l", "Vision transformer ViT-L of 24 blocks", "1024")
convnet = _named("convnet", "A small convolutional network, fast on CPUs", "width * 2 ** (len(strides) - 1)")
flat_mlp = _named("flat_mlp", "Dense layers on all pixels, of one size", "sizes[-1]")
wrn_28_2 = _named("wrn_28_2", "Wide residual network WRN-28-2 without its classifier", "128")
wrn_28_8 = _named("wrn_28_8", "Wide residual network WRN-28-8 without its classifier", "512")
