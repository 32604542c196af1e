"""What an encoder sees of an image: gradients instead of colours, some channels, or two encoders one part each."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jssl.errors import UserError
from jssl.types import Array


class Sobel(nn.Module):
    """An encoder of image gradients: it sees the two Sobel filters of the mean over channels, and no colours.

    Args:
      base: the encoder, [B, H, W, 2] to float32 [B, D].

    References:
      Caron et al., Deep Clustering, 2018, section 4. https://arxiv.org/abs/1807.05520
    """

    base: nn.Module

    def __call__(self, x: Array, train: bool) -> Array:
        features: Array = self.base(sobel(x), train)
        return features

    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer of the encoder before pooling, float32 [B, h, w, D]."""
        found: Array = self.base.feature_map(sobel(x), train)
        return found


class Channels(nn.Module):
    """An encoder of some channels of an image: [B, H, W, C] to float32 [B, D].

    Args:
      base: the encoder, [B, H, W, len(channels)] to float32 [B, D].
      channels: which.
    """

    base: nn.Module
    channels: tuple[int, ...]

    def __call__(self, x: Array, train: bool) -> Array:
        features: Array = self.base(self.seen(x), train)
        return features

    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer of the encoder before pooling, float32 [B, h, w, D]."""
        found: Array = self.base.feature_map(self.seen(x), train)
        return found

    def seen(self, x: Array) -> Array:
        """What the encoder sees of images, [B, H, W, len(channels)]."""
        if max(self.channels) >= x.shape[-1]:
            raise UserError(
                f"encoder.channels={self.channels}: images have the channels 0 to {x.shape[-1] - 1}"
            )
        return jnp.stack([x[..., channel] for channel in self.channels], axis=-1)


class SplitBrain(nn.Module):
    """Two encoders side by side, of the first channel and of the others; their features and maps are concatenated.

    Args:
      first: the encoder of the first channel, [B, H, W, 1] to float32 [B, D].
      others: that of the others.

    References:
      Zhang et al., Split-Brain Autoencoders, 2017. https://arxiv.org/abs/1611.09842
    """

    first: nn.Module
    others: nn.Module

    def __call__(self, x: Array, train: bool) -> Array:
        first, others = parts(x)
        return jnp.concatenate([self.first(first, train), self.others(others, train)], axis=-1)

    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layers of both before pooling, float32 [B, h, w, 2 * D]: the first half is of the first channel."""
        first, others = parts(x)
        maps = [self.first.feature_map(first, train), self.others.feature_map(others, train)]
        return jnp.concatenate(maps, axis=-1)


def parts(x: Array) -> tuple[Array, Array]:
    """The first channel of images, [B, H, W, 1], and the others."""
    if x.shape[-1] < 2:
        raise UserError("encoder.split_brain takes images of two channels or more, not of 1")
    return x[..., :1], x[..., 1:]


def sobel(images: Array) -> Array:
    """Horizontal and vertical gradients of the mean over channels, float[B, H, W, C] to [B, H, W, 2].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models import filters
      >>> ramp = jnp.broadcast_to(jnp.arange(3.0), (3, 3))[None, ..., None]  # brighter to the right
      >>> filters.sobel(ramp)[0, 1, 1].tolist()
      [8.0, 0.0]
    """
    smooth, slope = jnp.array([1.0, 2.0, 1.0]), jnp.array([-1.0, 0.0, 1.0])
    kernel = jnp.stack([jnp.outer(smooth, slope), jnp.outer(slope, smooth)], axis=-1)[:, :, None]
    grey = jnp.mean(images, axis=-1, keepdims=True)
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        grey, kernel.astype(grey.dtype), (1, 1), "SAME", dimension_numbers=dimensions
    )
