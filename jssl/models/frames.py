"""An encoder of clips that sees one frame at a time."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from jssl.types import Array


class Frames(nn.Module):
    """An encoder of clips [B, H, W, T] whose channels are frames: the mean over frames of what `base` makes of each.

    Args:
      base: the encoder of a frame, [N, H, W, 1] to float32 [N, D].
    """

    base: nn.Module

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.mean(self.frames(x, train), axis=1)

    def frames(self, x: Array, train: bool) -> Array:
        """Features of every frame, float32 [B, T, D]."""
        found = self.base(apart(x), train)
        return found.reshape(len(x), -1, *found.shape[1:])

    def frame_maps(self, x: Array, train: bool) -> Array:
        """The last layer before pooling of every frame, float32 [B, T, h, w, D]."""
        found = self.base.feature_map(apart(x), train)
        return found.reshape(len(x), -1, *found.shape[1:])

    def feature_map(self, x: Array, train: bool) -> Array:
        """The mean over frames of the last layer before pooling, float32 [B, h, w, D]."""
        return jnp.mean(self.frame_maps(x, train), axis=1)


def apart(clips: Array) -> Array:
    """The frames of clips [B, H, W, T], those of a clip one after the other: images [B * T, H, W, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models import frames
      >>> frames.apart(jnp.arange(4.0).reshape(2, 1, 1, 2)).ravel().tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.moveaxis(clips, -1, 1).reshape(-1, *clips.shape[1:3], 1)
