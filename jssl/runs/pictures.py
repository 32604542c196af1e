"""The figures of a run: views, map and neighbours of the features, attention, where a sound is."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jssl import parallel
from jssl.data import augment, host
from jssl.data.pipeline import EvalBatches
from jssl.data.sources import BadImage, Source
from jssl.evaluation import suite
from jssl.evaluation.extract import extract_source, outputs_of_sounds
from jssl.train.metrics_file import METRICS_FILE, read_lines
from jssl.train.program import Program, output_shapes
from jssl.train.state import TrainState
from jssl.types import Array, Batch, Params, State

if TYPE_CHECKING:
    from jssl.evaluation.base import Drawing

PICTURED = 512  # images on the feature map
CLUSTERED = 2048  # images among which the most typical ones of a cluster are looked for
PATCHED = 128  # images among whose patches near ones are looked for
MIN_DRAWN = 3  # images that a map and neighbours make sense of
SHOWN = 8  # rows of the grids
ORIGINAL = 128  # pixels a side at which images are drawn beside their views


@contextlib.contextmanager
def drawing(name: str) -> Iterator[None]:
    """A picture that cannot be drawn, or written, is a warning: it ends no run."""
    try:
        yield
    except Exception as error:  # whatever matplotlib or the disk says
        logging.warning("%s was not drawn: %s", name, " ".join(f"{type(error).__name__}: {error}".split()))


def draw_views(prog: Program, batch: Batch, sources: Mapping[str, Source], folder: epath.Path) -> None:
    """Draws the first images of the first batch and their views: views.png, of a second stream views_labeled.png."""
    if not prog.config.log.pictures:
        return
    seen = prog.first_views(batch)
    for name, stream in prog.streams.items():
        views = parallel.whole(seen[name]["views"], prog.mesh)
        index = parallel.whole(batch[name]["index"], prog.mesh)[:SHOWN]
        if not parallel.is_main_process():
            continue
        from jssl.report import pictures

        shown = {
            f"{view} {number}" if len(copies) > 1 else view: np.asarray(stream.to_pixels(copy[:SHOWN]))
            for view, copies in views.items()
            for number, copy in enumerate(copies, 1)
        }
        file = "views.png" if stream is prog.main else f"views_{name}.png"
        with drawing(file):
            originals = (
                looked_at(prog, parallel.whole(batch[name]["image"], prog.mesh)[:SHOWN])
                if stream.as_images
                else np.stack([thumbnail(sources[name], int(i), ORIGINAL) for i in index])
            )
            pictures.views_grid(folder / file, originals, shown, prog.info.dtype)


def thumbnail(source: Source, index: int, size: int) -> np.ndarray:
    """The central square of an image, of at most so many pixels a side; black where it cannot be read."""
    side = min(size, min(source.image_shape[:2]) if source.image_shape else size)
    try:
        return host.central_crop(source.open(index), side, source.channels, source.dtype)
    except BadImage:
        return np.zeros((side, side, source.channels), source.dtype)


def looked_at(prog: Program, images: np.ndarray | Array) -> np.ndarray:
    """Images as they are read, to be looked at: of sounds their pictures, uint16."""
    if not prog.main.as_images:
        return np.asarray(images)
    pictures = np.asarray(jax.jit(prog.main.seen)(images))
    return np.rint(np.iinfo(np.uint16).max * pictures).astype(np.uint16)


def draw_curves(folder: epath.Path, values: Mapping[str, Any], enabled: bool) -> None:
    """Draws the curves of metrics.jsonl beside the result."""
    if enabled and parallel.is_main_process():
        from jssl.report import pictures

        with drawing("curves.png"):
            pictures.curves(folder / "curves.png", read_lines(folder / METRICS_FILE), values)


def draw_figures(figures: Mapping[str, Drawing], folder: epath.Path, enabled: bool) -> None:
    """Draws the figures of evaluators: 'classifier/errors' becomes classifier_errors.png.

    Args:
      figures: by name; figures of matplotlib, or functions that draw into a path.
      folder: of the run.
      enabled: `log.pictures`.
    """
    if not (enabled and parallel.is_main_process()):
        return
    from jssl.report import pictures

    for name, figure in figures.items():
        path = folder / f"{name.replace('/', '_')}.png"
        with drawing(path.name):
            if callable(figure):
                figure(path)
            else:
                pictures.save(figure, path)


def draw_features(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws a map of the features, and the neighbours of some images."""
    if not evaluator.program.config.log.pictures:
        return
    source = evaluator.query
    some = source.take(np.linspace(0, len(source) - 1, min(PICTURED, len(source))).astype(int))
    features = evaluator.features(state, some)
    if not parallel.is_main_process():
        return
    from jssl.report import pictures

    if len(features.x) < MIN_DRAWN:
        return
    names = source.class_names if evaluator.has_labels else None
    images = thumbnails(evaluator, some)[features.index]
    with drawing("features.png"):
        pictures.feature_map(folder / "features.png", features.x, features.labels, names, images)
    with drawing("neighbours.png"):
        pictures.neighbours(
            folder / "neighbours.png", features.x, images, SHOWN, labels=features.labels, class_names=names
        )


