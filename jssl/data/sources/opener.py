"""`load(name, split)` opens a source by its name.

  digits               scikit-learn's 1,797 handwritten digits, 8x8 grey, embedded: no download
  colored_digits       the same, coloured by a rule, for methods that learn from colours
  digit_pairs          two of them side by side with captions, some pairs of which only the test set has
  digit_tones          digits, each with the tone of its key on a telephone
  scattered_digits     one to four digits on an image, with their boxes
  tones                the tones of a telephone's keys, sounds alone
  bouncing_digits      clips of 16 frames (channels) in which a digit bounces and clicks, with their sound
  moving_digits        clips of 8 frames (channels) in which one of them moves; moving_digits/2 for two
  a folder of videos   the same of .mp4, .webm, .avi and the like: clips whose channels are frames, see clips.py
  a folder             images in it, or one sub-folder a class, or train/ and test/ sub-folders of either kind
  tar shards           of WebDataset: a folder of .tar files, one of them, or a pattern, shards/{000..009}.tar
  an .npz file         arrays `images` [N, H, W, C], uint8, uint16 or floats, and, optionally, `labels` int[N]
  an .npy file         such images alone; it is mapped into memory, and only the rows asked for are read
  anything else        a TensorFlow Datasets name, read as array_record without TensorFlow

Where sounds take the place of images, folders are looked through for sound files, TFDS sets for a feature of sound.

Folders and arrays may lie in an object store: gs://bucket/folder.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping

import numpy as np
from absl import logging

from jssl import storage
from jssl.data.sources import arrays, folders, shards, video
from jssl.data.sources.base import Source
from jssl.data.sources.bouncing_digits import bouncing_digits
from jssl.data.sources.clips import DEFAULT, ClipSpec
from jssl.data.sources.digits import colored_digits, digits
from jssl.data.sources.images import Path
from jssl.data.sources.moving_digits import NAME as MOVING_DIGITS
from jssl.data.sources.moving_digits import moving_digits
from jssl.data.sources.paired import captioned_folder
from jssl.data.sources.paired_digits import digit_pairs, digit_tones
from jssl.data.sources.scattered_digits import scattered_digits
from jssl.data.sources.sounds import SoundFolder, SoundFormat, tones
from jssl.errors import UserError, unknown

TONES = "tones"
EMBEDDED: dict[str, Callable[[], dict[str, Source]]] = {
    "digits": digits,
    "colored_digits": colored_digits,
    "digit_pairs": digit_pairs,
    "digit_tones": digit_tones,
    "bouncing_digits": bouncing_digits,
    "scattered_digits": scattered_digits,
}

TESTS = ("test", "validation", "val")


def load(
    name: str,
    split: str,
    data_dir: str | None = None,
    captions: bool = True,
    sound: SoundFormat | None = None,
    clips: ClipSpec = DEFAULT,
    sound_rate: int = 0,
) -> Source:
    """Opens a split, with TFDS slicing: `train`, `test[:50%]`, `train[100:200]`.

    Args:
      name: see above.
      split: its name, or a slice.
      data_dir: of TFDS.
      captions: whether a folder's or a TFDS set's are looked for; images without one are left out then.
      sound: of the sounds that there shall be in the place of images; None for images.
      clips: what is taken of videos.
      sound_rate: samples a second of their sound; 0 where it is not heard.

    Raises:
      UserError: if there is no such data set or split, or it is neither prepared nor downloadable.
    """
    if not name:
        raise UserError("data.name is empty: give a folder, an .npz file, a TFDS name or 'digits'")
    path = located(name)
    if name == TONES and sound is not None:
        return sliced(tones(sound), split)
    if name == TONES or (sound is not None and name in EMBEDDED):
        which = (
            "sounds: set data.audio.as_images=True" if sound is None else "images and no sounds, as tones are"
        )
        raise UserError(f"{name} are {which}")
    if name in EMBEDDED:
        return sliced(EMBEDDED[name](), split)
    if re.fullmatch(MOVING_DIGITS, name):
        return sliced(moving_digits(name), split)
    if path.suffix.lower() in arrays.SUFFIXES:
        return sliced(arrays.arrays(path), split)
    if shards.is_shards(name):
        if sound is not None:
            raise UserError(f"{name}: of tar shards images are read, not sounds: give a folder of files")
        return _sliced_at_random(shards.open_shards(name, split.partition("[")[0], captions), split)
    if path.is_dir():
        _warn_of_tfds_name(name)
        return sliced_folder(path, split, captions, sound, clips, sound_rate)
    if path.is_file():
        raise UserError(f"{path} is one file: give its folder, an .npz or an .npy")
    if path.is_absolute() or name.startswith((".", "~")):
        raise UserError(f"there is no folder {path}")
    from jssl.data.sources.tfds import open_tfds

    return open_tfds(
        *(name, split, data_dir or os.environ.get("TFDS_DATA_DIR"), captions),
        sound=sound,
        clips=clips,
        rate=sound_rate,
    )


def located(name: str) -> Path:
    """The path that a name of the user's means; raises UserError for kinds of addresses that are not read."""
    scheme = name.partition("://")[0]
    if "://" in name and scheme not in storage.SCHEMES:
        raise UserError(
            f"{name}: addresses of {scheme}:// are not read; give a local folder, or one in {'://, '.join(storage.SCHEMES)}://"
        )
    return storage.located(name)


