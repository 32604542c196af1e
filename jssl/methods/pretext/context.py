"""Context prediction: where does a patch lie, seen from another one?"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jssl import losses, models, settings
from jssl.data.augment.tiles import COLOURS
from jssl.methods.pretext.tiles import TileTask
from jssl.methods.view_task import TaskLoss, TermInputs, streams_of
from jssl.models import Network
from jssl.types import Array, Params, State

CENTRE = 4  # of a grid of 3 x 3 cells, row by row
NEIGHBOURS = tuple(cell for cell in range(9) if cell != CENTRE)


@dataclasses.dataclass(frozen=True)
class ContextPrediction(TileTask):
    """Context prediction: which of its eight neighbours is a patch to the central one?

    Patches pass the encoder one by one; the head sees the features of two. All eight pairs of an image are in the
    batch, in both orders, where the answer to the other order is the opposite direction.

    Attributes:
      proj_hidden_dim: width of the head's two hidden layers.

    References:
      Doersch et al., Unsupervised Visual Representation Learning by Context Prediction, 2015.
      https://arxiv.org/abs/1505.05192
    """

    grid: int = settings.choice(3, (3,), "a patch has eight neighbours")
    tile: int = settings.size(96)
    jitter: int = settings.count(7)
    colour: str = settings.choice("drop", COLOURS)
    shrink_prob: float = settings.part(0.33)
    proj_hidden_dim: int = settings.size(4096)

    @property
    def head(self) -> Network:
        return models.mlp((self.proj_hidden_dim, self.proj_hidden_dim, len(NEIGHBOURS)), batch_norm=False)

    def head_inputs(self, features: Array) -> Array:
        return jnp.tile(features, (1, 2))

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        pairs, labels = [], []
        for stream in streams_of(inputs.batch, self.on_labeled):
            tiles = self.features_of(stream, inputs)
            for direction, cell in enumerate(NEIGHBOURS):
                centre, other = tiles[:, CENTRE], tiles[:, cell]
                pairs += [jnp.concatenate([centre, other], -1), jnp.concatenate([other, centre], -1)]
                opposite = len(NEIGHBOURS) - 1 - direction
                labels += [jnp.full(len(tiles), direction), jnp.full(len(tiles), opposite)]
        logits = self.head.apply(params, {}, jnp.concatenate(pairs), train=True)[0]
        answer = jnp.concatenate(labels)
        top1 = jnp.mean(jnp.argmax(logits, axis=-1) == answer)
        return TaskLoss(losses.cross_entropy(logits, answer), state, {"top1": top1})
