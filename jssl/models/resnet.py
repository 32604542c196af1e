"""Residual networks, versions 1 (post-activation, stride on the 3x3) and 2 (pre-activation)."""

from __future__ import annotations

import functools
from typing import get_args

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.conv import Conv, Implementation, kaiming_fan_out
from jssl.models.layers import NORMS, Norm, normalization
from jssl.models.network import record
from jssl.types import Array


class Block(nn.Module):
    """One residual block: [B, H, W, Cin] to [B, H / stride, W / stride, Cout].

    The basic block is two 3x3 convolutions; the bottleneck is 1x1, 3x3, 1x1, with four times as many
    channels at its end. The stride sits on the first 3x3. The shortcut is a 1x1 convolution where the shape
    changes and the identity elsewhere.

    Args:
      features: channels inside the block.
      stride: stride of the block.
      bottleneck: which of the two blocks.
      version: 1 is conv-BN-ReLU with a ReLU after the sum; 2 is BN-ReLU-conv with nothing after it.
      zero_init_residual: start the branch at zero: the scale of its last batch norm in version 1, its
        last kernel in version 2.
      conv: convolution class with implementation and dtype filled in.
      norm: class of normalisation with options filled in.
      slope: of the activation below zero in version 2.
    """

    features: int
    stride: int
    bottleneck: bool
    version: int
    zero_init_residual: bool
    conv: functools.partial[Conv]
    norm: Norm
    slope: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        out_features = self.features * (4 if self.bottleneck else 1)
        # features, kernel size, stride
        if self.bottleneck:
            plan = [(self.features, 1, 1), (self.features, 3, self.stride), (out_features, 1, 1)]
        else:
            plan = [(self.features, 3, self.stride), (out_features, 3, 1)]
        reshaped = self.stride > 1 or x.shape[-1] != out_features
        shortcut, y = x, x

        if self.version == 1:
            for i, (features, size, stride) in enumerate(plan):
                last = i == len(plan) - 1
                y = self.conv(features, size, stride, name=f"conv{i}")(y)
                zero = last and self.zero_init_residual
                scale_init = nn.initializers.zeros if zero else nn.initializers.ones
                y = self.norm(scale_init=scale_init, name=f"bn{i}")(y, train)
                y = y if last else nn.relu(y)
            if reshaped:
                shortcut = self.conv(out_features, 1, self.stride, name="shortcut")(x)
                shortcut = self.norm(name="shortcut_bn")(shortcut, train)
            self.sow("intermediates", "branch", y)
            return nn.relu(shortcut + y)

        for i, (features, size, stride) in enumerate(plan):
            y = nn.leaky_relu(self.norm(name=f"bn{i}")(y, train), self.slope)
            if i == 0 and reshaped:
                shortcut = self.conv(out_features, 1, self.stride, name="shortcut")(y)
            zero = i == len(plan) - 1 and self.zero_init_residual
            kernel_init = nn.initializers.zeros if zero else kaiming_fan_out
            y = self.conv(features, size, stride, kernel_init=kernel_init, name=f"conv{i}")(y)
        self.sow("intermediates", "branch", y)
        return shortcut + y


class ResNet(nn.Module):
    """ResNet without its classifier: images [B, H, W, C] to features float32 [B, D].

    D is 512 * width for basic blocks and 2048 * width for bottlenecks. Paddings are explicit and symmetric,
    so shapes and values are those of torchvision's ResNets at equal parameters.

    Its layers are 'stem', before the max-pool, and the stages 'block1', 'block2' and so on. In version 1 all end in a
    ReLU; in version 2 they are sums before any activation, but for the last, which is the feature map.

    Args:
      stage_sizes: blocks in each of the stages; each stage after the first halves the image and doubles
        the channels.
      bottleneck: bottleneck blocks (ResNet-50 and deeper) or basic ones.
      version: of the blocks: 1 is conv-BN-ReLU, 2 is BN-ReLU-conv.
      width: multiplies the channels (1.0 is 64 in the first stage).
      stem: 'imagenet' is 7x7 stride 2 and a 3x3 max-pool of stride 2; 'cifar' is 3x3 stride 1.
      zero_init_residual: each block starts as its shortcut, see `Block`.
      norm: 'batch' or 'layer': see `layers.BatchNorm` and `layers.LayerNorm`.
      batch_norm_groups: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      remat: recompute each block in the backward pass, for memory.
      conv: implementation of the convolutions: 'auto', 'im2col' or 'xla'.
      dtype: of the convolutions; parameters, statistics and features are float32.

    References:
      He et al., Deep Residual Learning, 2015. https://arxiv.org/abs/1512.03385
      He et al., Identity Mappings in Deep Residual Networks, 2016. https://arxiv.org/abs/1603.05027
    """

    stage_sizes: tuple[int, ...]
    bottleneck: bool
    version: int = settings.choice(1, (1, 2))
    width: float = settings.within(1.0, 1e-3, 1e3)
    stem: str = settings.choice("imagenet", ("imagenet", "cifar"))
    zero_init_residual: bool = False
    norm: str = settings.choice("batch", NORMS)
    batch_norm_groups: int = settings.size(1)
    bn_momentum: float = settings.fraction(0.9)
    remat: bool = False
    conv: Implementation = settings.choice("auto", get_args(Implementation))
    dtype: Dtype = jnp.float32

    @nn.compact
    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer before pooling, float32 [B, h, w, D]."""
        conv = functools.partial(Conv, implementation=self.conv, dtype=self.dtype)
        norm = normalization(self.norm, self.batch_norm_groups, self.bn_momentum, self.dtype)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        base = max(1, round(64 * self.width))

        imagenet = self.stem == "imagenet"
        x = conv(base, 7 if imagenet else 3, 2 if imagenet else 1, name="stem")(x)
        if self.version == 1:
            x = nn.relu(norm(name="stem_bn")(x, train))
        record(self, "stem", x)
        if imagenet:
            x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, size in enumerate(self.stage_sizes):
            for i in range(size):
                x = block(
                    features=base * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=self.bottleneck,
                    version=self.version,
                    zero_init_residual=self.zero_init_residual,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{i}",
                )(x, train)
            record(self, f"block{stage + 1}", x)
        if self.version == 2:
            x = nn.relu(norm(name="final_bn")(x, train))
            record(self, f"block{len(self.stage_sizes)}", x)
        return x.astype(jnp.float32)

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.mean(self.feature_map(x, train), axis=(1, 2))
