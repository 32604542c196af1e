"""Convolution: two implementations, one meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jssl.models.conv import Conv, ConvTranspose, conv2d

CASES = [
    # height, width, Cin, kernel, stride, padding
    (8, 8, 3, 3, 1, 1),
    (7, 9, 5, 3, 2, 1),
    (9, 7, 2, 7, 2, 3),
    (6, 5, 4, 1, 1, 0),
    (7, 6, 4, 1, 2, 0),
    (8, 7, 3, 3, 2, "SAME"),
    (5, 6, 3, 2, 3, "SAME"),
    (6, 6, 2, 3, 1, 0),
    (1, 1, 3, 3, 2, 1),
]


def arrays(height, width, cin, size, batch=2, cout=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, height, width, cin)).astype(np.float32)
    kernel = rng.normal(size=(size, size, cin, cout)).astype(np.float32)
    return x, kernel


def loops(x, kernel, stride, padding):
    """The definition, window by window."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    rows = (x.shape[1] - size) // stride + 1
    cols = (x.shape[2] - size) // stride + 1
    out = np.zeros((x.shape[0], rows, cols, kernel.shape[3]))
    for b in range(x.shape[0]):
        for i in range(rows):
            for j in range(cols):
                window = x[b, i * stride : i * stride + size, j * stride : j * stride + size]
                for c in range(kernel.shape[3]):
                    out[b, i, j, c] = np.sum(window * kernel[..., c])
    return out


@pytest.mark.parametrize("implementation", ["auto", "im2col", "xla"])
def test_conv_is_the_definition(implementation):
    x, kernel = arrays(7, 9, 5, 3)
    got = conv2d(x, kernel, 2, 1, implementation)
    np.testing.assert_allclose(got, loops(x, kernel, 2, 1), atol=1e-4)


@pytest.mark.parametrize(("height", "width", "cin", "size", "stride", "padding"), CASES)
def test_im2col_equals_xla_in_value_and_gradient(height, width, cin, size, stride, padding):
    x, kernel = arrays(height, width, cin, size)

    def loss(implementation):
        def f(x, kernel):
            y = conv2d(x, kernel, stride, padding, implementation)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(x, kernel)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), loss("im2col"), loss("xla")
    )


def gradient(implementation="auto", cin=3, stride=2):
    x = jax.ShapeDtypeStruct((2, 8, 8, cin), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, cin, 6), jnp.float32)
    f = jax.grad(lambda x, k: jnp.sum(jnp.sin(conv2d(x, k, stride, 1, implementation))), (0, 1))
    return jax.jit(f).trace(x, kernel)


def kinds(hlo):
    return {op for op in ("convolution(", " dot(", "conditional(") if op in hlo}


@pytest.mark.parametrize(
    ("cin", "stride", "im2col"), [(3, 1, True), (64, 1, True), (16, 2, True), (16, 1, False)]
)
def test_auto_compiles_one_branch_on_cpu(cin, stride, im2col):
    hlo = gradient(cin=cin, stride=stride).lower(lowering_platforms=("cpu",)).compile().as_text()
    assert "conditional(" not in hlo
    chosen = gradient("im2col" if im2col else "xla", cin, stride).lower().compile().as_text()
    assert kinds(hlo) == kinds(chosen)
    assert kinds(chosen) != kinds(
        gradient("xla" if im2col else "im2col", cin, stride).lower().compile().as_text()
    )


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_auto_lowers_to_a_convolution_for_accelerators(platform):
    text = gradient().lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == 3  # forward, two gradients
    assert "stablehlo.dot_general" not in text
    assert "stablehlo.concatenate" not in text


def test_conv_module_pads_as_torch_and_keeps_float32_params():
    x = jnp.ones((2, 9, 9, 3), jnp.bfloat16)
    module = Conv(4, 7, 2, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), x)
    kernel = variables["params"]["kernel"]
    assert (kernel.shape, kernel.dtype) == ((7, 7, 3, 4), jnp.float32)
    y = module.apply(variables, x)
    assert (y.shape, y.dtype) == ((2, 5, 5, 4), jnp.bfloat16)


def test_initial_kernel_has_the_variance_of_fan_out():
    module = Conv(128, 3)
    kernel = module.init(jax.random.key(0), jnp.ones((1, 4, 4, 32)))["params"]["kernel"]
    assert float(jnp.std(kernel)) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


@pytest.mark.parametrize(
    ("shape", "implementation", "message"),
    [
        ((1, 4, 4, 3), "winograd", "implementation must be auto, im2col or xla"),
        ((1, 4, 4, 5), "auto", "a kernel for 3 channels"),
        ((1, 1, 4, 3), "auto", "smaller than a kernel of 3x3"),
    ],
)
def test_errors(shape, implementation, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.ones(shape), jnp.ones((3, 3, 3, 2)), 1, 0, implementation)


def test_a_transposed_convolution_is_that_of_a_map_spread_out_with_zeros():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5, 4)), jnp.float32)
    module = ConvTranspose(6)
    params = module.init(jax.random.key(0), x)
    kernel = np.asarray(params["params"]["kernel"]).reshape(2, 2, 4, 2, 2, 6)  # tap, Cin, phase
    spread = np.zeros((2, 6 + 2, 10 + 2, 6))
    for i, j in np.ndindex(3, 5):  # every input adds a 4x4 square
        for a, b, p, q in np.ndindex(2, 2, 2, 2):
            spread[:, 2 * i + 3 - 2 * a - p, 2 * j + 3 - 2 * b - q] += x[:, i, j] @ kernel[a, b, :, p, q]
    np.testing.assert_allclose(module.apply(params, x), spread[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
