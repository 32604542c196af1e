"""Wide residual networks, the encoders of the semi-supervised literature at 32 pixels."""

from __future__ import annotations

import functools
from typing import get_args

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.conv import Conv, Implementation
from jssl.models.layers import BatchNorm
from jssl.models.network import record
from jssl.models.resnet import Block
from jssl.types import Array


class WideResNet(nn.Module):
    """WRN-depth-widen without its classifier: images [B, H, W, C] to features float32 [B, 64 * widen].

    Three stages of (depth - 4) / 6 basic pre-activation blocks with 16, 32 and 64 times `widen` channels; the second
    and the third halve the image. Its layers are 'stem' and the stages 'block1' to 'block3': sums before any
    activation, but for the last, which is the feature map.

    Args:
      depth: 6 n + 4.
      widen: multiplies the channels of the stages; the stem has 16.
      slope: of the leaky ReLU below zero (TorchSSL and USB: 0.1; 0 is a ReLU).
      bn_momentum: see `BatchNorm`. The semi-supervised codes keep 0.999, which is stale in short runs.
      batch_norm_groups: see `BatchNorm`.
      remat: recompute each block in the backward pass, for memory.
      conv: implementation of the convolutions: 'auto', 'im2col' or 'xla'.
      dtype: of the convolutions; parameters, statistics and features are float32.

    References:
      Zagoruyko and Komodakis, Wide Residual Networks, 2016. https://arxiv.org/abs/1605.07146
    """

    depth: int
    widen: int
    slope: float = settings.fraction(0.1)
    bn_momentum: float = settings.fraction(0.9)
    batch_norm_groups: int = settings.size(1)
    remat: bool = False
    conv: Implementation = settings.choice("auto", get_args(Implementation))
    dtype: Dtype = jnp.float32

    @nn.compact
    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer before pooling, float32 [B, h, w, D]."""
        conv = functools.partial(Conv, implementation=self.conv, dtype=self.dtype)
        norm = functools.partial(
            BatchNorm, groups=self.batch_norm_groups, momentum=self.bn_momentum, dtype=self.dtype
        )
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        x = conv(16, 3, 1, name="stem")(x)
        record(self, "stem", x)
        for stage in range(3):
            for i in range((self.depth - 4) // 6):
                x = block(
                    features=16 * self.widen * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=False,
                    version=2,
                    zero_init_residual=False,
                    slope=self.slope,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{i}",
                )(x, train)
            record(self, f"block{stage + 1}", x)
        x = nn.leaky_relu(norm(name="final_bn")(x, train), self.slope)
        record(self, "block3", x)
        return x.astype(jnp.float32)

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.mean(self.feature_map(x, train), axis=(1, 2))
