"""Encoders of other libraries: their files, their names of tensors, and what those are here.

  tensors = weights.read("dinov2_vits14.safetensors")
  found = weights.load(tensors, encoder)            # parameters and statistics of a Network, and what was not used

files reads safetensors and .npz, torch_files official .pth files without running anything of theirs, layouts knows the
names, positions resamples a grid of positions.
"""

from jssl.models.weights.files import read, write
from jssl.models.weights.layouts import Loaded, channels_of, described, load, options, save

__all__ = ["Loaded", "channels_of", "described", "load", "options", "read", "save", "write"]
