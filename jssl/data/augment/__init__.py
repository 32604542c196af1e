"""Random views of images in JAX, all under jit: `ViewSpec` describes a view, `views` makes those of a batch.

operators and randaugment are random, image_ops deterministic; all take one image. color_space makes Lab.
Imports parallel, rng and errors.
"""

from jssl.data.augment.mixing import mix, mixing_weights
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.augment.views import augment, center_resize, five_crops, to_float, to_pixels, views

__all__ = [
    "ViewSpec",
    "augment",
    "center_resize",
    "five_crops",
    "mix",
    "mixing_weights",
    "to_float",
    "to_pixels",
    "views",
]
