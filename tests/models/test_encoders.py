"""Encoders and heads: sizes, invariants, errors. Full-size networks are only traced, never run."""

import functools
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from jssl import models
from jssl.errors import UserError
from jssl.models.convnet import ConvNet
from jssl.models.network import Network
from jssl.models.resnet import ResNet
from jssl.models.vit import ViT, sincos2d
from jssl.models.wide_resnet import WideResNet

SMALL_VIT = {"features": 16, "layers": 2, "heads": 2, "patch_size": 4, "image_size": 16}


def build(name, dtype="float32", **options):
    return models.encoder({"name": name, models.ENCODERS[name][0]: options}, dtype)


def small(name, **options):
    """The smallest network of a family through the public function."""
    shrink = {"resnet18": {"width": 0.0625, "stem": "cifar"}, "resnet50": {"width": 0.0625, "stem": "cifar"}}
    return build(name, **shrink.get(name, {"width": 4}), **options)


def images(n=4, size=8, channels=3):
    return np.random.default_rng(7).normal(size=(n, size, size, channels)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=(0, 4))
def forward(network, params, stats, x, train, key=None):
    return network.apply(params, stats, x, train=train, key=key)


def run(network, x, train):
    return forward(network, *network.init(jax.random.key(0), x), x, train)


@pytest.mark.parametrize(
    ("name", "options", "features", "total"),
    [
        ("resnet18", {}, 512, 11_689_512),
        # The 7x7x3 kernel of the stem becomes 3x3x3.
        ("resnet18", {"stem": "cifar"}, 512, 11_689_512 - 64 * 3 * (49 - 9)),
        ("resnet34", {}, 512, 21_797_672),
        ("resnet50", {}, 2048, 25_557_032),
        ("resnet101", {}, 2048, 44_549_160),
        ("resnet152", {}, 2048, 60_192_808),
        ("vit_ti", {}, 192, 5_717_416),
        ("vit_s", {}, 384, 22_050_664),
        ("vit_b", {}, 768, 86_567_656),
        ("vit_l", {}, 1024, 304_326_632),
    ],
)
def test_published_parameter_counts_with_a_classifier(name, options, features, total):
    less = (
        {"scan": True} if name.startswith("vit") else {"conv": "xla"}
    )  # to trace: the parameters are the same
    network, key = build(name, **options, **less), jax.random.key(0)
    x = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    out, variables = jax.eval_shape(lambda x: network.module.init_with_output(key, x, False), x)
    assert (out.shape, out.dtype) == ((2, features), jnp.float32)
    params, _ = jax.eval_shape(models.linear(1000).init, key, out)
    assert sum(leaf.size for leaf in jax.tree.leaves((variables["params"], params))) == total


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_zero_init_residual_silences_every_branch(bottleneck, version):
    module = ResNet((1, 1), bottleneck, version=version, width=0.0625, stem="cifar", zero_init_residual=True)
    params, stats = Network(module).init(jax.random.key(0), images())
    f = jax.jit(lambda v, x: module.apply(v, x, True, mutable=["batch_stats", "intermediates"]))

    def branches(params):
        out, state = f({"params": params, "batch_stats": stats}, images())
        found = jax.tree.leaves(state["intermediates"])
        assert out.shape == (4, 8 * (4 if bottleneck else 1))
        assert np.all(np.isfinite(out))
        assert np.asarray(out).std() > 0
        assert len(found) == 2
        return [float(np.abs(branch).max()) for branch in found]

    assert max(branches(params)) == 0.0
    assert min(branches(jax.tree.map(lambda x: x + 1.0, params))) > 0.0, "once trained, they speak"


def test_imagenet_stem_divides_by_32_before_pooling():
    def shape(stem):
        network = build("resnet18", width=0.0625, stem=stem)
        variables = jax.eval_shape(lambda: network.module.init(jax.random.key(0), images(size=64), False))

        def f(variables):
            return network.module.apply(variables, images(size=64), False, mutable=["intermediates"])

        state = jax.eval_shape(f, variables)[1]["intermediates"]
        return state["stage3_block1"]["branch"][0].shape

    assert shape("imagenet") == (4, 2, 2, 32)
    assert shape("cifar") == (4, 8, 8, 32)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (9, 3), (1, 2)])
