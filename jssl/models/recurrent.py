"""Networks that sum up what came before."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype

from jssl import settings
from jssl.types import Array


class ConvGRU(nn.Module):
    """A convolutional GRU: a sequence float[B, T, *places, D] to its states float32[B, T, *places, features].

    State t has seen the inputs up to t. It begins with zeros.

    Args:
      features: size of the state at each place.
      kernel: side of the convolutions over places; 1 is a GRU at each place of its own.
      dtype: of the convolutions; the state is float32.

    References:
      Ballas et al., Delving Deeper into Convolutional Networks for Learning Video Representations, 2016.
      https://arxiv.org/abs/1511.06432
    """

    features: int = settings.size(256)
    kernel: int = settings.size(1)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        del train
        cell = nn.scan(
            ConvGRUCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )(self.features, self.kernel, self.dtype, name="cell")
        state = jnp.zeros((len(x), *x.shape[2:-1], self.features), jnp.float32)
        return cell(state, x)[1]


class ConvGRUCell(nn.Module):
    """One step of `ConvGRU`: the state before and an input to the state after, twice."""

    features: int
    kernel: int
    dtype: Dtype

    @nn.compact
    def __call__(self, state: Array, x: Array) -> tuple[Array, Array]:
        size = (self.kernel,) * (x.ndim - 2)
        orthogonal = nn.initializers.orthogonal()
        inputs = nn.Conv(3 * self.features, size, dtype=self.dtype, name="input")(x)
        before = nn.Conv(3 * self.features, size, kernel_init=orthogonal, dtype=self.dtype, name="state")(
            state
        )
        (xr, xz, xn), (hr, hz, hn) = (
            jnp.split(each.astype(jnp.float32), 3, axis=-1) for each in (inputs, before)
        )
        update = nn.sigmoid(xz + hz)
        candidate = jnp.tanh(xn + nn.sigmoid(xr + hr) * hn)
        state = (1 - update) * candidate + update * state
        return state, state
