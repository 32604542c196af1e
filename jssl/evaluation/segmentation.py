"""Segmentation: the class of every pixel by a linear head on an encoder's map."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from etils import epath

from jssl import models, parallel, rng, settings
from jssl.data.sources import Source
from jssl.data.squares import check_masks, stacked
from jssl.errors import UserError
from jssl.evaluation import dense
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics.segmentation import confusion, overlaps
from jssl.train.progress import counting
from jssl.types import Array, Batch, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.evaluation.base import Drawing
    from jssl.models import Network
    from jssl.train.program import Program

WARMUP = 0.05  # of the steps
IGNORED = (0.0, 0.0, 0.0)  # colour of pixels that are not scored


@dataclasses.dataclass(frozen=True)
class Segmentation(Evaluator):
    """Mean intersection over union of a linear head, batch norm and a 1 x 1 convolution, on maps of the encoder.

    The head's logits are interpolated to the masks; it learns by cross entropy with AdamW and a cosine. Images are
    whole, as squares of the size of the run, and so are masks. 'miou' and 'iou/CLASS' follow from the confusion of all
    pixels of the set together; 'pixel_accuracy' and 'mean_accuracy' stand beside, and 'commonest_class', the accuracy
    of always naming that. Images without a mask are left out.

    Attributes:
      layers: whose maps the head sees side by side, such as ('block3', 'block4'); () for the feature map, of a
        transformer the patches.
      size: side of the images; 0 for that which evaluators see.
      ignore: number in the masks of pixels without a class; -1 for none.
      steps: of the head's training.
      batch_size: over all devices.
      lr: learning rate at its peak.
      weight_decay: decay of kernels.
      flip_prob: probability of a horizontal flip in training.
      finetune: whether the encoder learns, too, but for the statistics of its batch norm.
      encoder_lr: its learning rate then.
      images: at the top of the picture.

    References:
      Oquab et al., DINOv2, 2023, section 7.4. https://arxiv.org/abs/2304.07193
    """

    name = "segmentation"
    needs = frozenset({"masks"})
    during = False
    possible_baselines = ("untrained",)

    enabled: bool = False
    baselines: tuple[str, ...] = ("untrained",)
    layers: tuple[str, ...] = ()
    size: int = settings.count(0)
    ignore: int = settings.within(255, -1, 255)
    steps: int = settings.size(1000)
    batch_size: int = settings.size(16)
    lr: float = settings.positive(1e-3)
    weight_decay: float = settings.weight(1e-3)
    flip_prob: float = settings.fraction(0.5)
    finetune: bool = False
    encoder_lr: float = settings.positive(1e-4)
    images: int = settings.count(6)

    def check_run(self, program: Program, data: Data) -> None:
        size = self.size or program.size
        dense.check_annotated("mask", "evals.segmentation.enabled", data)
        dense.check_maps(self.layers, size, "evals.segmentation", program)
        parallel.check_batch_size(self.batch_size, program.mesh, "evals.segmentation.batch_size")
        shape = (self.batch_size, size, size, data.info.channels)
        parallel.check_fits(jax.ShapeDtypeStruct(shape, np.float32), "evals.segmentation.batch_size")
        for source in (data.train, data.test or data.val):
            if source is not None:
                check_masks(source)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        if data.query is None or data.train is None:
            return Evaluation()
        assert ctx.state is not None
        size = self.size or ctx.program.size
        train, query = (masked(source, size, self.ignore, ctx) for source in (data.train, data.query))
        classes = 1 + max(highest(masks, self.ignore) for _, masks in (train, query))
        key = f"segmentation/{classes}"
        if key not in ctx.cache:
            ctx.cache[key] = HeadTraining(self, ctx.program, classes, size)
        training: HeadTraining = ctx.cache[key]
        encoder = ctx.program.method.eval_encoder(ctx.state.params, ctx.state.method_state)
        params, stats = training.train(*encoder, *train)
        apply = functools.partial(training.predict, params, stats)
        total, shown = np.zeros((classes, classes), np.int64), list[np.ndarray]()
        for predicted, index in dense.batches(ctx.program, apply, query[0]):
            total += confusion(query[1][index], predicted, classes, self.ignore)
            shown += list(predicted[: max(0, self.images - len(shown))])
        names = data.query.fields["mask"].classes or tuple(map(str, range(classes)))
        figures: dict[str, Drawing] = {}
        if shown and not ctx.baseline:
            count = len(shown)
            pixels = [query[0].decode(query[0].open(place), place) for place in range(count)]
            columns = (np.stack(pixels), query[1][:count], np.stack(shown))
            figures["predictions"] = functools.partial(draw, columns=columns, ignore=self.ignore)
        return Evaluation(values_of(total, names), figures)


def values_of(total: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """The values of a confusion, int64[C, C]; classes that do not occur have none."""
    found = overlaps(total)
    each: Any = found.pop("iou")
    means = {name: float(value) for name, value in found.items()}
    means["commonest_class"] = float(total.sum(axis=1).max() / total.sum())
    return means | {f"iou/{name}": float(x) for name, x in zip(names, each) if not np.isnan(x)}


def masked(source: Source, size: int, ignore: int, ctx: EvalContext) -> tuple[Source, np.ndarray]:
    """The images of a source that have masks, as squares, and these, uint8[n, size, size].

    Raises:
      UserError: if there are none.
    """
    key = f"segmentation/{id(source)}"
    if key not in ctx.cache:
        whole = dense.squares(source, size, ctx)
        masks = whole.masks()
        assert masks is not None, "check_run looked"
        there = [index for index, mask in enumerate(masks) if mask is not None]
        if not there:
            raise UserError(f"no image of {source.name} has a mask")
        if len(there) < len(source):
            logging.warning(
                "%s: %d images have no mask and are left out", source.name, len(source) - len(there)
            )
        ctx.cache[key] = (source, whole.take(there), stacked(masks, there))
    _, images, found = ctx.cache[key]
    return images, found


def highest(masks: np.ndarray, ignore: int) -> int:
    """The highest class in masks; raises UserError if all pixels are ignored."""
    there = np.unique(masks)
    there = there[there != ignore]
    if not len(there):
        raise UserError(f"evals.segmentation.ignore={ignore}: no pixel has another class")
    return int(there.max())


class HeadTraining:
    """Training of a head on an encoder's maps; compiled once for a model and its baselines."""

    def __init__(self, recipe: Segmentation, program: Program, classes: int, size: int):
        self.recipe, self.program, self.size = recipe, program, size
        self.head = models.normalized_linear(classes)
        self.optimizer = optimizer(recipe)
        replicated, rows = (kind(program.mesh) for kind in (parallel.replicated, parallel.batch_sharding))
        self._step = jax.jit(
            self._update,
            in_shardings=(replicated, replicated, rows, rows, replicated),
            out_shardings=replicated,
            donate_argnums=1,
        )
        self.predict = dense.of_squares(program, size, self._classes)

    def train(self, encoder: Params, stats: State, source: Source, masks: np.ndarray) -> tuple[Params, State]:
        """Trains a new head, and perhaps the encoder.

        Args:
          encoder, stats: of the encoder; they stay as they are.
          source: squares.
          masks: uint8[N, size, size].

        Returns:
          Parameters and statistics {'encoder', 'head'}.
        """
        from jssl.data.pipeline import TrainBatches
        from jssl.train.loop import device_iterator

        program, recipe = self.program, self.recipe
        seed, steps = program.config.seed, recipe.steps
        root = rng.derive(rng.root(seed), "segmentation")
        head, head_stats = head_of(self.head, program, recipe.layers, self.size, root)
        learnt = {"head": head, **({"encoder": jax.tree.map(jnp.copy, encoder)} if recipe.finetune else {})}
        fixed = {"encoder": encoder, "stats": stats}
        carry = parallel.put_replicated((learnt, head_stats, self.optimizer.init(learnt)), program.mesh)
        read = TrainBatches(source, recipe.batch_size, seed, steps, more={"segmentation": masks})
        with counting(f"training a head on {source.name}", steps * recipe.batch_size) as done:
            for number, batch in enumerate(device_iterator(program, read)):
                key = jax.random.fold_in(root, number)
                carry, loss = self._step(fixed, carry, batch["image"], batch["segmentation"], key)
                jax.block_until_ready(loss)
                done((number + 1) * recipe.batch_size)
        learnt, head_stats, _ = carry
        return {"encoder": encoder, **learnt}, {"encoder": stats, "head": head_stats}

    def _update(self, fixed: Batch, carry: Any, images: Array, masks: Array, key: Array) -> tuple[Any, Array]:
        learnt, head_stats, opt_state = carry
        flipped = jax.random.bernoulli(key, self.recipe.flip_prob, (len(images),))
        images, masks = (
            jnp.where(flipped.reshape(-1, *(1,) * (x.ndim - 1)), jnp.flip(x, axis=2), x)
            for x in (images, masks)
        )
        x = self.program.main.to_float(self.program.main.seen(images))

        def loss(learnt: Params) -> tuple[Array, State]:
            encoder = learnt.get("encoder", fixed["encoder"])
            logits, stats = self._logits(learnt["head"], head_stats, encoder, fixed["stats"], x, train=True)
            scored = masks != self.recipe.ignore
            each = optax.losses.softmax_cross_entropy_with_integer_labels(
                logits, jnp.where(scored, masks, 0).astype(jnp.int32)
            )
            return jnp.sum(each * scored) / jnp.maximum(jnp.sum(scored), 1), stats

        (value, head_stats), grads = jax.value_and_grad(loss, has_aux=True)(learnt)
        updates, opt_state = self.optimizer.update(grads, opt_state, learnt)
        return (optax.apply_updates(learnt, updates), head_stats, opt_state), value

    def _logits(
        self, head: Params, head_stats: State, encoder: Params, stats: State, x: Array, train: bool
    ) -> tuple[Array, State]:
        """Logits of every pixel, float32[B, S, S, classes]."""
        maps = dense.maps(self.program, self.recipe.layers, encoder, stats, x)
        logits, head_stats = self.head.apply(head, head_stats, maps, train=train)
        return dense.resized(logits, self.size, self.size), head_stats

    def _classes(self, params: Params, stats: State, x: Array) -> Array:
        """The likeliest class of every pixel, uint8[B, S, S]."""
        logits, _ = self._logits(
            params["head"], stats["head"], params["encoder"], stats["encoder"], x, train=False
        )
        return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def head_of(
    head: Network, program: Program, layers: tuple[str, ...], size: int, key: Array
) -> tuple[Params, State]:
    """A fresh head for the maps of a program's encoder."""
    images = jax.ShapeDtypeStruct((1, size, size, program.info.channels), np.float32)
    encoder = jax.eval_shape(lambda: program.method.eval_encoder(*program.init_method()))
    shape = jax.eval_shape(functools.partial(dense.maps, program, layers), *encoder, images)
    return head.init(key, shape)