def test_convnet_takes_any_image(size, channels):
    out, stats = run(build("convnet", width=4, conv="xla"), images(4, size, channels), True)
    assert (out.shape, out.dtype) == ((4, 32), jnp.float32)
    assert set(stats) == {"bn0", "bn1", "bn2", "bn3"}
    np.testing.assert_allclose(
        out, run(build("convnet", width=4), images(4, size, channels), True)[0], atol=2e-3
    )


def tiny(family, **options):
    """A network that compiles in a second."""
    if family == "vit":
        return Network(ViT(**SMALL_VIT, **options))
    if family == "resnet":
        return Network(ResNet((1, 1), False, width=0.0625, stem="cifar", **options))
    return Network(ConvNet(width=4, **options))


@pytest.mark.parametrize("network", [tiny("convnet"), tiny("resnet"), tiny("vit")])
def test_eval_features_do_not_depend_on_the_batch(network):
    x = images(4, 16)
    together, _ = run(network, x, False)
    alone, _ = run(network, x[1:2], False)
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-4


@pytest.mark.parametrize("name", ["convnet", "resnet", "vit"])
def test_bfloat16_keeps_params_statistics_and_features_in_float32(name):
    x = images(4, 16)
    low, after = run(tiny(name, dtype=jnp.bfloat16), x, True)
    full, _ = run(tiny(name), x, True)
    params, _ = tiny(name, dtype=jnp.bfloat16).init(jax.random.key(0), x)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((params, after, low))}
    assert dtypes == {jnp.dtype("float32")}
    error = np.linalg.norm(low - full) / np.linalg.norm(full)
    assert 0 < error < 0.1


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_remat_changes_neither_names_nor_gradients(kind):
    x, key = images(4, 16), jax.random.key(3)
    options = {"drop_path": 0.5} if kind == "vit" else {}
    params, stats = tiny(kind, **options).init(jax.random.key(0), x)

    def gradient(remat):
        def loss(params, stats, x):
            out, new = tiny(kind, remat=remat, **options).apply(params, stats, x, train=True, key=key)
            return jnp.sum(jnp.sin(out)), new

        f = jax.jit(jax.grad(loss, has_aux=True))
        assert ("remat" in str(f.trace(params, stats, x).jaxpr)) == remat
        return f(params, stats, x)

    plain, recomputed = gradient(False), gradient(True)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain[0])) > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), plain, recomputed)


def test_drop_path_of_a_vit_needs_a_key_only_in_training():
    network, x = Network(ViT(**SMALL_VIT, drop_path=0.5)), images(4, 16)
    params, stats = network.init(jax.random.key(0), x)
    assert stats == {}
    plain, _ = forward(network, params, stats, x, False)
    a, _ = forward(network, params, stats, x, True, jax.random.key(1))
    b, _ = forward(network, params, stats, x, True, jax.random.key(2))
    assert np.abs(a - b).max() > 1e-3
    np.testing.assert_array_equal(plain, forward(Network(ViT(**SMALL_VIT)), params, stats, x, True)[0])
    with pytest.raises(ValueError, match="drop-path needs a random key"):
        network.apply(params, stats, x, train=True)


@pytest.mark.parametrize("pool", ["cls", "gap"])
def test_learned_positions_are_interpolated(pool):
    module = ViT(**SMALL_VIT, pool=pool)
    network = Network(module)
    params, _ = network.init(jax.random.key(0), images(2, 16))
    assert params["position"].shape == (1, 16 + (pool == "cls"), 16)
    # The same tree serves other sizes.
    wide = np.ones((2, 24, 8, 3), np.float32)
    assert jax.eval_shape(lambda: network.apply(params, {}, wide, train=False))[0].shape == (2, 16)

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def grid(position, rows, cols):
        given = {"params": {**params, "position": position}}
        return module.apply(given, rows, cols, method=ViT._positions)[1].reshape(rows, cols, 16)

    # A plane stays one: bicubic interpolation of column numbers, away from the border.
    position = np.zeros((1, 16 + (pool == "cls"), 16), np.float32)
    position[0, int(pool == "cls") :, 0] = np.tile(np.arange(4.0), 4)
    column = np.asarray(grid(position, 16, 16))[..., 0]
    np.testing.assert_allclose(column, np.tile(column[:1], (16, 1)), atol=1e-5)
    np.testing.assert_allclose(column[0, 6:10], (np.arange(6, 10) + 0.5) / 4 - 0.5, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(grid(position, 4, 4))[..., 0], np.tile(np.arange(4.0), (4, 1)))


