"""Random views of images in JAX: what a config says of a view, and the operators that make it, all under jit."""

from jssl.data.augment.view_spec import ViewSpec
from jssl.data.augment.views import augment, center_resize, five_crops, to_float, views

__all__ = ["ViewSpec", "augment", "center_resize", "five_crops", "to_float", "views"]
