"""The description of a view: a section of the config."""

from __future__ import annotations

import dataclasses

from jssl import settings
from jssl.data.augment import image_ops
from jssl.errors import UserError


@dataclasses.dataclass(frozen=True)
class ViewSpec:
    """The description of one view of an image; flat, so that every field is a key of the config.

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
      sobel_prob: see sobel.
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

    size: int = settings.size(at_most=16384)
    copies: int = settings.size(1, at_most=1024)
    crop_area_min: float = settings.part_above(1.0)
    crop_area_max: float = settings.part_above(1.0)
    crop_ratio_min: float = settings.positive(3 / 4)
    crop_ratio_max: float = settings.positive(4 / 3)
    interpolation: str = settings.choice("bicubic", image_ops.INTERPOLATIONS)
    pad: int = settings.count(0)
    flip_prob: float = settings.fraction(0.0)
    randaug_num_ops: int = settings.count(0)
    randaug_magnitude: float = settings.fraction(1.0)
    hsv_prob: float = settings.fraction(0.0)
    hsv_hue: float = settings.within(0.1, 0, 0.5)
    hsv_power: float = settings.within(2.0, 0, 10)
    hsv_gain: float = settings.within(0.5, 0, 10)
    hsv_shift: float = settings.fraction(0.1)
    jitter_prob: float = settings.fraction(0.8)
    brightness: float = settings.weight(0.0)
    contrast: float = settings.weight(0.0)
    saturation: float = settings.weight(0.0)
    hue: float = settings.within(0.0, 0, 0.5)
    gray_prob: float = settings.fraction(0.0)
    sobel_prob: float = settings.fraction(0.0)
    blur_prob: float = settings.fraction(0.0)
    blur_sigma_min: float = settings.positive(0.1)
    blur_sigma_max: float = settings.positive(2.0)
    solarize_prob: float = settings.fraction(0.0)
    solarize_threshold: float = settings.fraction(0.5)
    degrees: float = settings.within(0.0, 0, 180)
    translate: float = settings.fraction(0.0)
    scale_min: float = settings.positive(1.0)
    scale_max: float = settings.positive(1.0)
    shear: float = settings.within(0.0, 0, 89)
    affine_prob: float = settings.fraction(1.0)
    noise_std: float = settings.weight(0.0)
    noise_prob: float = settings.fraction(1.0)
    cutout_size: float = settings.fraction(0.0)
    cutout_prob: float = settings.fraction(1.0)

    def __post_init__(self) -> None:
        settings.check(self)
        for pair in ("crop_area", "crop_ratio", "blur_sigma", "scale"):
            low, high = getattr(self, f"{pair}_min"), getattr(self, f"{pair}_max")
            if low > high:
                raise UserError(f"{pair}_min={low} must be at most {pair}_max, which is {high}")
        if self.pad >= self.size:
            raise UserError(f"pad={self.pad} must be less than size, which is {self.size}")
        if self.blur_prob > 0 and self.size < 2:
            raise UserError(f"size={self.size} must be at least 2, or blur_prob 0")

    def skipped(self, channels: int) -> tuple[str, ...]:
        """The operators that images of so many channels have no use for: changes of colour."""
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