def test_sincos_positions_are_fixed_and_fit_any_size():
    network = Network(ViT(**SMALL_VIT, positions="sincos2d"))
    params, _ = network.init(jax.random.key(0), images(2, 16))
    assert "position" not in params
    assert jax.eval_shape(lambda: network.apply(params, {}, images(2, 32), train=False))[0].shape == (2, 16)
    # A token's place matters although nothing about it is learned.
    x = images(1, 16)
    flipped = np.concatenate([x[:, 4:8], x[:, :4], x[:, 8:]], axis=1)
    moved = forward(network, params, {}, flipped, False)[0] - forward(network, params, {}, x, False)[0]
    assert np.abs(moved).max() > 1e-3


def test_sincos_against_the_formula():
    table = sincos2d(3, 5, 8)
    assert (table.shape, table.dtype) == ((15, 8), np.float32)
    for row in range(3):
        for col in range(5):
            want = [f(p * w) for p in (row, col) for f in (np.sin, np.cos) for w in (1.0, 0.01)]
            np.testing.assert_allclose(table[row * 5 + col], want, atol=1e-6)
    with pytest.raises(ValueError, match="divisible by 4, not 6"):
        sincos2d(2, 2, 6)


def test_attention_maps_are_there_for_who_asks():
    module, x = ViT(**SMALL_VIT), images(2, 16)
    params, _ = Network(module).init(jax.random.key(0), x)
    seen = jax.jit(lambda params, x: module.apply({"params": params}, x, False, mutable=["intermediates"]))
    _, state = seen(params, x)
    (weights,) = state["intermediates"]["blocks_1"]["attention"]["attention"]
    assert (weights.shape, weights.dtype) == ((2, 2, 17, 17), jnp.float32)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


def test_vit_shape_errors():
    network = Network(ViT(**SMALL_VIT))
    with pytest.raises(ValueError, match="images of 18x18 do not divide into patches of 4x4"):
        network.init(jax.random.key(0), images(2, 18))
    with pytest.raises(ValueError, match="image_size 224 does not divide by patch_size 15"):
        build("vit_ti", patch_size=15).init(jax.random.key(0), images(2, 15))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, {"dense0": {"kernel"}, "bn0": {"scale", "bias"}, "dense1": {"kernel", "bias"}}),
        ({"last_bias": False, "batch_norm": False}, {"dense0": {"kernel", "bias"}, "dense1": {"kernel"}}),
        (
            {"last_batch_norm": True, "last_affine": False},
            {"dense0": {"kernel"}, "bn0": {"scale", "bias"}, "dense1": {"kernel"}},
        ),
        (
            {"last_batch_norm": True},
            {
                "dense0": {"kernel"},
                "bn0": {"scale", "bias"},
                "dense1": {"kernel"},
                "bn1": {"scale", "bias"},
            },
        ),
    ],
)
def test_mlp_has_the_parameters_that_it_should(options, names):
    head = models.mlp((7, 3), **options)
    params, _ = head.init(jax.random.key(0), jnp.ones((4, 5)))
    assert {name: set(leaves) for name, leaves in params.items()} == names
    assert params["dense1"]["kernel"].shape == (7, 3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mlp_normalises_its_output_without_affine(dtype):
    x = jax.random.normal(jax.random.key(0), (64, 5))
    head = models.mlp((7, 3), last_batch_norm=True, last_affine=False, dtype=dtype)
    y, stats = run(head, x, True)
    assert y.dtype == jnp.float32
    assert set(stats) == {"bn0", "bn1"}
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(0), 1, atol=1e-2)


def test_linear_heads_start_as_told():
    x = jax.random.normal(jax.random.key(0), (4, 500))
    out, stats = run(models.linear(10), x, True)
    assert stats == {}
    np.testing.assert_array_equal(out, np.zeros((4, 10)))
    params, _ = models.linear(200, kernel_init="normal", bias=False).init(jax.random.key(0), x)
    assert set(params["dense"]) == {"kernel"}
    assert float(params["dense"]["kernel"].std()) == pytest.approx(0.01, rel=0.02)