def optimizer(recipe: Segmentation) -> optax.GradientTransformation:
    """AdamW with a warm-up and a cosine; another rate for the encoder."""
    from jssl.train.optim import is_matrix

    def adamw(peak: float) -> optax.GradientTransformation:
        warmup = max(1, round(WARMUP * recipe.steps))
        schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(recipe.steps, warmup + 1))
        return optax.adamw(schedule, weight_decay=recipe.weight_decay, mask=is_matrix)

    parts = {"head": adamw(recipe.lr), "encoder": adamw(recipe.encoder_lr)}

    def part_of(params: Params) -> Params:
        return {name: jax.tree.map(lambda _, name=name: name, tree) for name, tree in params.items()}

    return optax.multi_transform(parts, part_of)


def draw(path: epath.Path, columns: tuple[np.ndarray, np.ndarray, np.ndarray], ignore: int) -> None:
    """Images beside their masks and what was predicted.

    Args:
      path: PNG to write.
      columns: images [n, S, S, C], masks and predictions uint8[n, S, S].
      ignore: number that is drawn black in both.
    """
    from jssl.report import pictures

    images, truth, predicted = columns
    unscored = (truth == ignore)[..., None]
    coloured = {
        "truth": np.where(unscored, IGNORED, palette()[truth]),
        "prediction": np.where(unscored, IGNORED, palette()[predicted]),
    }
    limits = pictures.contrast([images], images.dtype.name)
    grid = pictures.Grid(len(images), 3, limits)
    for row, image in enumerate(images):
        grid.show(row, 0, image, "image" if row == 0 else "")
        for column, (name, colours) in enumerate(coloured.items(), 1):
            grid.draw(row, column, colours[row], name if row == 0 else "", interpolation="nearest")
    grid.save(path, "Segmentation by a linear head (black: not scored)")


def palette() -> np.ndarray:
    """A colour for every number of a mask, float[256, 3]."""
    import matplotlib

    colours = np.array([matplotlib.colormaps["tab20"](number % 20)[:3] for number in range(256)])
    return np.concatenate([colours[::2][:10], colours[1::2][:10], colours[20:]])
