"""Folders of video files, read with PyAV: frames and sound of a window on one time grid."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import numpy as np
from absl import logging

from jssl import storage
from jssl.data.sources import images
from jssl.data.sources.base import BadImage, Field
from jssl.data.sources.clips import DEFAULT, EPSILON, ClipSpec, placed, to_clip
from jssl.data.sources.folders import FileKind, FolderSource, spread_evenly, suffixes
from jssl.data.sources.images import DECODER_ERRORS, Opened, Path
from jssl.errors import UserError, shown

ENDINGS = frozenset((".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"))
BEFORE = 1.0  # seconds of sound that are decoded before a clip, for codecs that must warm up
THREADS = 2


class VideoFolder(FolderSource):
    """Video files below a folder, each a clip; sub-folders are classes as in `FolderSource`.

    A file that cannot be decoded, is shorter than a clip, or has no sound where it is heard, is an unreadable image.

    Args:
      root: the folder.
      clips: what is taken of a file.
      rate: samples a second of the sound; 0 where it is not heard.

    Raises:
      UserError: if there is no video, of some files none is readable, or PyAV is not installed.
    """

    kind = FileKind("videos", lambda: ENDINGS)

    def __init__(self, root: Path, clips: ClipSpec = DEFAULT, rate: int = 0):
        if importlib.util.find_spec("av") is None:
            raise UserError(f"{shown(root)} holds videos, which need: pip install 'jssl[video]'")
        self.clips, self.rate = clips, rate
        self._sounds: np.ndarray | None = None
        self._silent: dict[int, str] = {}  # files without sound, and why
        super().__init__(root)

    def own_fields(self) -> dict[str, Field]:
        """Where of some files none is long enough, or readable, there is no need to begin."""
        reason, spread = "", spread_evenly(len(self))
        for path in (self.paths[i] for i in spread):
            try:
                with _opened(path, self.clips, "audio" if self.rate else "video"):
                    return self.clips.fields(self.rate)
            except errors() as error:
                reason = reason or f"{shown(path)}: {images.why(error)}"
        raise UserError(
            f"none of {len(spread)} videos below {shown(self.root)} that were looked at is readable: {reason}"
        )

    def open_handle(self, handle: Any, index: int) -> Opened:
        self.sounds()
        if index in self._silent:
            raise BadImage(f"{self.filename(index)}: {self._silent[index]}")
        try:
            return images.from_array(to_clip(read_frames(handle, self.clips), self.clips.size))
        except errors() as error:
            raise BadImage(f"{self.filename(index)}: {images.why(error)}") from error

    def sounds(self) -> np.ndarray | None:
        """Decoded from all files when they are first asked for; silence for those that cannot be read."""
        if self.rate and self._sounds is None:
            logging.info("reading the sound of %d videos of %s", len(self), self.name)
            with futures.ThreadPoolExecutor(THREADS) as pool:
                self._sounds = np.stack(list(pool.map(self._sound, range(len(self)))))
        return self._sounds

    def _sound(self, index: int) -> np.ndarray:
        try:
            return read_sound(self.paths[index], self.clips, self.rate)
        except errors() as error:
            self._silent[index] = images.why(error)
            return np.zeros(self.clips.samples(self.rate), np.int16)


def is_video_folder(root: Path) -> bool:
    """Whether a local folder holds videos, here or below, and no images."""
    if storage.is_remote(root):
        return False
    found = False
    for _, _, names in os.walk(root):
        endings = {os.path.splitext(name)[1].lower() for name in names if not name.startswith(".")}
        if endings & suffixes():
            return False
        found = found or bool(endings & ENDINGS)
    return found


def errors() -> tuple[type[Exception], ...]:
    """What PyAV and others raise on broken files."""
    import av

    return (*DECODER_ERRORS, av.FFmpegError)


@contextlib.contextmanager
def _opened(path: Path, clips: ClipSpec, kind: str) -> Iterator[tuple[Any, Any, float]]:
    """A file, its first stream of a kind, and the time at which the clip begins, in seconds of the container."""
    import av

    with av.open(str(path)) as file:
        stream = next((stream for stream in file.streams if stream.type == kind), None)
        if stream is None:
            raise ValueError(f"it has no {kind} track")
        if file.duration is None:
            raise ValueError("it does not say how long it is")
        start = (file.start_time or 0) / av.time_base
        yield file, stream, start + clips.begin(file.duration / av.time_base)


def _seek(file: Any, stream: Any, seconds: float) -> None:
    """To a key frame before a time of the container."""
    file.seek(max(0, int(seconds / stream.time_base)), stream=stream, backward=True)


def read_frames(path: Path, clips: ClipSpec) -> list[np.ndarray]:
    """The frames of a clip, uint8[H, W, 3] each: what is to be seen at its times.

    Raises:
      ValueError: if the video is shorter than a clip.
      Exception: whatever the decoder says of a broken file.
    """
    with _opened(path, clips, "video") as (file, stream, begin):
        stream.thread_type = "AUTO"
        _seek(file, stream, begin)
        wanted = [begin + time + EPSILON for time in clips.times.tolist()]
        found: list[np.ndarray] = []
        last = None
        for frame in file.decode(stream):
            while last is not None and len(found) < len(wanted) and frame.time > wanted[len(found)]:
                found.append(last.to_ndarray(format="rgb24"))
            if len(found) == len(wanted):
                return found
            last = frame
        if last is None:
            raise ValueError("it has no frame where the clip begins")
        return found + [last.to_ndarray(format="rgb24")] * (len(wanted) - len(found))


def read_sound(path: Path, clips: ClipSpec, rate: int) -> np.ndarray:
    """The sound of a clip, int16[samples] of one channel, silent where the track does not reach.

    A sample lies where the container says, whose tracks need not begin together.

    Raises:
      ValueError: if there is no sound, or the video is shorter than a clip.
      Exception: whatever the decoder says of a broken file.
    """
    import av

    samples = clips.samples(rate)
    with _opened(path, clips, "audio") as (file, stream, begin):
        _seek(file, stream, begin - BEFORE)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        pieces: list[np.ndarray] = []
        first = 0.0
        for frame in file.decode(stream):
            first = first if pieces else frame.time
            if frame.time > begin + clips.seconds + EPSILON:
                break
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return placed(pieces, round((first - begin) * rate), samples)