def test_networks_are_hashable_and_equal_when_built_alike():
    assert small("resnet18") == small("resnet18")
    assert hash(models.mlp((8, 4))) == hash(models.mlp([8, 4]))
    assert small("resnet18") != small("resnet18", version=2)


def test_defaults_are_plain_and_build_from_a_config_dict():
    defaults = models.encoder_defaults()
    assert set(defaults) == {"resnet", "vit", "convnet", "wrn", "flat"}
    assert defaults["resnet"]["stem"] == "imagenet"
    assert defaults["vit"]["patch_size"] == 16
    leaves = [value for options in defaults.values() for value in options.values()]
    assert {type(value) for value in leaves} <= {int, float, str, bool, tuple}
    config = ml_collections.ConfigDict({"name": "convnet", **defaults})
    config.convnet.width = 8
    assert models.encoder(config).module.width == 8
    # Naming every default is the same as naming none.
    for name in models.ENCODERS:
        assert models.encoder({"name": name, **defaults}) == models.encoder({"name": name})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown encoder 'resnet81': did you mean 'resnet18'"),
        ("swin", {}, "unknown encoder 'swin': .*valid are convnet, .*resnet18"),
        ("resnet18", {"widht": 2}, "unknown key of encoder.resnet 'widht': did you mean 'width'"),
        ("resnet18", {"dtype": 2}, "unknown key of encoder.resnet 'dtype': valid are .*version"),
        ("resnet18", {"stem": "cifr"}, "unknown encoder.resnet.stem 'cifr': did you mean 'cifar'"),
        ("resnet18", {"version": 3}, "unknown encoder.resnet.version '3': .*valid are 1, 2"),
        ("resnet18", {"width": -1}, "encoder.resnet.width=-1 must be from 0.001 to 1000"),
        ("resnet18", {"remat": 1}, "encoder.resnet.remat=1 must be True or False"),
        ("vit_s", {"drop_path": 1.0}, "encoder.vit.drop_path=1.0 must be at least 0 and less than 1"),
        ("vit_s", {"patch_size": 0}, "encoder.vit.patch_size=0 must be at least 1"),
        (
            "convnet",
            {"strides": (2, 0)},
            r"encoder.convnet.strides=\(2, 0\) must be a tuple of whole numbers",
        ),
        ("convnet", {"conv": "fft"}, "unknown encoder.convnet.conv 'fft': .*valid are auto, im2col, xla"),
    ],
)
def test_config_errors_name_the_way_out(name, options, message):
    family = models.ENCODERS[name][0] if name in models.ENCODERS else "resnet"
    with pytest.raises(ValueError, match=message) as error:
        models.encoder({"name": name, family: options})
    assert "\n" not in str(error.value)


def test_other_errors():
    with pytest.raises(ValueError, match="unknown key of encoder 'resent': did you mean 'resnet'"):
        models.encoder({"name": "resnet18", "resent": {"stem": "cifar"}})
    with pytest.raises(ValueError, match="unknown dtype 'bfloat': did you mean 'bfloat16'"):
        build("convnet", dtype="bfloat")
    with pytest.raises(ValueError, match=r"mlp\.sizes=\(\) must be a tuple of whole numbers of at least 1"):
        models.mlp(())
    with pytest.raises(ValueError, match=r"unknown mlp\.activation 'tanh': valid are gelu, relu"):
        models.mlp((4, 2), activation="tanh")
    with pytest.raises(ValueError, match=r"linear\.features=0 must be at least 1"):
        models.linear(0)
    with pytest.raises(ValueError, match=r"unknown linear\.kernel_init 'ones': valid are normal, zeros"):
        models.linear(3, kernel_init="ones")


