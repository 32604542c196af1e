"""One convolution, two ways to compute it: what is fast on a CPU is not what is fast elsewhere."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jax import lax

from jssl.errors import UserError
from jssl.types import Array

Implementation: TypeAlias = Literal["auto", "im2col", "xla"]
Padding: TypeAlias = Literal["SAME"] | int

# As in torchvision: normal, variance 2 / (kh kw Cout), not truncated.
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv2d(
    x: Array,
    kernel: Array,
    stride: int = 1,
    padding: Padding = "SAME",
    implementation: Implementation = "auto",
) -> Array:
    """2-D convolution (a cross-correlation, as everywhere in deep learning).

    Both implementations give the same values and gradients up to rounding. `auto` decides by shape, and by
    the platform that the program is *compiled for*, so a TPU program compiled ahead of time on a CPU
    machine gets XLA's convolution. Only the chosen branch is compiled.

    Args:
      x: float[B, H, W, Cin].
      kernel: float[kh, kw, Cin, Cout], same dtype as x.
      stride: step of the window along both axes.
      padding: 'SAME' pads with zeros to ceil(H / stride) rows, the odd one at the end; an int pads that
        many on each of the four sides, as torch does.
      implementation: 'auto', 'im2col' or 'xla'.

    Returns:
      float[B, H', W', Cout], dtype of x.

    Raises:
      ValueError: if the implementation is unknown, the channels differ or the output would be empty.
    """
    if implementation not in get_args(Implementation):
        raise ValueError(f"implementation must be auto, im2col or xla, not {implementation!r}")
    kh, kw, cin, _ = kernel.shape
    if x.shape[-1] != cin:
        raise ValueError(f"a kernel for {cin} channels cannot take an input of shape {x.shape}")
    pads = _pads(x.shape[1:3], (kh, kw), stride, padding)
    if any(n + sum(pad) < k for n, k, pad in zip(x.shape[1:3], (kh, kw), pads)):
        raise UserError(f"an input of shape {x.shape} is smaller than a kernel of {kh}x{kw}")

    def by_xla(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def by_im2col(x: Array, kernel: Array) -> Array:
        return _im2col(x, kernel, stride, pads)

    if implementation == "im2col":
        return by_im2col(x, kernel)
    if implementation == "xla" or not _im2col_wins(kh, kw, cin, stride):
        return by_xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_im2col, default=by_xla)


def _im2col_wins(kh: int, kw: int, cin: int, stride: int) -> bool:
    """Where im2col beats XLA's convolution in a training step on a CPU, by measurement."""
    return stride > 1 or cin <= 4 or cin >= 64 or max(kh, kw) <= 2


def _pads(
    size: tuple[int, ...], kernel: tuple[int, int], stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """Zeros before and after each of the two axes."""
    if padding != "SAME":
        return [(padding, padding)] * 2
    totals = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(size, kernel)]
    return [(total // 2, total - total // 2) for total in totals]


def _im2col(x: Array, kernel: Array, stride: int, pads: list[tuple[int, int]]) -> Array:
    """Gathers each window's pixels into a row, then one matmul.

    Static slices, because their gradients are pads and sums, which a CPU does at memory speed.
    """
    kh, kw, cin, cout = kernel.shape
    if any(pad != (0, 0) for pad in pads):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    batch, height, width, _ = x.shape
    rows, cols = (height - kh) // stride, (width - kw) // stride  # last index of the output
    taps = [
        lax.slice(
            x,
            (0, dy, dx, 0),
            (batch, dy + rows * stride + 1, dx + cols * stride + 1, cin),
            (1, stride, stride, 1),
        )
        for dy in range(kh)
        for dx in range(kw)
    ]
    patches = taps[0] if len(taps) == 1 else jnp.concatenate(taps, axis=-1)
    return patches @ kernel.reshape(kh * kw * cin, cout)


class Conv(nn.Module):
    """Convolution without bias: [B, H, W, Cin] to [B, H', W', features], see `conv2d`.

    Args:
      features: channels of the output.
      kernel_size: side of the square kernel.
      stride: step of the window.
      padding: 'SAME', an int, or None for (kernel_size - 1) // 2, which is torch's usual choice.
      implementation: 'auto', 'im2col' or 'xla'.
      kernel_init: initialiser of the float32 kernel [k, k, Cin, features].
      dtype: of the computation and of the output.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: Padding | None = None
    implementation: Implementation = "auto"
    kernel_init: jax.nn.initializers.Initializer = kaiming_fan_out
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        padding = (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        return conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            self.stride,
            padding,
            self.implementation,
        )


class ConvTranspose(nn.Module):
    """Transposed convolution, 4x4 with stride 2 and without bias: [B, H, W, Cin] to [B, 2 H, 2 W, features].

    Each pixel of the output sees 2 x 2 of the input, by one of four kernels, depending on whether its row and column
    are even. So it is one 2x2 convolution to four times the channels, whose results are put in their places: four times
    as fast on a CPU as a convolution of a map that is spread out with zeros.

    Args:
      features: channels of the output.
      kernel_init: initialiser of the float32 kernel [2, 2, Cin, 2 * 2 * features].
      dtype: of the computation and of the output.
    """

    features: int
    kernel_init: jax.nn.initializers.Initializer = nn.initializers.he_normal()
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (2, 2, x.shape[-1], 4 * self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        phases = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), padding=1)
        batch, height, width = x.shape[:3]
        phases = phases.reshape(batch, height + 1, width + 1, 2, 2, self.features)
        rows = [
            jnp.stack([phases[:, p : p + height, q : q + width, p, q] for q in (0, 1)], axis=3)
            for p in (0, 1)
        ]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, self.features)
