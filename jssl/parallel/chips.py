"""What accelerators can do, from their vendors' data sheets; what the planner and the utilisation are measured by."""

from __future__ import annotations

import dataclasses

GB = 1e9
GIB = 2.0**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device as JAX sees it (of a TPU v3 that is one core of two).

    Attributes:
      peak: dense bfloat16, FLOP/s.
      hbm: memory, bytes.
      hbm_bandwidth: bytes/s.
      network: what it can send to its neighbours over all links together, bytes/s.
      source: where the figures stand.
    """

    peak: float
    hbm: float
    hbm_bandwidth: float
    network: float
    source: str


TPU_DOCS = "https://cloud.google.com/tpu/docs/"
NVIDIA = "https://www.nvidia.com/en-us/data-center/"

# Names begin JAX's device_kind. TPU interconnect: Gbit/s of the documentation over 8.
CHIPS = {
    "TPU v3": Chip(61.5e12, 16 * GIB, 450 * GB, 164 * GB, "https://doi.org/10.1145/3360307"),
    "TPU v4": Chip(275e12, 32 * GIB, 1200 * GB, 300 * GB, TPU_DOCS + "v4"),
    "TPU v5 lite": Chip(197e12, 16 * GIB, 819 * GB, 200 * GB, TPU_DOCS + "v5e"),
    "TPU v5e": Chip(197e12, 16 * GIB, 819 * GB, 200 * GB, TPU_DOCS + "v5e"),
    "TPU v5": Chip(459e12, 95 * GB, 2765 * GB, 600 * GB, TPU_DOCS + "v5p"),
    "TPU v6 lite": Chip(918e12, 32 * GIB, 1640 * GB, 448 * GB, TPU_DOCS + "v6e"),
    "TPU v6e": Chip(918e12, 32 * GIB, 1640 * GB, 448 * GB, TPU_DOCS + "v6e"),
    "NVIDIA A100": Chip(312e12, 80 * GB, 2039 * GB, 300 * GB, NVIDIA + "a100/"),
    "NVIDIA H100": Chip(989e12, 80 * GB, 3350 * GB, 450 * GB, NVIDIA + "h100/"),
    "NVIDIA H200": Chip(989e12, 141 * GB, 4800 * GB, 450 * GB, NVIDIA + "h200/"),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """How a TPU slice is rented.

    Attributes:
      accelerator_type: its name for Google Cloud, 'v5litepod-16'.
      hosts: virtual machines, each of which reads and decodes its part of the images.
    """

    accelerator_type: str
    hosts: int


# Generation -> (prefix of the accelerator type, what it counts for every chip, chips of the largest single host).
# Slices of several hosts have four chips in each.
RENTED = {"v4": ("v4", 2, 4), "v5p": ("v5p", 2, 4), "v5e": ("v5litepod", 1, 8), "v6e": ("v6e", 1, 8)}
CHIPS_PER_HOST = 4


def tpu_slice(generation: str, chips: int) -> Slice | None:
    """The slice of so many chips of a generation, 'v5e'; None for what is not listed.

    Example:
      >>> from jssl.parallel import chips
      >>> chips.tpu_slice("v4", 16)
      Slice(accelerator_type='v4-32', hosts=4)
    """
    if generation not in RENTED:
        return None
    prefix, counted, single = RENTED[generation]
    hosts = 1 if chips <= single else -(-chips // CHIPS_PER_HOST)
    return Slice(f"{prefix}-{chips * counted}", hosts)


def chip(device_kind: str) -> Chip | None:
    """The entry whose name begins a device kind, the longest if there are several; None for what is not listed."""
    names = [name for name in CHIPS if device_kind.startswith(name)]
    return CHIPS[max(names, key=len)] if names else None