@pytest.mark.parametrize("remat", [False, True])
def test_blocks_in_a_loop_are_the_blocks_one_after_the_other(remat):
    sizes = {"features": 16, "layers": 3, "heads": 2, "patch_size": 4, "image_size": 8}
    x = images(4, 8, 3)
    plain, scanned = Network(ViT(**sizes)), Network(ViT(**sizes, scan=True, remat=remat))
    params, stats = plain.init(jax.random.key(0), x)
    other, _ = jax.eval_shape(scanned.init, jax.random.key(0), x)
    assert jax.tree.structure(other) == jax.tree.structure(params)

    def gradient(network):
        loss = lambda p: jnp.sum(jnp.sin(network.apply(p, stats, x, train=True)[0]))  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(params)

    for a, b in zip(*(jax.tree.leaves(gradient(network)) for network in (scanned, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    dropping = Network(ViT(**sizes, scan=True, drop_path=0.5))
    one, other = (forward(dropping, params, stats, x, True, jax.random.key(k))[0] for k in (1, 2))
    assert np.any(one != other)
    with pytest.raises(ValueError, match="random key"):
        dropping.apply(params, stats, x, train=True)
    assert jax.eval_shape(scanned.attention, params, stats, x).shape == (4, 2, 5, 5)


def test_a_loop_of_blocks_is_a_smaller_program():
    def size(scan):
        network = Network(ViT(**{**SMALL_VIT, "layers": 12}, scan=scan))
        params, stats = jax.eval_shape(network.init, jax.random.key(0), images(4, 16))
        step = jax.jit(jax.grad(lambda p, x: jnp.sum(network.apply(p, stats, x, train=True)[0])))
        return len(step.lower(params, images(4, 16)).as_text())

    assert size(True) < size(False) / 2


@pytest.mark.parametrize("name", models.ENCODERS)
def test_an_encoder_has_a_constructor_of_its_name(name):
    construct = getattr(models, name)
    assert name in models.__all__
    defaults = models.encoder_defaults()[models.ENCODERS[name][0]]
    option = {"pool": "gap"} if "pool" in defaults else {"bn_momentum": 0.5}
    assert construct() == build(name)
    assert construct(**option, dtype="bfloat16") == build(name, "bfloat16", **option)
    parameters = inspect.signature(construct).parameters
    assert {key: parameters[key].default for key in defaults} == defaults
    assert {*parameters} == {*defaults, "head_layers", "dtype"}


def test_constructors_take_a_head_and_name_the_nearest_option():
    config = {"name": "convnet", "convnet": {"width": 4}, "head_layers": (8,)}
    assert models.convnet(width=4, head_layers=(8,)) == models.encoder(config)
    with pytest.raises(UserError, match="did you mean 'stem'"):
        models.resnet18(stemm="cifar")


TWO_BLOCKS = {"features": 16, "layers": 2, "heads": 2, "patch_size": 8, "image_size": 16}


@pytest.mark.parametrize(
    "network",
    [
        Network(ConvNet(width=4, strides=(2, 2))),
        Network(ResNet((1, 1), True, width=0.0625, stem="cifar")),
        Network(WideResNet(depth=10, widen=1)),
        Network(ViT(pool="gap", **TWO_BLOCKS)),
    ],
    ids=["convnet", "resnet", "wrn", "vit"],
)
def test_features_are_the_mean_of_the_feature_map(network):
    x = images(2, 16)
    params, stats = network.init(jax.random.key(0), x)
    features, _ = forward(network, params, stats, x, False)
    found = jax.jit(network.feature_map)(params, stats, x)
    assert found.ndim == 4
    np.testing.assert_allclose(found.mean(axis=(1, 2)), features, rtol=1e-5, atol=1e-6)


def test_patches_lie_where_they_were_and_the_class_token_comes_first():
    network = Network(ViT(**TWO_BLOCKS))
    x = images(2, 16)[:, :, :8]  # two patches, one above the other
    params, stats = network.init(jax.random.key(0), x)
    tokens = jax.jit(network.tokens)(params, stats, x)
    assert tokens.shape == (2, 3, 16)
    np.testing.assert_allclose(tokens[:, 0], forward(network, params, stats, x, False)[0], rtol=1e-5)
    grid = jax.jit(network.feature_map)(params, stats, x)
    assert grid.shape == (2, 2, 1, 16)
    np.testing.assert_allclose(grid[:, :, 0], tokens[:, 1:], rtol=1e-5)
    with pytest.raises(UserError, match="ConvNet has no tokens"):
        models.encoder({"name": "convnet", "convnet": {}}).tokens({}, {}, x)


def test_several_inputs_are_split_together_by_the_gradient_cache():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, y, train):
            del train
            return nn.Dense(3)(jnp.concatenate([x, y], axis=-1))

    x, y = (np.random.default_rng(i).normal(size=(8, 2)).astype(np.float32) for i in range(2))
    whole, parts = Network(Two()), Network(Two(), chunks=4)
    params, stats = whole.init(jax.random.key(0), x, y)

    def loss(network, params):
        return jnp.sum(network.apply(params, stats, x, y, train=True)[0] ** 3)

    value, gradient = jax.value_and_grad(loss, argnums=1)(whole, params)
    other, other_gradient = jax.value_and_grad(loss, argnums=1)(parts, params)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), other_gradient, gradient
    )


