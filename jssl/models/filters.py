"""What an encoder sees instead of colours."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

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