def thumbnails(evaluator: suite.Suite, source: Source) -> np.ndarray:
    """The images of a small source, of one size: uint8 or uint16[N, H, W, C]."""
    crop = None if source.image_shape else evaluator.program.size
    images = EvalBatches(source, len(source), crop, process=0, processes=1)[0]["image"]
    return looked_at(evaluator.program, images)


def draw_clusters(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws the most typical images of some clusters; nothing for methods that have none."""
    prog, source = evaluator.program, evaluator.query
    shapes = output_shapes(prog.method, state.params, state.method_state, prog.views)
    if not prog.config.log.pictures or "assignments" not in shapes:
        return
    some = source.take(np.linspace(0, len(source) - 1, min(CLUSTERED, len(source))).astype(int))
    assign = functools.partial(prog.output("assignments"), state.params, state.method_state)
    found = extract_source(prog, assign, some)
    if not parallel.is_main_process():
        return
    from jssl.report import pictures

    images = thumbnails(evaluator, some)[found.index]
    with drawing("clusters.png"):
        pictures.clusters(folder / "clusters.png", found.x, images, SHOWN)


def draw_reconstruction(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws some test images, what is hidden of them, and what the method fills in; nothing for methods that do not."""
    images = some_images(evaluator, SHOWN)
    found = predicted(evaluator.program, state, images, ("masked", "reconstruction"))
    if found is None or not parallel.is_main_process() or not len(images):
        return
    from jssl.report import pictures

    prog = evaluator.program
    seen = augment.to_float(
        augment.center_resize(prog.main.seen(images), prog.size, fraction=prog.config.evals.crop_fraction)
    )
    columns = {
        "input": displayed(prog, found["masked"]),
        "prediction": displayed(prog, found["reconstruction"]),
    }
    with drawing("reconstruction.png"):
        columns = {**columns, "truth": np.asarray(seen)}
        pictures.reconstructions(folder / "reconstruction.png", columns, prog.info.dtype)


def draw_patches(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws the nearest patches of some patches of test images; nothing for methods that see no patches alone."""
    images = some_images(evaluator, PATCHED)
    found = predicted(evaluator.program, state, images, ("patches", "patch_features"))
    if found is None or not parallel.is_main_process() or len(images) < MIN_DRAWN:
        return
    from jssl.report import pictures

    patches, x = (
        value.reshape(-1, *value.shape[2:]) for value in (found["patches"], found["patch_features"])
    )
    dtype = np.dtype(evaluator.program.info.dtype)
    shown = np.clip(displayed(evaluator.program, patches), 0, 1)
    pixels = np.rint(np.iinfo(dtype).max * shown).astype(dtype)
    contrast = pixels.std(axis=(1, 2, 3))
    told = contrast >= np.median(contrast)  # flat ones are all alike
    title = "Nearest patches in feature space, with their cosine"
    with drawing("patches.png"):
        pictures.neighbours(folder / "patches.png", x[told], pixels[told], SHOWN, title=title)


def draw_sound(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws where in test images their sound is, and where that of another; nothing for methods that do not hear.

    That is the cosine of the sound's embedding and of every place's of the image.
    """
    prog = evaluator.program
    if not evaluator.data.hears or not prog.config.log.pictures or "embedding_map" not in prog.output_names:
        return
    some = spread(evaluator.query, SHOWN)
    images, index = readable(evaluator, some)
    waves = some.sounds()
    found = predicted(prog, state, images, ("embedding_map",))
    if found is None or waves is None or not len(images):
        return
    sounds = outputs_of_sounds(prog, state, waves[index], "embedding")
    if not parallel.is_main_process():
        return
    from jssl.report import pictures

    places, sounds = (
        x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
        for x in (found["embedding_map"], sounds)
    )
    maps = {
        name: np.einsum("bhwe,be->bhw", places, heard)
        for name, heard in (("its sound", sounds), ("another's", np.roll(sounds, -1, axis=0)))
    }
    size = prog.size
    seen = augment.center_resize(images, size, fraction=prog.config.evals.crop_fraction)
    with drawing("sound.png"):
        pictures.similarity_maps(folder / "sound.png", np.asarray(seen), maps)


def spread(source: Source, count: int) -> Source:
    """So many examples, or all, evenly spaced."""
    count = min(count, len(source))
    return source.take(np.arange(count) * len(source) // count)


def readable(evaluator: suite.Suite, some: Source) -> tuple[Array, np.ndarray]:
    """The readable images of a small source, whole on every device, as they are read; and their positions."""
    prog = evaluator.program
    crop = prog.uncropped_size if prog.main.host_crops or some.image_shape is None else None
    batch = EvalBatches(some, len(some), crop, process=0, processes=1)[0]
    return parallel.put_replicated(batch["image"][batch["mask"]], prog.mesh), np.flatnonzero(batch["mask"])


def some_images(evaluator: suite.Suite, count: int) -> Array:
    """So many images of the test set, spread over it, whole on every device: as they are read."""
    return readable(evaluator, spread(evaluator.query, count))[0]


def predicted(
    prog: Program, state: TrainState, images: Array, names: tuple[str, ...]
) -> dict[str, np.ndarray] | None:
    """Outputs of a method, for pictures; None if they are not asked for or the method has not all of them."""
    shapes = output_shapes(prog.method, state.params, state.method_state, prog.views)
    if not prog.config.log.pictures or not set(names) <= set(shapes):
        return None
    arrays = (state.params, state.method_state)
    return {name: np.asarray(prog.output(name)(*arrays, images)) for name in names}


def displayed(prog: Program, images: np.ndarray) -> np.ndarray:
    """Images as networks see them, float[..., C], as they are shown, in [0, 1]."""
    return np.asarray(prog.main.to_pixels(jnp.asarray(images)))


def draw_attention(evaluator: suite.Suite, state: TrainState, folder: epath.Path) -> None:
    """Draws the attention of the class token in the last block, head by head; nothing for encoders that have none."""
    prog = evaluator.program
    size, main, encoder = prog.size, prog.main, prog.method.encoder
    chosen = prog.method.eval_encoder(state.params, state.method_state)
    channels = prog.info.channels
    shapes = jax.eval_shape(
        encoder.attention, *chosen, jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    )
    before = 1 + encoder.registers
    side = 0 if shapes is None else math.isqrt(shapes.shape[-1] - before)
    if not prog.config.log.pictures or shapes is None or side**2 + before != shapes.shape[-1]:
        return  # a class token stands beside a square of patches

    def look(params: Params, stats: State, images: Array) -> tuple[Array, Array | None]:
        seen = augment.center_resize(main.seen(images), size, fraction=prog.config.evals.crop_fraction)
        return seen, encoder.attention(params, stats, main.to_float(seen))

    images = some_images(evaluator, SHOWN)
    shown, weights = jax.jit(look, out_shardings=parallel.replicated(prog.mesh))(*chosen, images)
    if parallel.is_main_process() and len(shown):
        from jssl.report import pictures

        maps = np.asarray(weights)[:, :, 0, before:]
        maps = maps.reshape(*maps.shape[:2], side, side)
        with drawing("attention.png"):
            pictures.attention(folder / "attention.png", np.asarray(shown), maps)