def test_a_wide_resnet_has_the_parameters_of_the_literature():
    encoder = models.encoder({"name": "wrn_28_2", "wrn": {}})
    params, _ = jax.eval_shape(
        encoder.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count + 128 * 10 + 10 == 1_467_610  # of TorchSSL's WRN-28-2 with ten classes


def test_the_residual_stream_of_a_vit_is_float32_whatever_the_matmuls_are():
    vit = ViT(features=64, layers=2, patch_size=4, image_size=8, dtype=jnp.bfloat16)
    x = images(2, 8, 3)
    params = jax.eval_shape(functools.partial(vit.init, train=False), jax.random.key(0), x)
    embed = functools.partial(vit.apply, method=vit.embed)
    assert jax.eval_shape(embed, params, x).dtype == jnp.float32
    for scan in (False, True):
        encode = functools.partial(vit.clone(scan=scan).apply, train=True, method=vit.encode)
        jaxpr = jax.make_jaxpr(encode)(params, jnp.zeros((2, 5, 64)))
        assert jaxpr.out_avals[0].dtype == jnp.float32
        sums = [
            e for e in equations(jaxpr.jaxpr) if e.primitive.name == "add" and e.outvars[0].aval.ndim == 3
        ]
        residual = [e for e in sums if e.outvars[0].aval.shape == (2, 5, 64)]
        assert residual
        assert sum(e.outvars[0].aval.dtype == jnp.float32 for e in residual) >= (2 if scan else 4)


def equations(jaxpr):
    """All equations, those of inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else (value,):
                if hasattr(inner, "jaxpr"):
                    yield from equations(inner.jaxpr)


def test_vits_begin_as_their_papers_do():
    """DINO: normal matrices of standard deviation .02; MoCo v3: Xavier, 12 heads, a class token of 1e-6."""
    x = images(1, 32, 3)
    small = {"features": 384, "layers": 1, "patch_size": 16, "image_size": 32}  # ViT-S but for its depth
    dino, mocov3 = Network(ViT(**small, weight_init="normal")), Network(ViT(**small, heads=12, cls_std=1e-6))
    assert jax.eval_shape(dino.attention, *jax.eval_shape(dino.init, jax.random.key(0), x), x).shape[1] == 6
    assert (
        jax.eval_shape(mocov3.attention, *jax.eval_shape(mocov3.init, jax.random.key(0), x), x).shape[1] == 12
    )
    ours, theirs = (net.init(jax.random.key(0), x)[0] for net in (dino, mocov3))
    for name in ("qkv", "out"):
        np.testing.assert_allclose(np.std(ours["blocks_0"]["attention"][name]["kernel"]), 0.02, rtol=0.02)
    np.testing.assert_allclose(np.std(ours["blocks_0"]["mlp0"]["kernel"]), 0.02, rtol=0.02)
    bound = (3 * 16 * 16) ** -0.5  # torch: uniform in +-1 / sqrt(fan in)
    assert 0.99 * bound < np.abs(ours["patches"]["kernel"]).max() <= bound
    assert np.std(theirs["cls"]) < 2e-6
    np.testing.assert_allclose(np.std(ours["cls"]), 0.02, rtol=0.2)
    np.testing.assert_allclose(
        np.std(theirs["blocks_0"]["mlp0"]["kernel"]), (2 / (384 * 5)) ** 0.5, rtol=0.02
    )
