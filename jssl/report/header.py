"""What a run is going to do, in a few lines before it begins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import jax
import numpy as np

from jssl.data.sources import BadImage, Source
from jssl.data.sources.images import size_of
from jssl.train.program import compute_dtype

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.program import Program

LOOKED_AT = 16  # images whose size tells that of all
SHRUNK = 4.0  # times; more is worth a warning


def header(program: Program, data: Data, workdir: str | os.PathLike[str]) -> str:
    """The data as they were understood, the devices, the networks, the length, the folder."""
    config, clock, info = program.config, program.clock, program.info
    side = shorter_side(data.train)
    counts = [f"{len(data.train):,} to train"]
    counts += [f"{len(data.val):,} held out"] if data.val is not None else []
    counts += [f"{len(data.test):,} to test"] if data.test is not None else []
    labels = "unlabelled" if not info.num_classes else f"{info.num_classes} classes"
    if data.labeled_indices is not None and len(data.labeled_indices) < len(data.train):
        labels += f", {len(data.labeled_indices):,} labels to learn from"
    views = ", ".join(
        f"{spec.copies} x {spec.size}" if spec.copies > 1 else str(spec.size)
        for stream in program.streams.values()
        for spec in stream.views.values()
    )
    networks = {name: jax.tree.leaves(part) for name, part in program.abstract_state().params.items()}
    encoder = sum(x.size for x in networks.pop("encoder", []))
    rest = sum(x.size for leaves in networks.values() for x in leaves)
    devices = program.mesh.devices.ravel()
    lines = [
        ("run", f"{config.name}, in {workdir}"),
        ("data", f"{data.train.name}: {', '.join(counts)}; {examples(program, side)}, {labels}"),
        ("method", f"{config.method.name}, views of {views} pixels, batch {clock.batch_size:,}"),
        ("encoder", f"{config.encoder.name}, {encoder:,} parameters; {rest:,} in what is on it"),
        ("device", f"{len(devices)} x {devices[0].device_kind}, {compute_dtype(config, program.mesh)}"),
        ("length", f"{clock.total_steps:,} steps, {clock.total_steps / clock.steps_per_epoch:,.1f} epochs"),
    ]
    text = "\n".join(f"{name:<9}{words}" for name, words in lines)
    if side > SHRUNK * program.size and not program.main.as_images:
        text += (
            f"\nwarning: images of {side} pixels are seen at {program.size}: set data.unlabeled.views.*.size, or take "
            "a preset for photographs, such as simclr:folder"
        )
    return text


def examples(program: Program, side: int) -> str:
    """What every example is, in words: an image, or a sound."""
    info, sound = program.info, program.main.sound
    if program.main.as_images:
        assert info.image_shape is not None
        samples = info.image_shape[1]
        return f"sounds of {samples / sound.rate:.3g} s at {sound.rate} Hz, seen as {sound.side}x{sound.side}"
    kind = {1: "grey", 3: "colour"}.get(info.channels, f"{info.channels} channels")
    pixels = (
        f"{side} pixels and more" if info.image_shape is None else "x".join(map(str, info.image_shape[:2]))
    )
    return f"{kind}, {pixels} ({info.dtype})"


def shorter_side(source: Source) -> int:
    """The median shorter side of some images, from their headers; 0 if none can be read."""
    if source.image_shape is not None:
        return min(source.image_shape[:2])
    found = []
    for index in np.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).astype(int).tolist():
        try:
            found.append(min(size_of(source.open(index))))
        except BadImage:
            continue
    return int(np.median(found)) if found else 0
