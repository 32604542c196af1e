"""Encoders of clips that see one frame at a time, or some frames of longer clips; and features that keep time."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from jssl.errors import UserError
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
        return found.reshape(x.shape[0], -1, *found.shape[1:])

    def frame_maps(self, x: Array, train: bool) -> Array:
        """The last layer before pooling of every frame, float32 [B, T, h, w, D]."""
        found = self.base.feature_map(apart(x), train)
        return found.reshape(x.shape[0], -1, *found.shape[1:])

    def feature_map(self, x: Array, train: bool) -> Array:
        """The mean over frames of the last layer before pooling, float32 [B, h, w, D]."""
        return jnp.mean(self.frame_maps(x, train), axis=1)


class Window(nn.Module):
    """An encoder of some frames at a time: of longer clips [B, H, W, T] it sees those in the middle.

    Args:
      base: the encoder, [B, H, W, window] to float32 [B, D].
      window: how many frames it sees.
    """

    base: nn.Module
    window: int

    def __call__(self, x: Array, train: bool) -> Array:
        features: Array = self.base(middle(x, self.window), train)
        return features

    def feature_map(self, x: Array, train: bool) -> Array:
        """The last layer of the encoder before pooling, float32 [B, h, w, D]."""
        found: Array = self.base.feature_map(middle(x, self.window), train)
        return found

    def frames(self, x: Array, train: bool) -> Array:
        """Features of every frame that it sees, see `Frames`, float32 [B, window, D]."""
        found: Array = self.base.frames(middle(x, self.window), train)
        return found

    def frame_maps(self, x: Array, train: bool) -> Array:
        """The last layer before pooling of every frame that it sees, float32 [B, window, h, w, D]."""
        found: Array = self.base.frame_maps(middle(x, self.window), train)
        return found


class OverTime(nn.Module):
    """An encoder whose features keep the order of columns, the time of a picture of sound: they are not averaged.

    Args:
      base: the encoder, whose map float32 [B, h, w, D] becomes features [B, w * D].
    """

    base: nn.Module

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.mean(self.base.feature_map(x, train), axis=1).reshape(x.shape[0], -1)


def middle(clips: Array, window: int) -> Array:
    """The frames in the middle of clips [B, H, W, T], [B, H, W, window].

    Raises:
      UserError: for clips that are shorter.

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models import frames
      >>> frames.middle(jnp.arange(6.0).reshape(1, 1, 1, 6), 2).ravel().tolist()
      [2.0, 3.0]
    """
    first = (clips.shape[-1] - window) // 2
    if first < 0:
        raise UserError(f"encoder.window={window}: the clips have {clips.shape[-1]} frames")
    return clips[..., first : first + window]


def apart(clips: Array) -> Array:
    """The frames of clips [B, H, W, T], those of a clip one after the other: images [B * T, H, W, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jssl.models import frames
      >>> frames.apart(jnp.arange(4.0).reshape(2, 1, 1, 2)).ravel().tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.moveaxis(clips, -1, 1).reshape(-1, *clips.shape[1:3], 1)
