"""Decoders: from features back to pixels, and who judges the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.conv import ConvTranspose
from jssl.models.layers import BatchNorm
from jssl.models.vit import Block, sincos2d
from jssl.types import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
}


class PatchDecoder(nn.Module):
    """A light transformer that predicts the pixels of all patches from the tokens of the visible ones.

    Tokens [B, V, D], the class token first, and `restore` int[B, N] (see `augment.patches.Masking`) to float32
    [B, N, outputs]. Hidden patches are a learned token; positions are fixed sin-cos ones on a square.

    Args:
      outputs: numbers of a patch.
      features: size of its tokens.
      layers: number of blocks.
      heads: attention heads.
      class_token: whether the first token is that of the class.
      dtype: of the matmuls.

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021. https://arxiv.org/abs/2111.06377
    """

    outputs: int
    features: int = settings.size(512)
    layers: int = settings.size(8)
    heads: int = settings.size(16)
    class_token: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array, restore: Array, train: bool) -> Array:
        dense = nn.initializers.xavier_uniform()
        x = nn.Dense(self.features, kernel_init=dense, dtype=self.dtype, name="embed")(tokens)
        x = x.astype(jnp.float32)
        batch, count = restore.shape
        prefix, visible = jnp.split(x, [int(self.class_token)], axis=1)
        token = self.param("mask", nn.initializers.normal(0.02), (1, 1, self.features), jnp.float32)
        hidden = jnp.broadcast_to(token, (batch, count - visible.shape[1], self.features))
        sequence = jnp.concatenate([visible, hidden], axis=1)
        patches = jnp.take_along_axis(sequence, restore[..., None], axis=1)
        side = math.isqrt(count)
        patches += jnp.asarray(sincos2d(side, side, self.features))[None]
        x = jnp.concatenate([prefix, patches], axis=1)
        for number in range(self.layers):
            x = Block(self.heads, 0.0, self.dtype, name=f"block{number}")(x, train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        x = nn.Dense(self.outputs, kernel_init=dense, dtype=self.dtype, name="pixels")(x)
        return x[:, -count:].astype(jnp.float32)


class Code(nn.Module):
    """A bottleneck: a feature map [B, h, w, D] as one vector, float32 [B, size].

    Args:
      size: of the code.
      activation: 'none', 'relu' or 'sigmoid'.
      dtype: of the matmul.
    """

    size: int = settings.size()
    activation: str = settings.choice("none", tuple(ACTIVATIONS))
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        del train
        x = nn.Dense(self.size, dtype=self.dtype, name="dense")(x.reshape(len(x), -1)).astype(jnp.float32)
        return ACTIVATIONS[self.activation](x)


class DenseDecoder(nn.Module):
    """Dense layers from features, [B, ...], to numbers for every pixel, float32 [B, H, W, outputs].

    Args:
      outputs: numbers of a pixel.
      size: (H, W).
      features: units of a hidden layer with batch norm and ReLU; 0 for none.
      dtype: of the matmuls.
    """

    outputs: int
    size: tuple[int, int]
    features: int = settings.count(64)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = x.reshape(len(x), -1)
        if self.features:
            x = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="hidden")(x)
            x = nn.relu(BatchNorm(dtype=self.dtype, name="bn")(x, train))
        x = nn.Dense(math.prod(self.size) * self.outputs, dtype=self.dtype, name="pixels")(x)
        return x.reshape(-1, *self.size, self.outputs).astype(jnp.float32)


class MapDecoder(nn.Module):
    """Transposed convolutions from a feature map, [B, h, w, D], to numbers for every pixel, float32 [B, H, W, outputs].

    Each doubles the sides (4x4, stride 2, so that every pixel is reached equally often) and is followed by batch norm
    and ReLU; the last one has `features` channels, those before it twice as many each. A code [B, K] is spread over a
    map first.

    Args:
      outputs: numbers of a pixel.
      size: (H, W).
      grid: (h, w, D) of the feature map.
      features: channels of the last transposed convolution.
      kernel: size of the convolution that makes the outputs of them.
      dtype: of the convolutions.
    """

    outputs: int
    size: tuple[int, int]
    grid: tuple[int, int, int]
    features: int = settings.size(64)
    kernel: int = settings.size(3)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if x.ndim == 2:
            x = nn.Dense(math.prod(self.grid), use_bias=False, dtype=self.dtype, name="spread")(x)
            x = nn.relu(BatchNorm(dtype=self.dtype, name="bn")(x, train)).reshape(-1, *self.grid)
        times = doublings(self.grid[:2], self.size)
        for left in reversed(range(times)):
            width, name = self.features * 2**left, f"up{left}"
            x = ConvTranspose(width, dtype=self.dtype, name=name)(x)
            x = nn.relu(BatchNorm(dtype=self.dtype, name=f"bn{left}")(x, train))
        rounded = all(
            -(-side // 2**times) == cells and side % cells for side, cells in zip(self.size, self.grid)
        )
        x = fit(x, self.size, rounded)
        kernel = (self.kernel, self.kernel)
        return nn.Conv(self.outputs, kernel, dtype=self.dtype, name="pixels")(x).astype(jnp.float32)


def doublings(grid: tuple[int, ...], size: tuple[int, ...]) -> int:
    """How often the sides of a map double until it is as large as an image."""
    return max(math.ceil(math.log2(side / cells)) for side, cells in zip(size, grid))


def fit(x: Array, size: tuple[int, int], rounded: bool) -> Array:
    """A map [B, h, w, D] of the image's sides: cut where halves were rounded up, resized where it covers the same."""
    if x.shape[1:3] == size:
        return x
    if rounded:
        return x[:, : size[0], : size[1]]
    return jax.image.resize(x, (len(x), *size, x.shape[-1]), "bilinear")


class Discriminator(nn.Module):
    """Strided convolutions from images, [B, H, W, C], to a logit each, float32 [B].

    4x4 convolutions of stride 2 with leaky ReLU (slope .2), all but the first with batch norm, until four places or
    fewer are left a side.

    Args:
      size: the shorter side of the images.
      features: channels of the first convolution; each further one has twice as many.
      dtype: of the convolutions.

    References:
      Radford et al., DCGAN, 2015. https://arxiv.org/abs/1511.06434
    """

    size: int
    features: int = settings.size(64)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for number in range(max(1, math.ceil(math.log2(self.size / 4)))):
            width = self.features * 2**number
            x = nn.Conv(width, (4, 4), (2, 2), use_bias=number == 0, dtype=self.dtype, name=f"conv{number}")(
                x
            )
            x = BatchNorm(dtype=self.dtype, name=f"bn{number}")(x, train) if number else x
            x = nn.leaky_relu(x, 0.2)
        return nn.Dense(1, dtype=self.dtype, name="logit")(x.reshape(len(x), -1)).astype(jnp.float32)[:, 0]
