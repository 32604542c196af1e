"""Layers on all pixels at once: the encoder of the classic autoencoders."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.models.layers import BatchNorm
from jssl.models.network import record
from jssl.types import Array


class FlatMLP(nn.Module):
    """Dense layers on the pixels of an image of one size: [B, H, W, C] to float32 [B, sizes[-1]].

    Its layers are 'block1' and so on, after their activation; its feature map is one place of all features.

    Args:
      sizes: outputs of each layer.
      batch_norm: batch norm before every activation.
      activation: 'relu', or 'none' for linear layers.
      batch_norm_groups: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      dtype: of the matmuls.
    """

    sizes: tuple[int, ...] = settings.sizes((512, 256))
    batch_norm: bool = True
    activation: str = settings.choice("relu", ("relu", "none"))
    batch_norm_groups: int = settings.size(1)
    bn_momentum: float = settings.fraction(0.9)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = x.reshape(x.shape[0], -1)
        for i, size in enumerate(self.sizes):
            x = nn.Dense(size, use_bias=not self.batch_norm, dtype=self.dtype, name=f"dense{i}")(x)
            if self.batch_norm:
                groups, momentum = self.batch_norm_groups, self.bn_momentum
                x = BatchNorm(groups=groups, momentum=momentum, dtype=self.dtype, name=f"bn{i}")(x, train)
            x = nn.relu(x) if self.activation == "relu" else x
            record(self, f"block{i + 1}", x[:, None, None])
        return x.astype(jnp.float32)

    def feature_map(self, x: Array, train: bool) -> Array:
        """The features as a map of one place, float32 [B, 1, 1, D]."""
        features: Array = self(x, train)
        return features[:, None, None]
