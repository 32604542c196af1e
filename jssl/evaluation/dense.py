"""What evaluators of the places of images share: whole images as squares, and maps of an encoder's layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jssl import parallel
from jssl.data import augment, sources
from jssl.data.datasets import GIB
from jssl.data.sources import Source
from jssl.data.squares import Squared
from jssl.errors import UserError, unknown
from jssl.evaluation.base import EvalContext
from jssl.evaluation.extract import Features, extract_source, jit_pixels
from jssl.types import Array, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.train.program import Program

WHERE = {
    "mask": "masks: a folder has them in masks/ beside images/, TFDS as segmentation_mask, a source by with_masks",
    "boxes": "boxes: TFDS has them as bbox and label, a folder in annotations.json, a source by with_boxes",
}


def check_annotated(field: str, what: str, data: Data) -> None:
    """Raises UserError unless the images of train, and those that are scored, have masks or boxes.

    Args:
      field: 'mask' or 'boxes'.
      what: asks for them, in messages.
      data: of the run.
    """
    for source, split in ((data.train, "train"), (data.test or data.val, "what is scored")):
        if source is None:
            raise UserError(f"{what}: there is nothing to be scored: set data.test or data.holdout")
        if field not in source.fields:
            raise UserError(f"{what}: the images of {source.name} ({split}) have no {WHERE[field]}")


def check_same_classes(what: str, train: Source, query: Source) -> None:
    """Raises UserError unless the boxes of two sources are of the same classes."""
    names, others = (source.fields["boxes"].classes for source in (train, query))
    if names != others:
        raise UserError(f"{what}: the boxes of {train.name} and {query.name} are of different classes")


def check_maps(names: Sequence[str], size: int, what: str, program: Program) -> None:
    """Raises UserError unless the encoder has maps of some layers (none: its feature map) for images of a size."""
    for name in names:
        if name not in program.layer_names:
            raise unknown(f"layer in {what}.layers", name, program.layer_names)
    images = jax.ShapeDtypeStruct((2, size, size, program.info.channels), np.float32)
    encoder = jax.eval_shape(lambda: program.method.eval_encoder(*program.init_method()))
    try:
        jax.eval_shape(functools.partial(maps, program, names), *encoder, images)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{what}.size={size}: the encoder takes no such images ({str(error).splitlines()[0]}); set it to 0"
        ) from error


def maps(
    program: Program,
    names: Sequence[str],
    params: Params,
    stats: State,
    images: Array,
    each: Callable[[Array], Array] = lambda layer: layer,
) -> Array:
    """The maps of layers of an encoder in evaluation mode, side by side on the grid of the finest.

    Args:
      program: of the run.
      names: of the layers; () for the feature map.
      params, stats: of the encoder, see `Method.eval_encoder`.
      images: float32[B, S, S, C], as networks take them.
      each: what is done to the map of every layer before, [B, h, w, D] to the same.

    Returns:
      float32[B, h, w, D], D summed over the layers; coarser ones are interpolated.
    """
    encoder = program.method.encoder
    if not names:
        return each(encoder.feature_map(params, stats, images))
    layers = encoder.layer_maps(params, stats, images)
    height, width = (max(layers[name].shape[axis] for name in names) for axis in (1, 2))
    return jnp.concatenate([resized(each(layers[name]), height, width) for name in names], axis=-1)


def resized(x: Array, height: int, width: int) -> Array:
    """Maps [B, h, w, D] of another size, by linear interpolation."""
    return jax.image.resize(x, (x.shape[0], height, width, x.shape[-1]), "linear", antialias=False)


def squares(source: Source, size: int, ctx: EvalContext) -> Source:
    """The whole images of a source as squares, in memory where they fit; made once for a model and its baselines."""
    made: dict[tuple[int, int], tuple[Source, Source]] = ctx.cache.setdefault("dense/squares", {})
    key = id(source), size
    if key not in made:
        found: Source = Squared(source, size)
        amount = len(found) * math.prod(found.image_shape or ()) * found.dtype.itemsize
        fits = amount <= ctx.program.config.data.cache_gib * GIB
        made[key] = (source, sources.in_memory(found) if fits else found)  # with it, lest its id be another's
    return made[key][1]


def of_squares(program: Program, size: int, function: Callable[..., Array]) -> Callable[..., Array]:
    """A jitted function of the squares of `squares`, whole on every device.

    Args:
      program: of the run.
      size: of the squares that the function shall see.
      function: (arrays..., float32[B, S, S, C]) -> an array.

    Returns:
      (arrays..., integer images) -> the function's value.
    """
    stream = program.main

    def apply(*arrays_and_images: Array) -> Array:
        *arrays, images = arrays_and_images
        seen = augment.center_resize(stream.seen(images), size)  # they may have been scaled by the host
        return function(*arrays, stream.to_float(seen))

    return jax.jit(apply, out_shardings=parallel.replicated(program.mesh))


def features(source: Source, size: int, ctx: EvalContext) -> Features:
    """The features of whole images, squares of a size, under a model; of no model, their pixels."""
    program, found = ctx.program, squares(source, size, ctx)
    if ctx.state is None:
        return extract_source(program, jit_pixels(ctx.mesh, size, program.main.seen), found)
    key = f"dense/features/{size}"
    if key not in ctx.cache:

        def of_images(params: Params, state: State, images: Array) -> Array:
            return program.method.outputs(params, state, images)["features"]

        ctx.cache[key] = of_squares(program, size, of_images)
    return extract_source(
        program, functools.partial(ctx.cache[key], ctx.state.params, ctx.state.method_state), found
    )


def batches(
    program: Program, apply: Callable[[Array], Array], source: Source
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The values of a function of squares, a row each, and the images' positions, int32, batch by batch.

    Unreadable images are left out.
    """
    shape = source.image_shape
    assert shape is not None, "squares are of one size"
    assert shape[0] == shape[1], "what is not square would be cut"
    from jssl.data.pipeline import EvalBatches, read_ahead

    data, evals = program.config.data, program.config.evals
    read = EvalBatches(source, evals.batch_size)
    for host_batch in read_ahead(read, workers=data.workers, threads=data.threads):
        batch = parallel.global_batch(
            {name: host_batch[name] for name in ("image", "mask", "index")}, program.mesh
        )
        rows = parallel.whole({name: batch[name] for name in ("mask", "index")}, program.mesh)
        yield np.asarray(apply(batch["image"]))[rows["mask"]], rows["index"][rows["mask"]]
