"""The description of a view: a section of the config."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jssl.data.augment import image_ops
from jssl.errors import UserError, unknown

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class ViewSpec:
    """How one view of an image is made. Flat, so that every field is a key of the config.

    The defaults only resize. An operator is off while its probability or its strength is 0; the
    probabilities of those that have a strength are set already.

    Attributes:
      size: side of the view in pixels.
      copies: how many independent views are drawn so (multi-crop).
      crop_area_min, crop_area_max: see random_resized_crop; both 1 means no crop, only a resize.
      crop_ratio_min, crop_ratio_max: range of width / height of the crop.
      interpolation: 'bicubic' or 'bilinear', for the resize.
      pad: pixels by which a window moves at most over the mirrored image; see random_window.
      flip_prob: see horizontal_flip.
      randaug_num_ops, randaug_magnitude: operators of RandAugment, 0 is off; see randaugment.
      hsv_prob, hsv_hue, hsv_power, hsv_gain, hsv_shift: see hsv_jitter.
      jitter_prob, brightness, contrast, saturation, hue: see color_jitter.
      gray_prob: see grayscale.
      blur_prob, blur_sigma_min, blur_sigma_max: see gaussian_blur; sigma is in pixels of the view.
      solarize_prob, solarize_threshold: see solarize.
      degrees, translate, scale_min, scale_max, shear, affine_prob: see affine.
      noise_std, noise_prob: see gaussian_noise.
      cutout_size, cutout_prob: see cutout.

    Raises:
      UserError: if a field is out of its range.

    Example:
      >>> from jssl.data import augment
      >>> spec = augment.ViewSpec(size=32, copies=2, crop_area_min=0.2, flip_prob=0.5)
      >>> spec.size, spec.blur_prob  # what is not set is off
      (32, 0.0)
    """

    size: int
    copies: int = 1
    crop_area_min: float = 1.0
    crop_area_max: float = 1.0
    crop_ratio_min: float = 3 / 4
    crop_ratio_max: float = 4 / 3
    interpolation: str = "bicubic"
    pad: int = 0
    flip_prob: float = 0.0
    randaug_num_ops: int = 0
    randaug_magnitude: float = 1.0
    hsv_prob: float = 0.0
    hsv_hue: float = 0.1
    hsv_power: float = 2.0
    hsv_gain: float = 0.5
    hsv_shift: float = 0.1
    jitter_prob: float = 0.8
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gray_prob: float = 0.0
    blur_prob: float = 0.0
    blur_sigma_min: float = 0.1
    blur_sigma_max: float = 2.0
    solarize_prob: float = 0.0
    solarize_threshold: float = 0.5
    degrees: float = 0.0
    translate: float = 0.0
    scale_min: float = 1.0
    scale_max: float = 1.0
    shear: float = 0.0
    affine_prob: float = 1.0
    noise_std: float = 0.0
    noise_prob: float = 1.0
    cutout_size: float = 0.0
    cutout_prob: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "interpolation":
                if value not in image_ops.INTERPOLATIONS:
                    names = " or ".join(map(repr, image_ops.INTERPOLATIONS))
                    raise UserError(f"interpolation is {value!r}; set it to {names}")
                continue
            whole = name in ("size", "copies", "pad", "randaug_num_ops")
            low, high = _limits(name)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                kind = "whole number" if whole else "number"
                raise UserError(f"{name} is {value!r}; set it to a {kind}")
            if not low <= value <= high or math.isinf(value):
                raise UserError(f"{name} is {value}; set it within [{low}, {high}]")
        for pair in ("crop_area", "crop_ratio", "blur_sigma", "scale"):
            low, high = getattr(self, f"{pair}_min"), getattr(self, f"{pair}_max")
            if not 0 < low <= high:
                raise UserError(
                    f"{pair}_min is {low} and {pair}_max is {high}; set 0 < {pair}_min <= {pair}_max"
                )
        if self.pad >= self.size:
            raise UserError(f"pad is {self.pad}; set less than size, which is {self.size}")
        if self.blur_prob > 0 and self.size < 2:
            raise UserError(f"size is {self.size}; set at least 2, or blur_prob to 0")

    def skipped(self, channels: int) -> tuple[str, ...]:
        """What it asks for that images of so many channels have no use for: changes of colour."""
        if channels in (1, 3):
            return ()
        jitter, randaug = self.jitter_prob > 0, self.randaug_num_ops > 0
        asked = {
            "saturation": jitter and self.saturation > 0,
            "hue": jitter and self.hue > 0,
            "gray_prob": self.gray_prob > 0,
            "hsv_prob": self.hsv_prob > 0,
            "color of RandAugment": randaug and self.randaug_magnitude > 0,
        }
        return tuple(name for name, found in asked.items() if found)

    @classmethod
    def from_mapping(cls, name: str, mapping: Mapping[str, Any]) -> ViewSpec:
        """Builds the spec of the view `name` from its config section.

        Raises:
          UserError: on a key that is no field (the nearest one is named), on a missing size, and
            on a value out of range; the message names the view.
        """
        valid = [field.name for field in dataclasses.fields(cls)]
        for key in mapping:
            if key not in valid:
                raise unknown(f"key of view {name!r}", str(key), valid)
        if "size" not in mapping:
            raise UserError(f"view {name!r}: size is missing; set it to the side in pixels")
        try:
            return cls(**mapping)
        except UserError as error:
            raise UserError(f"view {name!r}: {error}") from None


def _limits(name: str) -> Range:
    """Closed range of a number in a ViewSpec."""
    if name in ("size", "copies"):
        return 1, math.inf
    if name.endswith("_prob") or name.startswith("crop_area"):
        return 0, 1
    limits: dict[str, Range] = {
        "randaug_magnitude": (0, 1),
        "hsv_hue": (0, 0.5),
        "hsv_power": (0, 10),
        "hsv_gain": (0, 10),
        "hsv_shift": (0, 1),
        "hue": (0, 0.5),
        "solarize_threshold": (0, 1),
        "degrees": (0, 180),
        "translate": (0, 1),
        "shear": (0, 89),
        "cutout_size": (0, 1),
    }
    return limits.get(name, (0, math.inf))
