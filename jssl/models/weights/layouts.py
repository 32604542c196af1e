"""The names of tensors in torchvision's ResNets and in the ViTs of timm, DINO, MAE, I-JEPA and DINOv2."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jssl.errors import UserError
from jssl.models.network import Network
from jssl.models.resnet import ResNet
from jssl.models.vit import ViT
from jssl.models.weights.positions import resampled
from jssl.types import Params, State

Change = Callable[[np.ndarray], np.ndarray]
NAMED = 4  # tensors in a message


class Tensor(NamedTuple):
    """A tensor of another library that is a leaf here.

    Attributes:
      name: there.
      here: what makes ours of it.
      there: what makes it of ours.
    """

    name: str
    here: Change
    there: Change


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _transposed(x: np.ndarray) -> np.ndarray:
    return x.T


def _conv_here(x: np.ndarray) -> np.ndarray:
    return x.transpose(2, 3, 1, 0)


def _conv_there(x: np.ndarray) -> np.ndarray:
    return x.transpose(3, 2, 0, 1)


def _patches_here(x: np.ndarray) -> np.ndarray:
    """A convolution [D, C, p, p] as a matrix [p p C, D]."""
    return _conv_here(x).reshape(-1, len(x))


VIT = {  # a pattern of our path: the name there; scale and bias of norms, kernel and bias of matrices
    r"cls": "cls_token",
    r"position": "pos_embed",
    r"registers": "register_tokens",
    r"patches/(kernel|bias)": "patch_embed.proj.{0}",
    r"blocks_(\d+)/ln0/(scale|bias)": "blocks.{0}.norm1.{1}",
    r"blocks_(\d+)/ln1/(scale|bias)": "blocks.{0}.norm2.{1}",
    r"blocks_(\d+)/attention/qkv/(kernel|bias)": "blocks.{0}.attn.qkv.{1}",
    r"blocks_(\d+)/attention/out/(kernel|bias)": "blocks.{0}.attn.proj.{1}",
    r"blocks_(\d+)/mlp0/(kernel|bias)": "blocks.{0}.mlp.fc1.{1}",
    r"blocks_(\d+)/mlp1/(kernel|bias)": "blocks.{0}.mlp.fc2.{1}",
    r"blocks_(\d+)/scale0/gamma": "blocks.{0}.ls1.gamma",
    r"blocks_(\d+)/scale1/gamma": "blocks.{0}.ls2.gamma",
    r"norm/(scale|bias)": "norm.{0}",
}
RESNET = {
    r"stem/(kernel)": "conv1.{0}",
    r"stem_bn/(scale|bias|mean|var)": "bn1.{0}",
    r"stage(\d+)_block(\d+)/conv(\d+)/(kernel)": "layer{0+1}.{1}.conv{2+1}.{3}",
    r"stage(\d+)_block(\d+)/bn(\d+)/(scale|bias|mean|var)": "layer{0+1}.{1}.bn{2+1}.{3}",
    r"stage(\d+)_block(\d+)/shortcut/(kernel)": "layer{0+1}.{1}.downsample.0.{2}",
    r"stage(\d+)_block(\d+)/shortcut_bn/(scale|bias|mean|var)": "layer{0+1}.{1}.downsample.1.{2}",
}
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
ANCHORS = {"vit": "patch_embed.proj.weight", "resnet": "conv1.weight"}
# Which of several networks in one file is meant, the first that there is.
PREFERRED = ("teacher", "target_encoder", "base_encoder", "encoder_q", "backbone", "encoder")
BACKBONE = re.compile(r"(blocks|layer\d)\.|(cls_token|pos_embed|register_tokens|conv1|bn1|norm)\b")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What was made of a file.

    Attributes:
      params: of the encoder, float32.
      stats: its running statistics.
      unused: names of the tensors that are not of the encoder: heads, a predictor, counters.
      prefix: of the names of those that are.
    """

    params: Params
    stats: State
    unused: tuple[str, ...]
    prefix: str


