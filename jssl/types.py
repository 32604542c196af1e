"""Names for the types that cross file borders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

Array: TypeAlias = jax.Array
PyTree: TypeAlias = Any
Params: TypeAlias = PyTree  # trained by gradient
State: TypeAlias = PyTree  # not trained by gradient: batch statistics, targets, queues, ...
Batch: TypeAlias = Mapping[str, Any]  # streams by name, see jssl/methods/base.py
Metrics: TypeAlias = dict[str, Array]
HostBatch: TypeAlias = dict[str, Any]  # NumPy arrays, see jssl/data/pipeline.py
NdArray: TypeAlias = np.ndarray