@functools.cache
def _warn_of_tfds_name(name: str) -> None:
    """Says once that a folder is read where a TFDS set has the same name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return
    import tensorflow_datasets as tfds

    if name in tfds.list_builders(with_community_datasets=False):
        logging.warning(
            "data.name=%s: the folder ./%s is read, not the TFDS set of that name; write ./%s if that is meant",
            *(name, name, name),
        )


def has_split(name: str, split: str, sound: SoundFormat | None = None) -> bool:
    """Whether folders and arrays have the split; digits and TFDS sets are taken at their word."""
    path = located(name)
    if split and shards.is_shards(name):
        return split.partition("[")[0] in shards.splits(name)
    if not split or (path.suffix.lower() not in arrays.SUFFIXES and not path.is_dir()):
        return bool(split)
    known = (
        arrays.arrays(path).keys()
        if path.suffix.lower() in arrays.SUFFIXES
        else folder_splits(path, sound).keys()
    )
    return split.partition("[")[0] in known


def split_for_tests(name: str, data_dir: str | None = None, sound: SoundFormat | None = None) -> str:
    """The split that is there to be tested on: 'test', 'validation' or 'val', the first of them; '' if none is.

    Raises:
      UserError: for a TFDS set that is not there.
    """
    path = located(name)
    if name in EMBEDDED or re.fullmatch(MOVING_DIGITS, name):
        return TESTS[0]
    if path.suffix.lower() in arrays.SUFFIXES or path.is_dir() or shards.is_shards(name):
        return next((split for split in TESTS if has_split(name, split, sound)), "")
    from jssl.data.sources.tfds import prepared_builder

    known = prepared_builder(name, data_dir or os.environ.get("TFDS_DATA_DIR")).info.splits
    return next((split for split in TESTS if split in known), "")


def folder_splits(
    path: Path, sound: SoundFormat | None = None, clips: ClipSpec = DEFAULT, sound_rate: int = 0
) -> Mapping[str, Callable[[], Source]]:
    """What opens each split of a folder of images, of sounds or of videos, see `folders.splits`."""
    if sound is not None:
        return folders.splits(path, functools.partial(SoundFolder, sound=sound), SoundFolder.kind)
    if video.is_video_folder(path):
        opened = functools.partial(video.VideoFolder, clips=clips, rate=sound_rate)
        return folders.splits(path, opened, video.VideoFolder.kind)
    return folders.splits(path)


def sliced_folder(
    path: Path,
    spec: str,
    captions: bool = True,
    sound: SoundFormat | None = None,
    clips: ClipSpec = DEFAULT,
    sound_rate: int = 0,
) -> Source:
    """A split of a folder, or a slice of it: in a seeded order, since by name a slice would be of few classes."""
    known, base = folder_splits(path, sound, clips, sound_rate), spec.partition("[")[0]
    if base not in known:
        raise unknown("split", base, known)
    source = captioned_folder(known[base](), path) if captions and sound is None else known[base]()
    return _sliced_at_random(source, spec)


def _sliced_at_random(source: Source, spec: str) -> Source:
    """A source, or a slice of it in a seeded order, since in its own one a slice would be of few classes."""
    base = spec.partition("[")[0]
    if base != spec:
        source = source.take(np.random.default_rng(0).permutation(len(source)))
    return sliced({base: source}, spec)


def sliced(splits: Mapping[str, Source], spec: str) -> Source:
    """Applies a TFDS slicing string to named splits."""
    base = spec.partition("[")[0]
    if base not in splits:
        raise unknown("split", base, splits)
    source = splits[base]
    if base == spec:
        return source
    import tensorflow_datasets as tfds

    try:
        instruction = tfds.core.ReadInstruction.from_spec(spec)
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"cannot read the split {spec!r}: write it as {base}[:10%] or {base}[5:20]"
        ) from error
    info = tfds.core.SplitInfo(name=base, shard_lengths=[len(source)], num_bytes=0)
    try:
        parts = instruction.to_absolute({base: info})
    except (ValueError, AssertionError) as error:
        raise UserError(f"the split {spec!r}: {base} has only {len(source):,} images") from error
    if len(parts) != 1:
        raise UserError(f"the split {spec!r}: of folders and arrays one slice is read, without +")
    (part,) = parts
    return source.take(np.arange(part.from_ or 0, len(source) if part.to is None else part.to))
