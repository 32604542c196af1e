"""Weights of other libraries: features are theirs, and files that do not fit are told so."""

import contextlib
import io
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.models import weights
from jssl.models.network import Network
from jssl.models.resnet import ResNet
from jssl.models.vit import ViT
from tests.models.official_weights import images, numbers

VIT = {"features": 32, "layers": 2, "heads": 2, "patch_size": 8, "image_size": 32}
# The first features of two images, by python -m tests.models.official_weights (timm 1.0.31, torchvision 0.22.1).
OFFICIAL = {
    "vit": ([0.36527, 1.74190, 1.07788, 1.71894], [1.11268, 2.39058, 0.51984, 1.20185]),
    "vit on 48 pixels": ([0.92375, 2.19525, 0.66695, 1.38761], [1.10788, 2.33298, 0.54226, 1.19034]),
    "dinov2": ([0.29796, 1.42914, 1.14571, 1.66047], [0.70697, 1.85643, 0.96104, 1.38557]),
    "dinov2 on 48 pixels": ([0.62041, 1.73090, 1.01717, 1.48501], [0.77067, 1.93352, 0.89302, 1.28510]),
    "dinov2 on 16 pixels": ([0.49504, 1.44362, 1.13518, 1.67231], [0.40400, 1.36766, 1.17391, 1.64376]),
    "basic": ([1.12216, 0.16131, 0.00000, 0.00000], [1.48014, 0.06292, 0.10680, 0.10753]),
    "bottleneck": ([2.07367, 0.02432, 0.00000, 0.00000], [2.11088, 0.09337, 0.00000, 0.14872]),
}
NETWORKS = {
    "vit": (ViT(**VIT), 32),
    "vit on 48 pixels": (ViT(**{**VIT, "image_size": 48}), 48),
    "dinov2": (ViT(**VIT, registers=3, layer_scale=1e-5), 32),
    "dinov2 on 48 pixels": (ViT(**{**VIT, "image_size": 48}, registers=3, layer_scale=1e-5), 48),
    "dinov2 on 16 pixels": (ViT(**{**VIT, "image_size": 16}, registers=3, layer_scale=1e-5), 16),
    "basic": (ResNet((1, 1, 1, 1), False), 64),
    "bottleneck": (ResNet((1, 2, 1, 1), True), 64),
}


def official(name):
    """The file of a network, as timm and torchvision have it, and that network here."""
    module, _ = NETWORKS[name]
    known = module.clone(image_size=32) if isinstance(module, ViT) else module
    params, stats = jax.eval_shape(
        Network(known).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    )
    empty = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), (params, stats))
    shapes = {tensor: x.shape for tensor, x in weights.save(*empty, Network(known)).items()}
    if "registers" in str(params.keys()):  # timm keeps no position of the class token beside registers
        shapes["reg_token"] = shapes.pop("register_tokens")
        shapes["pos_embed"] = (1, shapes["pos_embed"][1] - 1, 32)
    tensors = {tensor: numbers(tensor, shape).astype(np.float32) for tensor, shape in shapes.items()}
    return tensors, Network(module)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_timm_and_torchvision(name):
    tensors, network = official(name)
    head = {"head.weight": np.zeros((5, 32)), "bn1.num_batches_tracked": np.zeros((), np.int64)}
    loaded = weights.load({**tensors, **head}, network)
    assert set(loaded.unused) >= {"head.weight"}
    x = jnp.asarray(images(NETWORKS[name][1]), jnp.float32)
    with jax.default_matmul_precision("highest"):
        found = network.apply(loaded.params, loaded.stats, x, train=False)[0]
        turned = network.apply(loaded.params, loaded.stats, x[:, :, ::-1], train=False)[0]
    np.testing.assert_allclose(found[:, :4], OFFICIAL[name], atol=1e-4)
    assert np.abs(found - turned).max() > 1e-3


@pytest.mark.parametrize("name", ["vit", "bottleneck"])
@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_out_and_in_again_is_equal_to_the_bit(name, ending, tmp_path):
    tensors, network = official(name)
    loaded = weights.load(tensors, network)
    weights.write(tmp_path / f"w{ending}", weights.save(loaded.params, loaded.stats, network))
    again = weights.load(weights.read(tmp_path / f"w{ending}"), network)
    jax.tree.map(np.testing.assert_array_equal, (loaded.params, loaded.stats), (again.params, again.stats))


