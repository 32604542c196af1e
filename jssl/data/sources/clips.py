"""Videos as clips: images whose channels are grey frames, evenly spaced in a window, and the sound of that window."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jssl import settings
from jssl.data.sources.base import Field

EPSILON = 1e-3  # seconds by which times in files are rounded


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """What is taken of a video: some seconds from its middle, in frames and as much sound.

    Frame i of `frames` is what is to be seen at i / frames of the window, so that it stands at the begin of its part
    of the sound.

    Attributes:
      frames: of a clip, evenly spaced; they are made grey and become channels.
      size: side of the frames in pixels, the central square of the video.
      seconds: length of a clip, from the middle of the video.
    """

    frames: int = settings.size(16)
    size: int = settings.size(64, at_most=1024)
    seconds: float = settings.positive(2.0)

    @property
    def times(self) -> np.ndarray:
        """When the frames are seen, in seconds from the begin of a clip, float64[frames]."""
        return np.arange(self.frames) * (self.seconds / self.frames)

    def samples(self, rate: int) -> int:
        """Of its sound."""
        return round(self.seconds * rate)

    def begin(self, length: float) -> float:
        """Where a clip begins in a video of so many seconds.

        Raises:
          ValueError: if the video is shorter.
        """
        if length < self.seconds - EPSILON:
            raise ValueError(f"it lasts {length:.3g} s, less than data.video.seconds={self.seconds:g}")
        return max(0.0, (length - self.seconds) / 2)

    def fields(self, rate: int) -> dict[str, Field]:
        """`image`, and `audio` where sound is heard at a rate that is not 0."""
        found = {"image": Field("image", (self.size, self.size, self.frames), "uint8")}
        if rate:
            found["audio"] = Field("audio", (self.samples(rate),), "int16", rate=rate)
        return found


DEFAULT = ClipSpec()


def to_clip(frames: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Frames uint8[H, W, 3] or [H, W, 1] as a clip uint8[size, size, T]: central squares, resized and grey.

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources.clips import to_clip
      >>> to_clip([np.full((6, 8, 3), grey, np.uint8) for grey in (10, 20)], 2)[0, 0].tolist()
      [10, 20]
    """
    return np.stack([_grey_square(frame, size) for frame in frames], axis=-1)


def placed(pieces: Sequence[np.ndarray], first: int, samples: int) -> np.ndarray:
    """Pieces of sound in a row, the first of which begins at a sample, which may be negative: int16[samples].

    Example:
      >>> import numpy as np
      >>> from jssl.data.sources.clips import placed
      >>> placed([np.array([1, 2], np.int16), np.array([3], np.int16)], first=-1, samples=4).tolist()
      [2, 3, 0, 0]
    """
    track = np.concatenate([np.zeros(max(0, first), np.int16), *pieces])[max(0, -first) :][:samples]
    return np.pad(track, (0, samples - len(track)))


def _grey_square(frame: np.ndarray, size: int) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    image = Image.fromarray(frame if frame.shape[-1] == 3 else frame[..., 0]).convert("L")
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
