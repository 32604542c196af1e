"""Heads on the maps of an encoder: the settings and the training that segmentation and detection share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import parallel, rng, settings
from jssl.evaluation import dense
from jssl.evaluation.base import Evaluator
from jssl.train.progress import counting
from jssl.types import Array, Batch, Params, State

if TYPE_CHECKING:
    from jssl.data.datasets import Data
    from jssl.data.sources import Source
    from jssl.models import Network
    from jssl.train.program import Program

WARMUP = 0.05  # of the steps


@dataclasses.dataclass(frozen=True)
class DenseHead(Evaluator):
    """An evaluator that trains a head on the maps of an encoder, by AdamW with a warm-up and a cosine.

    Images are whole, as squares.

    Attributes:
      layers: whose maps the head sees side by side, such as ('block3', 'block4'); () for the feature map, of a
        transformer the patches.
      size: side of the images; 0 for that which evaluators see.
      steps: of the head's training.
      batch_size: over all devices.
      lr: learning rate at its peak.
      weight_decay: decay of kernels.
      flip_prob: probability of a horizontal flip in training.
      finetune: whether the encoder learns, too, but for the statistics of its batch norm.
      encoder_lr: its learning rate then.
      images: at the top of the picture.
      annotated: the field that it learns, 'mask' or 'boxes'.
    """

    during = False
    possible_baselines = ("untrained",)
    annotated: ClassVar[str]

    enabled: bool = False
    baselines: tuple[str, ...] = ("untrained",)
    layers: tuple[str, ...] = ()
    size: int = settings.count(0)
    steps: int = settings.size(1000)
    batch_size: int = settings.size(16)
    lr: float = settings.positive(1e-3)
    weight_decay: float = settings.weight(1e-3)
    flip_prob: float = settings.fraction(0.5)
    finetune: bool = False
    encoder_lr: float = settings.positive(1e-4)
    images: int = settings.count(6)

    def check_run(self, program: Program, data: Data) -> None:
        section, size = f"evals.{self.name}", self.size or program.size
        dense.check_annotated(self.annotated, f"{section}.enabled", data)
        dense.check_maps(self.layers, size, section, program)
        parallel.check_batch_size(self.batch_size, program.mesh, f"{section}.batch_size")
        shape = (self.batch_size, size, size, data.info.channels)
        parallel.check_fits(jax.ShapeDtypeStruct(shape, np.float32), f"{section}.batch_size")


class HeadTraining:
    """Training of a head on an encoder's maps; compiled once for a model and its baselines.

    Args:
      recipe: how it is trained.
      program: of the run.
      head: maps [B, h, w, D] to float32 [B, h, w, outputs].
      size: of the images.
      loss: (outputs of the head, targets of the images) -> float[].
      flipped: targets -> those of the same images, flipped horizontally.
      decode: outputs of the head -> what `predict` gives.

    Attributes:
      predict: jitted, (params, stats, integer squares) -> what is decoded.
    """

    def __init__(
        self,
        recipe: DenseHead,
        program: Program,
        head: Network,
        size: int,
        loss: Callable[[Array, Array], Array],
        flipped: Callable[[Array], Array],
        decode: Callable[[Array], Array],
    ):
        self.recipe, self.program, self.head, self.size = recipe, program, head, size
        self._loss, self._flipped = loss, flipped
        self.optimizer = optimizer(recipe)
        replicated, rows = (kind(program.mesh) for kind in (parallel.replicated, parallel.batch_sharding))
        self._step = jax.jit(
            self._update,
            in_shardings=(replicated, replicated, rows, rows, replicated),
            out_shardings=replicated,
            donate_argnums=1,
        )

        def predict(params: Params, stats: State, x: Array) -> Array:
            parts = (params["head"], stats["head"], params["encoder"], stats["encoder"])
            return decode(self._outputs(*parts, x, train=False)[0])

        self.predict = dense.of_squares(program, size, predict)

    def train(
        self, encoder: Params, stats: State, source: Source, targets: np.ndarray
    ) -> tuple[Params, State]:
        """Trains a new head, and perhaps the encoder.

        Args:
          encoder, stats: of the encoder; they stay as they are.
          source: squares.
          targets: [N, ...], a row for every image.

        Returns:
          Parameters and statistics {'encoder', 'head'}.
        """
        from jssl.data.pipeline import TrainBatches
        from jssl.train.loop import device_iterator

        program, recipe = self.program, self.recipe
        seed, steps = program.config.seed, recipe.steps
        root = rng.derive(rng.root(seed), recipe.name)
        head, head_stats = head_of(self.head, program, recipe.layers, self.size, root)
        learnt = {"head": head, **({"encoder": jax.tree.map(jnp.copy, encoder)} if recipe.finetune else {})}
        fixed = {"encoder": encoder, "stats": stats}
        carry = parallel.put_replicated((learnt, head_stats, self.optimizer.init(learnt)), program.mesh)
        read = TrainBatches(source, recipe.batch_size, seed, steps, more={"targets": targets})
        with counting(f"training a head on {source.name}", steps * recipe.batch_size) as done:
            for number, batch in enumerate(device_iterator(program, read)):
                key = jax.random.fold_in(root, number)
                carry, loss = self._step(fixed, carry, batch["image"], batch["targets"], key)
                jax.block_until_ready(loss)
                done((number + 1) * recipe.batch_size)
        learnt, head_stats, _ = carry
        return {"encoder": encoder, **learnt}, {"encoder": stats, "head": head_stats}

    def _update(
        self, fixed: Batch, carry: Any, images: Array, targets: Array, key: Array
    ) -> tuple[Any, Array]:
        learnt, head_stats, opt_state = carry
        drawn = jax.random.bernoulli(key, self.recipe.flip_prob, (len(images),))
        images, targets = (
            jnp.where(drawn.reshape(-1, *(1,) * (x.ndim - 1)), mirrored, x)
            for x, mirrored in ((images, jnp.flip(images, axis=2)), (targets, self._flipped(targets)))
        )
        x = self.program.main.to_float(self.program.main.seen(images))

        def loss(learnt: Params) -> tuple[Array, State]:
            encoder = learnt.get("encoder", fixed["encoder"])
            found, stats = self._outputs(learnt["head"], head_stats, encoder, fixed["stats"], x, train=True)
            return self._loss(found, targets), stats

        (value, head_stats), grads = jax.value_and_grad(loss, has_aux=True)(learnt)
        updates, opt_state = self.optimizer.update(grads, opt_state, learnt)
        return (optax.apply_updates(learnt, updates), head_stats, opt_state), value

    def _outputs(
        self, head: Params, head_stats: State, encoder: Params, stats: State, x: Array, train: bool
    ) -> tuple[Array, State]:
        """The head's outputs at every place, float32[B, h, w, outputs]."""
        maps = dense.maps(self.program, self.recipe.layers, encoder, stats, x)
        return self.head.apply(head, head_stats, maps, train=train)


def head_of(
    head: Network, program: Program, layers: tuple[str, ...], size: int, key: Array
) -> tuple[Params, State]:
    """A fresh head for the maps of a program's encoder."""
    images = jax.ShapeDtypeStruct((1, size, size, program.info.channels), np.float32)
    encoder = jax.eval_shape(lambda: program.method.eval_encoder(*program.init_method()))
    shape = jax.eval_shape(functools.partial(dense.maps, program, layers), *encoder, images)
    return head.init(key, shape)


def optimizer(recipe: DenseHead) -> optax.GradientTransformation:
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
