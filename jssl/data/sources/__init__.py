"""Where examples come from: sources by position, dicts of named fields, which know nothing of batches.

base says what a source is and what can be made of one; arrays, folders, sounds, shards, digits, moving_digits,
bouncing_digits, paired_digits, scattered_digits, video and tfds are kinds of it, images opens one image, clips makes
one of a video, annotations masks and boxes, coco boxes beside a folder, opener finds the kind by name. It may import
jssl.storage, jssl.errors, jssl.settings and jssl.data.splits.
"""

from jssl.data.sources.annotations import Boxes, Masks, label_sets
from jssl.data.sources.arrays import ArraySource, NpySource, in_memory
from jssl.data.sources.base import BadImage, Field, Source, Subset
from jssl.data.sources.bouncing_digits import bouncing_digits
from jssl.data.sources.clips import ClipSpec
from jssl.data.sources.digits import digits
from jssl.data.sources.folders import FolderSource
from jssl.data.sources.images import open_image, to_array, upright
from jssl.data.sources.moving_digits import moving_digits
from jssl.data.sources.opener import has_split, load, sliced, split_for_tests
from jssl.data.sources.paired import Boxed, Captioned, Masked, Sounding
from jssl.data.sources.paired_digits import digit_pairs, digit_tones
from jssl.data.sources.scattered_digits import scattered_digits
from jssl.data.sources.sounds import SoundFolder, SoundFormat, tones, waveforms

__all__ = [
    "ArraySource",
    "BadImage",
    "Boxed",
    "Boxes",
    "Captioned",
    "ClipSpec",
    "Field",
    "FolderSource",
    "Masked",
    "Masks",
    "NpySource",
    "SoundFolder",
    "SoundFormat",
    "Sounding",
    "Source",
    "Subset",
    "bouncing_digits",
    "digit_pairs",
    "digit_tones",
    "digits",
    "has_split",
    "in_memory",
    "label_sets",
    "load",
    "moving_digits",
    "open_image",
    "scattered_digits",
    "sliced",
    "split_for_tests",
    "to_array",
    "tones",
    "upright",
    "waveforms",
]
