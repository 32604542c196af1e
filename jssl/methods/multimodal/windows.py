"""Windows of clips and of their sound on one time grid, and pairs of windows that are apart in time."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jssl.errors import UserError
from jssl.types import Array

MOST = 9  # places at which a clip is evaluated
ROUNDING = 1e-6  # of seconds that are whole frames


@dataclasses.dataclass(frozen=True)
class Clip:
    """An image as a clip, whose channels are frames, and the picture of its sound.

    Attributes:
      frames: channels of the image.
      seconds: length of the sound; 0 where it is not heard.
      columns: of its picture, one every `hop` seconds.
      hop: see `columns`.
    """

    frames: int = 0
    seconds: float = 0.0
    columns: int = 0
    hop: float = 0.0


STILL = Clip()  # of images without sound


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of clips [B, H, W, frames] and of pictures of their sound [B, bands, columns, 1].

    A window begins with a frame, in sound too, so that how it begins does not tell what it is.

    Attributes:
      clip: of which they are windows.
      window: frames of one.
      min_shift: seconds between the begins of two windows that are out of step, at least.

    Example:
      >>> from jssl.methods.multimodal.windows import Clip, Windows
      >>> windows = Windows(Clip(frames=16, seconds=1.6, columns=160, hop=0.01), window=8, min_shift=0.2)
      >>> windows.apart, windows.width, windows.places.tolist()
      (2, 80, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    """

    clip: Clip
    window: int
    min_shift: float

    def check(self) -> None:
        """Raises UserError for what is no clip, if there are no two windows so far apart, or one has no sound."""
        frames, window = self.clip.frames, self.window
        if frames < 2:
            raise UserError(
                "method.negative_sounds='shifted' takes clips, images whose channels are frames: these have "
                f"{frames} channel"
            )
        if not 0 < window < frames:
            raise UserError(
                f"method.negative_sounds='shifted' shows some of the {frames} frames of a clip at a time: set "
                f"encoder.window from 1 to {frames - 1}, not {window}"
            )
        if self.apart > self.last:
            raise UserError(
                f"method.min_shift={self.min_shift:g}: windows of {window} of {frames} frames are at most "
                f"{self.last * self.clip.seconds / frames:.3g} seconds apart; set it or encoder.window lower"
            )
        if self.width < 1:
            raise UserError(f"data.audio.hop: the sound of {window} frames has no column; set it lower")

    @property
    def apart(self) -> int:
        """`min_shift` in frames."""
        return max(1, math.ceil(self.min_shift * self.clip.frames / self.clip.seconds - ROUNDING))

    @property
    def last(self) -> int:
        """The last frame that a window begins with."""
        return self.clip.frames - self.window

    @property
    def width(self) -> int:
        """Columns of the sound of a window."""
        whole = round(self.window * self._columns_a_frame)
        return min(whole, self.clip.columns - round(self.last * self._columns_a_frame))

    @property
    def _columns_a_frame(self) -> float:
        return self.clip.seconds / self.clip.frames / self.clip.hop

    @functools.cached_property
    def pairs(self) -> np.ndarray:
        """All begins of two windows that are out of step, in both orders, int[P, 2]."""
        return pairs_apart(np.arange(self.last + 1), self.apart)

    @functools.cached_property
    def places(self) -> np.ndarray:
        """Begins of the windows by which clips are evaluated, spread over the clip."""
        return np.unique(np.linspace(0, self.last, min(self.last + 1, MOST)).round().astype(int))

    def draw(self, keys: Array) -> Array:
        """Begins of a window and of one out of step, int32[B, 2], for random keys [B].

        Either is as likely as the other, so that neither frames nor sound alone tell which of both they are of.
        """
        chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(self.pairs)))(keys)
        return jnp.asarray(self.pairs, jnp.int32)[chosen]

    def seen(self, clips: Array, begins: Array) -> Array:
        """Windows of clips, [B, H, W, window], from begins int[B]."""
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=self.window, axis=-1)
        return jax.vmap(cut)(clips, begins)

    def heard(self, pictures: Array, begins: Array) -> Array:
        """Windows of pictures of sound, [B, bands, width, 1], from begins int[B]."""
        columns = jnp.round(begins * self._columns_a_frame).astype(jnp.int32)
        cut = functools.partial(jax.lax.dynamic_slice_in_dim, slice_size=self.width, axis=1)
        return jax.vmap(cut)(pictures, columns)

    def middle_of(self, pictures: Array) -> Array:
        """The sound of the frames that evaluators see, those in the middle."""
        return self.heard(pictures, jnp.full(len(pictures), self.last // 2))


def pairs_apart(begins: np.ndarray, apart: int) -> np.ndarray:
    """Positions of two begins, int[N], that are at least so far apart, int[P, 2].

    Example:
      >>> import numpy as np
      >>> from jssl.methods.multimodal.windows import pairs_apart
      >>> pairs_apart(np.array([0, 1, 2]), 2).tolist()
      [[0, 2], [2, 0]]
    """
    return np.argwhere(np.abs(begins[:, None] - begins) >= apart)