@pytest.mark.parametrize(
    ("prefix", "others"),
    [
        ("module.", ()),
        ("state_dict.module.encoder_q.", ("state_dict.module.encoder_k.",)),
        ("teacher.backbone.", ("student.backbone.",)),
        ("target_encoder.module.", ("encoder.module.",)),
    ],
)
def test_the_network_that_others_evaluate_is_found_below_its_prefix(prefix, others):
    tensors, network = official("vit")
    expected = weights.load(tensors, network).params
    file = {f"{other}{name}": 0 * x for other in others for name, x in tensors.items()}
    loaded = weights.load({**file, **{f"{prefix}{name}": x for name, x in tensors.items()}}, network)
    jax.tree.map(np.testing.assert_array_equal, expected, loaded.params)
    assert loaded.prefix == prefix
    assert set(loaded.unused) == set(file)


def without(name):
    return lambda tensors: {key: x for key, x in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("network", "change", "message"),
    [
        ("vit", without("norm.bias"), r"the file has no norm.bias: it holds a ViT of 32 features, 2 blocks"),
        ("vit", lambda x: {**x, "blocks.2.norm1.weight": np.ones(32)}, r"no place for blocks.2.norm1.weight: .*3 bl"),
        ("vit", lambda x: {**x, "norm.bias": np.ones(31)}, r"norm.bias is \[31\] and the encoder's is \[32\]"),
        ("vit", lambda x: {**x, "pos_embed": np.ones((1, 7, 32))}, r"pos_embed has 7 positions"),
        ("vit", lambda x: {"a": np.ones(3)}, r"it holds neither a ResNet nor a ViT"),
        ("basic", lambda x: official("vit")[0], r"the file has no conv1.weight: it holds a ViT"),
        ("vit", lambda x: official("basic")[0], r"no patch_embed.proj.weight: it holds a ResNet of \[1, 1, 1, 1\]"),
        ("vit", lambda x: {f"{p}.{k}": v for p in "ab" for k, v in x.items()}, r"several encoders, a\., b\."),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_say_what_they_hold(network, change, message):
    tensors, own = official(network)
    with pytest.raises(UserError, match=message):
        weights.load(change(tensors), own)


def test_encoders_without_a_layout_are_refused():
    sincos = models.vit_ti(positions="sincos2d")
    for network, message in (
        (models.convnet(), "no layout of files for ConvNet"),
        (sincos, "positions='learned'"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load({}, network)


def test_files_that_are_broken_are_one_line(tmp_path):
    good = tmp_path / "good.safetensors"
    weights.write(good, {"a": np.ones(3, np.float32)})
    content = good.read_bytes()
    for name, broken in {
        "short.safetensors": content[:-4],
        "header.safetensors": (2**60).to_bytes(8, "little") + content[8:],
        "noise.npz": b"noise",
        "noise.pth": b"noise",
    }.items():
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(UserError, match=name):
            weights.read(tmp_path / name)
    weights.write(tmp_path / "nan.npz", {"a": np.array([np.nan])})
    with pytest.raises(UserError, match="a has numbers that are not finite"):
        weights.read(tmp_path / "nan.npz")
    with pytest.raises(UserError, match="there is no file"):
        weights.read(tmp_path / "nowhere.npz")


# --- .pth, as torch.save writes it


class Named:
    """Pickles as a global of a name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Stored:
    """Pickles as a persistent id."""

    def __init__(self, key, count, kind="FloatStorage"):
        self.id = ("storage", Named("torch", kind), key, "cpu", count)


class Called:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


class Changed:
    """Pickles as a change of something's attributes."""

    def __init__(self, thing, state):
        self.thing, self.state = thing, state


class Writer(pickle._Pickler):
    """The pure-Python pickler, which writes names of what is not there."""

    def persistent_id(self, given):
        return given.id if isinstance(given, Stored) else None

    def save(self, given, save_persistent_id=True):
        if isinstance(given, Named):
            self.write(pickle.GLOBAL + f"{given.module}\n{given.name}\n".encode())
        elif isinstance(given, Changed):
            self.save(given.thing)
            self.save(given.state)
            self.write(pickle.BUILD)
        elif isinstance(given, Called):
            self.save(given.function)
            self.save(given.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(given, save_persistent_id)


def torch_file(path, content, storages):
    buffer = io.BytesIO()
    Writer(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for key, x in storages.items():
            archive.writestr(f"archive/data/{key}", x.tobytes())
    return path


REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def tensor(key, count, offset, shape, strides):
    return Called(
        REBUILD,
        Stored(key, count),
        offset,
        shape,
        strides,
        False,
        Called(Named("collections", "OrderedDict")),
    )


FLAT = np.arange(12, dtype=np.float32)


def test_a_file_of_pytorch_is_read_without_it(tmp_path):
    content = {"state_dict": {"a": tensor("0", 12, 2, (2, 3), (1, 2)), "epoch": 3}, "args": ["x"]}
    found = weights.read(torch_file(tmp_path / "w.pth", content, {"0": FLAT}))
    assert list(found) == ["state_dict.a"]
    np.testing.assert_array_equal(found["state_dict.a"], [[2, 4, 6], [3, 5, 7]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            Called(Named("os", "system"), "exit 1"),
            r"it names os\.system, which is no tensor and is not run",
        ),
        (Called(Named("builtins", "eval"), "1"), r"it names builtins\.eval"),
        ({"args": Named("argparse", "Namespace")}, r"it names argparse\.Namespace"),
        ({"a": tensor("0", 12, 6, (2, 4), (4, 1))}, r"reaches beyond its storage"),
        ({"a": tensor("0", 12, 0, (400, 400), (0, 0))}, r"reaches beyond its storage"),
        ({"a": Called(REBUILD, tensor("0", 12, 0, (10**9, 0), (1, 1)), 0, (9,), (1,))}, r"has no storage"),
        ({"a": tensor("big", 3, 0, (3,), (1,))}, r"unpacks to 1,000,000 bytes, where 12 are enough"),
        (Changed(REBUILD, {"__name__": "x"}), r"it changes _rebuild_tensor_v2"),
        ({"a": tensor("0", 12, 0, (2, 2), (-1, 1))}, r"negative size"),
        ({"a": tensor("0", 99, 0, (2, 2), (2, 1))}, r"it is cut short"),
    ],
)
def test_a_file_of_pytorch_that_lies_runs_nothing(content, message, tmp_path):
    with pytest.raises(UserError, match=message):
        weights.read(
            torch_file(tmp_path / "w.pth", content, {"0": FLAT, "big": np.zeros(250_000, np.float32)})
        )


def test_dicts_within_dicts_are_looked_at_once(tmp_path):
    inner = {"a": tensor("0", 12, 0, (3, 4), (4, 1))}
    for _ in range(40):
        inner = {"x": inner, "y": inner}
    assert len(weights.read(torch_file(tmp_path / "w.pth", inner, {"0": FLAT}))) == 1


def test_halves_are_read_as_float32_and_words_are_not(tmp_path):
    import ml_dtypes
    from safetensors.numpy import save_file

    values = np.arange(4, dtype=np.float32)
    save_file(
        {"a": values.astype(ml_dtypes.bfloat16), "b": values.astype(np.float16)}, tmp_path / "h.safetensors"
    )
    found = weights.read(tmp_path / "h.safetensors")
    assert {x.dtype.name for x in found.values()} == {"float32"}
    np.testing.assert_array_equal(found["a"], values)
    np.savez(tmp_path / "words.npz", a=np.array(["x"]))
    with pytest.raises(UserError, match=r"words\.npz cannot be read: a is of <U1, no numbers"):
        weights.read(tmp_path / "words.npz")


@pytest.mark.parametrize("change", [{"patch_embed.proj.weight": np.ones((3, 4))}, {"pos_embed": np.ones(5)}])
def test_tensors_of_odd_shapes_are_told(change):
    tensors, network = official("vit")
    weights.described({**tensors, **change})
    with pytest.raises(UserError):
        weights.load({**tensors, **change}, network)


def test_no_damage_to_a_file_of_pytorch_does_more_than_an_error(tmp_path):
    path = torch_file(tmp_path / "w.pth", {"a": tensor("0", 12, 0, (3, 4), (4, 1))}, {"0": FLAT})
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else damaged)
        with contextlib.suppress(UserError):
            weights.read(path)
