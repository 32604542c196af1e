"""A small ConvNet for CPUs, students and tests."""

from __future__ import annotations

from typing import get_args

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.conv import Conv, Implementation
from jssl.models.layers import NORMS, normalization
from jssl.models.network import record
from jssl.types import Array


class ConvNet(nn.Module):
    """Strided 3x3 convolutions, each with normalisation and ReLU, then global average pooling.

    Takes any image from 1x1 up with any number of channels: [B, H, W, C] to float32
    [B, width * 2 ** (len(strides) - 1)]. Its layers, 'block1' and so on, are the convolutions, after their ReLU.

    Args:
      width: channels of the first block; each further block doubles them.
      strides: stride of each block, so their number is the depth.
      norm: 'batch' or 'layer': see `layers.BatchNorm` and `layers.LayerNorm`.
      batch_norm_groups: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      conv: implementation of the convolutions: 'auto', 'im2col' or 'xla'.
      dtype: of the convolutions; parameters, statistics and features are float32.
    """

    width: int = settings.size(16)
    strides: tuple[int, ...] = settings.sizes((2, 2, 2, 2))
    norm: str = settings.choice("batch", NORMS)
    batch_norm_groups: int = settings.size(1)
    bn_momentum: float = settings.fraction(0.9)
    conv: Implementation = settings.choice("auto", get_args(Implementation))
    dtype: Dtype = jnp.float32

    @nn.compact
    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer before pooling, float32 [B, h, w, D]."""
        norm = normalization(self.norm, self.batch_norm_groups, self.bn_momentum, self.dtype)
        for i, stride in enumerate(self.strides):
            x = Conv(
                self.width * 2**i,
                kernel_size=3,
                stride=stride,
                implementation=self.conv,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            x = nn.relu(norm(name=f"bn{i}")(x, train))
            record(self, f"block{i + 1}", x)
        return x.astype(jnp.float32)

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.mean(self.feature_map(x, train), axis=(1, 2))
