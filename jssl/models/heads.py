"""What sits on top of an encoder: projectors, predictors, classifiers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.losses import normalize
from jssl.models.conv import Conv
from jssl.models.layers import BatchNorm
from jssl.types import Array

INITS = ("lecun", "normal")
RARE = -2.2  # logit of a probability of .1


class MLP(nn.Module):
    """Projector or predictor: [B, D] to float32 [B, sizes[-1]].

    Every hidden layer is dense, batch norm, activation; a dense layer has no bias where batch norm follows.

    Args:
      sizes: outputs of each layer: hidden ones, then the last.
      batch_norm: batch norm in the hidden layers.
      last_batch_norm: batch norm after the last layer too.
      last_affine: that last batch norm learns a scale and an offset.
      last_bias: the last dense layer has a bias; without effect where batch norm follows.
      batch_norm_groups: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      activation: 'relu' or 'gelu'.
      weight_init: of the matrices: 'lecun' normal, or 'normal' of standard deviation 0.02.
      dtype: of the matmuls; parameters, statistics and the output are float32.
    """

    sizes: tuple[int, ...] = settings.sizes()
    batch_norm: bool = True
    last_batch_norm: bool = False
    last_affine: bool = True
    last_bias: bool = True
    batch_norm_groups: int = settings.size(1)
    bn_momentum: float = settings.fraction(0.9)
    activation: str = settings.choice("relu", ("relu", "gelu"))
    weight_init: str = settings.choice("lecun", INITS)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        last = len(self.sizes) - 1
        lecun = self.weight_init == "lecun"
        init = nn.initializers.lecun_normal() if lecun else nn.initializers.normal(0.02)
        for i, size in enumerate(self.sizes):
            norm = self.last_batch_norm if i == last else self.batch_norm
            bias = not norm and (self.last_bias or i < last)
            x = nn.Dense(size, use_bias=bias, kernel_init=init, dtype=self.dtype, name=f"dense{i}")(x)
            if norm:
                affine = self.last_affine or i < last
                x = BatchNorm(
                    groups=self.batch_norm_groups,
                    momentum=self.bn_momentum,
                    use_scale=affine,
                    use_bias=affine,
                    dtype=jnp.float32 if i == last else self.dtype,
                    name=f"bn{i}",
                )(x, train)
            if i < last:
                x = nn.relu(x) if self.activation == "relu" else nn.gelu(x, approximate=False)
        return x.astype(jnp.float32)


class Topped(nn.Module):
    """An encoder and, on top of it, layers of a head: [B, H, W, C] to float32 [B, sizes[-1]].

    Fine-tuning from a layer of SimCLR v2's head keeps those below it (Chen et al., Big Self-Supervised Models, 2020,
    section 3). https://arxiv.org/abs/2006.10029

    Args:
      base: the encoder.
      sizes: outputs of the layers, each dense, batch norm, ReLU.
      batch_norm_groups: see `BatchNorm`.
      bn_momentum: see `BatchNorm`.
      dtype: of the matmuls.
    """

    base: nn.Module
    sizes: tuple[int, ...]
    batch_norm_groups: int = settings.size(1)
    bn_momentum: float = settings.fraction(0.9)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        head = MLP(
            self.sizes,
            last_batch_norm=True,
            batch_norm_groups=self.batch_norm_groups,
            bn_momentum=self.bn_momentum,
            dtype=self.dtype,
            name="head",
        )
        return nn.relu(head(self.base(x, train), train))


class Linear(nn.Module):
    """Linear classifier: [B, D] to logits float32 [B, features].

    Args:
      features: number of classes.
      kernel_init: 'zeros', or 'normal' with standard deviation 0.01.
      bias: learn an offset, zero at first.
      dtype: of the matmul.
    """

    features: int = settings.size()
    kernel_init: str = settings.choice("zeros", ("zeros", "normal"))
    bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        zeros = self.kernel_init == "zeros"
        init = nn.initializers.zeros if zeros else nn.initializers.normal(0.01)
        dense = nn.Dense(self.features, use_bias=self.bias, kernel_init=init, dtype=self.dtype, name="dense")
        return dense(x).astype(jnp.float32)


class NormalizedLinear(nn.Module):
    """Batch norm, then a linear classifier of every place: [..., D] to logits float32 [..., features].

    Args:
      features: number of classes.

    References:
      Oquab et al., DINOv2, 2023 (its linear head for segmentation). https://arxiv.org/abs/2304.07193
    """

    features: int = settings.size()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = BatchNorm(name="norm")(x, train)
        return Linear(self.features, kernel_init="normal", name="linear")(x, train)


class CenterHead(nn.Module):
    """Centres of objects and their boxes: maps [B, h, w, D] to float32 [B, h, w, features + 4].

    Batch norm, a 3 x 3 convolution with batch norm and ReLU, and two linear maps of every place: logits of the classes
    whose objects have their centre there, each of probability .1 at first, and four numbers of the box.

    Args:
      features: number of classes.
      width: channels of the convolution.

    References:
      Zhou et al., Objects as Points, 2019. https://arxiv.org/abs/1904.07850
    """

    features: int = settings.size()
    width: int = settings.size(64)

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = BatchNorm(name="norm")(x, train)
        x = Conv(self.width, kernel_size=3, name="conv")(x)
        x = nn.relu(BatchNorm(name="conv_norm")(x, train))
        init, rare = nn.initializers.normal(0.01), nn.initializers.constant(RARE)
        logits = nn.Dense(self.features, kernel_init=init, bias_init=rare, name="centres")(x)
        return jnp.concatenate([logits, nn.Dense(4, kernel_init=init, name="boxes")(x)], axis=-1)


class Prototypes(nn.Module):
    """Cosine similarities with learned prototypes: [B, D] to float32 [B, count] in [-1, 1].

    Inputs and prototypes are l2-normalised in the forward pass: SwAV's unit prototypes, and DINO's
    weight-normalised last layer with its gain frozen at 1.

    Args:
      count: number of prototypes.
      learn_norms: multiply every similarity by a learned norm of its prototype, 1 at first.
    """

    count: int = settings.size()
    learn_norms: bool = False

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        del train
        shape = (x.shape[-1], self.count)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        kernel = kernel * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(kernel), axis=0), 1e-24))
        cosines = jnp.matmul(normalize(x), kernel, precision=jax.lax.Precision.HIGHEST)
        if not self.learn_norms:
            return cosines
        return cosines * self.param("norm", nn.initializers.ones, (self.count,), jnp.float32)
