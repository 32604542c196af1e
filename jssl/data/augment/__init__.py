"""Random views of images in JAX, all under jit: `ViewSpec` describes a view, `views` makes those of a batch.

operators and randaugment are random, image_ops deterministic; all take one image. Imports parallel, rng and errors.
"""

from jssl.data.augment.view_spec import ViewSpec
from jssl.data.augment.views import augment, center_resize, five_crops, to_float, views

__all__ = ["ViewSpec", "augment", "center_resize", "five_crops", "to_float", "views"]
