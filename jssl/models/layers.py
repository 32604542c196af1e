"""Layers that the networks share: normalisation and drop-path."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jssl.errors import UserError
from jssl.models.network import DROP_PATH, STATS
from jssl.types import Array


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; statistics are float32 whatever the dtype.

    Under `jax.jit` with a sharded batch the statistics are those of the global batch. With `groups` > 1
    each contiguous run of B / groups samples is normalised on its own, which is what a batch looks like
    to networks without synchronised statistics: MoCo needs that so that keys do not leak.

    The running variance is the biased one, as is the one that normalises.

    Args:
      groups: runs of samples with statistics of their own; running ones are the mean over the groups.
      momentum: share of the old running statistics that one update keeps.
      epsilon: added to the variance.
      use_scale: learn a factor for each channel.
      use_bias: learn an offset for each channel.
      scale_init: initialiser of the factor; zeros silence a residual branch.
      dtype: of the output.

    Raises:
      ValueError: in training, if the batch does not divide by groups.

    References:
      Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1. https://arxiv.org/abs/1502.03167
      He et al., Momentum Contrast, 2020, section 3.3. https://arxiv.org/abs/1911.05722
    """

    groups: int = 1
    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        shape = x.shape
        channels = shape[-1:]
        running_mean = self.variable(STATS, "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable(STATS, "var", jnp.ones, channels, jnp.float32)
        x = x.astype(jnp.float32)
        if train:
            if shape[0] % self.groups:
                raise UserError(
                    f"a batch of {shape[0]} does not divide by {self.groups} groups: "
                    "change the batch size or batch_norm_groups"
                )
            if self.groups > 1:
                x = x.reshape(self.groups, shape[0] // self.groups, *shape[1:])
            axes = tuple(range(1 if self.groups > 1 else 0, x.ndim - 1))
            mean, var = _moments(x, axes, running_mean.value, in_one_pass=len(shape) > 2)
            if not self.is_initializing():
                for running, value in ((running_mean, mean), (running_var, var)):
                    value = value.reshape(-1, *channels).mean(0)
                    running.value = self.momentum * running.value + (1 - self.momentum) * value
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", self.scale_init, channels, jnp.float32)
        y = (x - mean) * factor
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        return y.reshape(shape).astype(self.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation: every sample by itself, over all axes but the first; it takes the place of `BatchNorm`.

    Args:
      epsilon: added to the variance.
      scale_init: initialiser of the factor of each channel; zeros silence a residual branch.
      dtype: of the output.

    References:
      Ba et al., Layer Normalization, 2016. https://arxiv.org/abs/1607.06450
    """

    epsilon: float = 1e-5
    scale_init: jax.nn.initializers.Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        del train
        x = x.astype(jnp.float32)
        axes = tuple(range(1, x.ndim))
        centred = x - jnp.mean(x, axes, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axes, keepdims=True)
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        return (centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias).astype(self.dtype)


Norm = functools.partial[BatchNorm] | functools.partial[LayerNorm]
NORMS = ("batch", "layer")


def normalization(name: str, groups: int, momentum: float, dtype: Dtype) -> Norm:
    """The class of normalisation by its name, with its options filled in; `groups` and `momentum` are `BatchNorm`'s."""
    if name == "layer":
        return functools.partial(LayerNorm, dtype=dtype)
    return functools.partial(BatchNorm, groups=groups, momentum=momentum, dtype=dtype)


def _moments(x: Array, axes: tuple[int, ...], shift: Array, in_one_pass: bool) -> tuple[Array, Array]:
    """Mean and variance over some axes.

    In one pass the two come out of one exchange between devices, of which a ResNet-50 has a hundred a step. E[x^2] -
    E[x]^2 loses all digits where |mean| >> deviation, so they are taken about a shift that is near the mean. Heads
    have few layers, and inputs that hardly differ between images at first: they take two passes.
    """
    if not in_one_pass:
        mean = jnp.mean(x, axes, keepdims=True)
        return mean, jnp.mean(jnp.square(x - mean), axes, keepdims=True)
    first = jnp.mean(x - shift, axes, keepdims=True)
    second = jnp.mean(jnp.square(x - shift), axes, keepdims=True)
    return shift + first, jnp.maximum(second - jnp.square(first), 0.0)


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for some samples and scales it up for the others.

    Args:
      rate: probability to drop, in [0, 1).

    Raises:
      ValueError: in training with a positive rate, if `Network.apply` was given no key.

    References:
      Huang et al., Deep Networks with Stochastic Depth, 2016. https://arxiv.org/abs/1603.09382
    """

    rate: float | Array

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Returns x [B, ...] with the samples that are dropped set to zero; x itself if not train."""
        if not train or (isinstance(self.rate, float) and self.rate == 0.0):
            return x
        if not self.has_rng(DROP_PATH):
            raise ValueError("drop-path needs a random key in training: pass key= to Network.apply")
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        keep = jax.random.bernoulli(self.make_rng(DROP_PATH), 1 - self.rate, shape)
        return jnp.where(keep, (x / (1 - self.rate)).astype(x.dtype), jnp.zeros((), x.dtype))