def load(tensors: Mapping[str, np.ndarray], network: Network, channels: int = 3) -> Loaded:
    """The parameters and statistics of an encoder from tensors of another library.

    Every one of the encoder must be there, of the right shape, and what is of an encoder in the file must be used.
    Positions are resampled if the encoder's grid, `image_size` / `patch_size`, is another one.

    Args:
      tensors: by name, as `read` gives them.
      network: a ResNet of version 1, or a ViT with learned positions, without wrappers.
      channels: of the images.

    Raises:
      UserError: if they do not fit; it says what the file holds.
    """
    try:
        names = _table(network)
    except UserError as error:
        raise UserError(f"{error}; {described(tensors)}") from error
    kind = "vit" if isinstance(network.module, ViT) else "resnet"
    prefix = _prefix(tensors, kind)
    anchor = tensors[prefix + ANCHORS[kind]]
    if anchor.ndim == 4 and anchor.shape[1] != channels:
        raise UserError(
            f"the encoder of the file sees {anchor.shape[1]} channels, and the images have {channels}"
        )
    own = {_plain(name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}
    shapes = jax.eval_shape(network.init, jax.random.key(0), _image(network, channels))
    used: set[str] = set()

    def fill(path: Any, leaf: Any) -> np.ndarray:
        tensor = _tensor_of(_path(path), names)
        if tensor.name not in own:
            raise UserError(f"the file has no {prefix}{tensor.name}: {described(tensors)}")
        used.add(own[tensor.name])
        given = tensors[own[tensor.name]]
        try:
            found = tensor.here(given)
        except ValueError as error:  # of another rank
            raise UserError(f"{prefix}{tensor.name} is {list(given.shape)}: {described(tensors)}") from error
        if _path(path) == "position":
            found = _positions(found, leaf.shape[1], network.module)
        if found.shape != leaf.shape:
            raise UserError(
                f"{prefix}{tensor.name} is {list(found.shape)} and the encoder's is {list(leaf.shape)}: "
                f"{described(tensors)}"
            )
        return np.ascontiguousarray(found, np.float32)

    params, stats = jax.tree_util.tree_map_with_path(fill, shapes)
    left = [name for name in tensors if name not in used]
    more = [name for plain, name in own.items() if name in left and _is_backbone(plain, network)]
    if more:
        raise UserError(
            f"the encoder has no place for {', '.join(more[:NAMED])}{', ...' if len(more) > NAMED else ''}: "
            f"{described(tensors)}"
        )
    return Loaded(params, stats, tuple(left), prefix)


def save(params: Params, stats: State, network: Network, channels: int = 3) -> dict[str, np.ndarray]:
    """An encoder's parameters and statistics under the names of timm and torchvision.

    Args:
      params, stats: of the encoder.
      network: a ResNet of version 1, or a ViT with learned positions.
      channels: of the images.

    Raises:
      UserError: for other encoders.
    """
    names, found = _table(network), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, stats)):
        tensor = _tensor_of(_path(path), names)
        x = np.asarray(leaf, np.float32)
        if tensor.name == ANCHORS["vit"]:
            size = network.module.patch_size
            x = _conv_there(x.reshape(size, size, channels, -1))
        else:
            x = tensor.there(x)
        found[tensor.name] = x
        if tensor.name.endswith("running_var"):
            found[tensor.name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return found


def options(tensors: Mapping[str, np.ndarray], size: int = 0) -> dict[str, Any]:
    """The section `encoder` of a config for a file: {'name': 'vit_s', 'vit': {'patch_size': 14, ...}}.

    Args:
      tensors: by name, as `read` gives them.
      size: side of the images that it shall see; 0 for that of the file's positions.

    Raises:
      UserError: if it holds no encoder of a known size; it says what it holds.
    """
    found = _contents(tensors)
    if found is None or found["name"] is None:
        raise UserError(f"the encoder of the file has no name here: {described(tensors)}")
    if size and "vit" in found:
        if size % found["vit"]["patch_size"]:
            raise UserError(f"size={size} must divide into patches of {found['vit']['patch_size']} pixels")
        found["vit"]["image_size"] = size
    return {key: value for key, value in found.items() if key in ("name", "vit", "resnet")}


def channels_of(tensors: Mapping[str, np.ndarray]) -> int:
    """The channels of the images that the encoder of a file sees."""
    shapes = [
        x.shape for name, x in tensors.items() if name.endswith(tuple(ANCHORS.values())) and x.ndim == 4
    ]
    return int(shapes[0][1]) if shapes else 3


def _contents(tensors: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Name, options and words of the encoder in a file; None if there is none of a known layout."""
    for kind, anchor in ANCHORS.items():
        found = [name for name in tensors if name == anchor or name.endswith(f".{anchor}")]
        if kind == "resnet":
            found = [name for name in found if not re.search(r"layer\d", name)]
        if found and all(tensors[name].ndim == 4 for name in found):
            prefix = _prefix(tensors, kind)
            own = {
                _plain(name.removeprefix(prefix)): x for name, x in tensors.items() if name.startswith(prefix)
            }
            return _vit(own) if kind == "vit" else _resnet(own)
    return None


def described(tensors: Mapping[str, np.ndarray]) -> str:
    """What the tensors of a file are, in words, with the settings of an encoder that fits."""
    found = _contents(tensors)
    if found is None:
        return f"it holds neither a ResNet nor a ViT of a known layout, but {', '.join(list(tensors)[:NAMED])}, ..."
    name = found["name"]
    family = next(key for key in ("vit", "resnet") if key in found)
    given = [f"encoder.name={name}"] if name else []
    given += [f"encoder.{family}.{key}={value!r}" for key, value in found[family].items()]
    return f"it holds {found['words']}: {', '.join(given)}"


VIT_NAMES = {
    (192, 12): "vit_ti",
    (384, 12): "vit_s",
    (768, 12): "vit_b",
    (1024, 24): "vit_l",
    (128, 4): "vit_mini",
}
RESNET_NAMES: dict[tuple[int, ...], str] = {
    (False, 2, 2, 2, 2): "resnet18",
    (False, 3, 4, 6, 3): "resnet34",
    (True, 3, 4, 6, 3): "resnet50",
    (True, 3, 4, 23, 3): "resnet101",
    (True, 3, 8, 36, 3): "resnet152",
}


def _vit(own: Mapping[str, np.ndarray]) -> dict[str, Any]:
    width, _, patch, _ = own[ANCHORS["vit"]].shape
    blocks = len({name.split(".")[1] for name in own if name.startswith("blocks.")})
    words = f"a ViT of {width} features, {blocks} blocks and patches of {patch} pixels"
    found: dict[str, Any] = {"patch_size": patch, "positions": "learned"}
    if "pos_embed" in own and own["pos_embed"].ndim == 3:
        found["image_size"] = math.isqrt(own["pos_embed"].shape[1]) * patch
    if "register_tokens" in own and own["register_tokens"].ndim == 3:
        found["registers"] = own["register_tokens"].shape[1]
    if "blocks.0.ls1.gamma" in own:
        found["layer_scale"] = 1e-5
    if "cls_token" not in own:
        found["pool"] = "gap"
    name = VIT_NAMES.get((width, blocks))
    if "blocks.0.mlp.w12.weight" in own:
        name, words = None, f"{words} with SwiGLU, which is not read"
    return {"name": name, "vit": found, "words": words}


def _resnet(own: Mapping[str, np.ndarray]) -> dict[str, Any]:
    stages = [
        len({name.split(".")[1] for name in own if name.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    ]
    bottleneck, first = "layer1.0.conv3.weight" in own, own[ANCHORS["resnet"]].shape
    name = RESNET_NAMES.get((bottleneck, *stages))
    found: dict[str, Any] = {"stem": "imagenet" if first[-1] == 7 else "cifar"}
    if first[0] != 64:
        found["width"] = first[0] / 64
    return {
        "name": name,
        "resnet": found,
        "words": f"a ResNet of {stages} blocks, {name or 'which has no name here'}",
    }


def _table(network: Network) -> dict[str, str]:
    """The names for a network; raises UserError if there is no layout for it."""
    module = network.module
    if isinstance(module, ViT):
        if module.positions != "learned":
            raise UserError("files hold the positions of a ViT: set encoder.vit.positions='learned'")
        return VIT
    if isinstance(module, ResNet) and module.version == 1 and module.norm == "batch":
        return RESNET
    raise UserError(
        f"there is no layout of files for {type(module).__name__}: ResNets of version 1 with batch norm and ViTs "
        "have one, without head_layers, sobel and the like"
    )


def _image(network: Network, channels: int) -> jax.ShapeDtypeStruct:
    side = getattr(network.module, "image_size", 32)
    return jax.ShapeDtypeStruct((1, side, side, channels), np.float32)


def _path(path: Any) -> str:
    """'stem_bn/mean' of either tree."""
    return "/".join(str(key.key) for key in path if hasattr(key, "key"))


def _tensor_of(path: str, names: Mapping[str, str]) -> Tensor:
    """The tensor of a leaf."""
    for pattern, name in names.items():
        match = re.fullmatch(pattern, path)
        if match is None:
            continue
        name = _filled(name, [LEAVES.get(group, group) for group in match.groups()])
        if not path.endswith("kernel"):
            return Tensor(name, _same, _same)
        if path == "patches/kernel":
            return Tensor(name, _patches_here, _same)
        if names is RESNET:
            return Tensor(name, _conv_here, _conv_there)
        return Tensor(name, _transposed, _transposed)
    raise UserError(f"no layout has a name for the encoder's {path}")


def _filled(name: str, groups: list[str]) -> str:
    """A name with the groups of a match: '{0}', or '{0+1}' for one that counts from 1 there."""
    for number, group in enumerate(groups):
        name = name.replace(f"{{{number}}}", group)
        if group.isdigit():
            name = name.replace(f"{{{number}+1}}", str(int(group) + 1))
    return name


def _plain(name: str) -> str:
    """A name without the variants of libraries: timm's registers, DINOv2's chunks of blocks."""
    return re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name).replace("reg_token", "register_tokens")


def _prefix(tensors: Mapping[str, np.ndarray], kind: str) -> str:
    """What stands before the names of an encoder; of several encoders that which others evaluate."""
    anchor = ANCHORS[kind]
    found = [name.removesuffix(anchor) for name in tensors if name == anchor or name.endswith(f".{anchor}")]
    if kind == "resnet":
        found = [prefix for prefix in found if not re.search(r"layer\d", prefix)]
    if not found:
        raise UserError(f"the file has no {anchor}: {described(tensors)}")
    for word in PREFERRED:
        chosen = [prefix for prefix in found if word in prefix.split(".")]
        if len(found) > 1 and len(chosen) == 1:
            return chosen[0]
    if len(found) > 1:
        raise UserError(
            f"the file holds several encoders, {', '.join(found[:NAMED])}: save one of them alone"
        )
    return found[0]


def _positions(found: np.ndarray, count: int, module: Any) -> np.ndarray:
    """Positions for a grid of another size, with or without that of a class token."""
    prefix = int(module.pool == "cls")
    total = found.shape[1] if found.ndim == 3 else 0
    if not total:
        raise UserError(f"pos_embed is {list(found.shape)}, which are no positions")
    known = math.isqrt(total)
    own = 0 if known**2 == total else 1  # timm's with registers have added it into the token already
    if (total - own) != math.isqrt(total - own) ** 2:
        raise UserError(f"pos_embed has {total} positions, which are no square with or without a class token")
    side, wanted = math.isqrt(total - own), math.isqrt(count - prefix)
    square = found[0, own:].reshape(side, side, -1)
    grid = resampled(square, wanted, antialias=bool(module.registers)).reshape(1, wanted**2, -1)
    first = found[:, :own] if own else np.zeros((1, 1, found.shape[-1]), np.float32)
    return np.concatenate([first, grid], axis=1) if prefix else grid


def _is_backbone(name: str, network: Network) -> bool:
    """Whether a tensor is of an encoder, and no head, counter or token of a pretext task."""
    if name.endswith("num_batches_tracked"):
        return False
    if name == "cls_token":
        return bool(getattr(network.module, "pool", "cls") == "cls")
    return BACKBONE.match(name) is not None
