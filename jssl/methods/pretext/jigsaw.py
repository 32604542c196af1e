"""Jigsaw puzzles: in which order are the tiles of an image?"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jssl import losses, models, rng, settings
from jssl.errors import UserError
from jssl.methods.base import image_keys
from jssl.methods.pretext.tiles import TileTask
from jssl.methods.view_task import TaskLoss, TermInputs, streams_of
from jssl.models import Network
from jssl.types import Array, Params, State

LARGEST_GRID = 3  # of 4 x 4 tiles there are 2e13 orders


@dataclasses.dataclass(frozen=True)
class Jigsaw(TileTask):
    """Jigsaw puzzles: which of a set of permutations are the tiles of an image in?

    Every tile passes the encoder on its own; the head sees all of them in the permuted order.

    Attributes:
      permutations: size of the set, see `permutation_set`; fewer than there are orders are far from one another.
      draws: permutations of every image in a step; the features of its tiles serve all.
      proj_hidden_dim: width of the head's hidden layer.

    References:
      Noroozi and Favaro, Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, 2016.
      https://arxiv.org/abs/1603.09246
    """

    permutations: int = settings.size(100, at_least=2)
    draws: int = settings.size(1)
    proj_hidden_dim: int = settings.size(4096)

    def __post_init__(self) -> None:
        super().__post_init__()
        orders = math.factorial(min(self.grid, LARGEST_GRID) ** 2)
        if self.grid > LARGEST_GRID:
            raise UserError(f"grid={self.grid} must be 2 or {LARGEST_GRID}")
        if self.permutations > orders:
            raise UserError(
                f"permutations={self.permutations}: of {self.grid}x{self.grid} tiles there are {orders}"
            )

    @property
    def head(self) -> Network:
        return models.mlp((self.proj_hidden_dim, self.permutations), batch_norm=False)

    def head_inputs(self, features: Array) -> Array:
        return jnp.tile(features, (1, self.grid**2))

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        table = jnp.asarray(permutation_set(self.grid**2, self.permutations))
        values, right = [], []
        for stream in streams_of(inputs.batch, self.on_labeled):
            keys = image_keys(rng.derive(inputs.ctx.key, f"permutation {stream}"), inputs.batch[stream])
            which = jax.vmap(lambda key: jax.random.randint(key, (self.draws,), 0, self.permutations))(keys)
            tiles = self.features_of(stream, inputs)
            shuffled = jnp.take_along_axis(tiles[:, None], table[which][..., None], axis=2)
            logits = self.head.apply(params, {}, shuffled.reshape(which.size, -1), train=True)[0]
            values.append(losses.cross_entropy(logits, which.ravel()))
            right.append(jnp.mean(jnp.argmax(logits, axis=-1) == which.ravel()))
        value, top1 = (jnp.mean(jnp.stack(each)) for each in (values, right))
        return TaskLoss(value, state, {"top1": top1})


@functools.lru_cache(maxsize=8)
def permutation_set(tiles: int, count: int, seed: int = 0) -> np.ndarray:
    """Permutations that are far from one another: each next one has the largest mean Hamming distance to those before.

    As the released sets were made: a small distance between some two of them may remain.

    Args:
      tiles: how many are permuted, at most 9.
      count: of permutations, at most the factorial of tiles.
      seed: which is the first, and which one of several at the same distance is taken.

    Returns:
      int32[count, tiles], each row another permutation.

    Raises:
      ValueError: if there are not so many.

    References:
      Noroozi and Favaro, 2016, algorithm 1. https://arxiv.org/abs/1603.09246

    Example:
      >>> from jssl.methods.pretext import jigsaw
      >>> table = jigsaw.permutation_set(4, 3)
      >>> int(jigsaw.hamming_distances(table).min())  # no tile is where it is in another one
      4
    """
    if not 1 <= count <= math.factorial(tiles) or tiles > LARGEST_GRID**2:
        raise ValueError(f"there are no {count} permutations of {tiles} tiles, which are at most 9")
    candidates = np.array(list(itertools.permutations(range(tiles))), np.uint8)
    candidates = np.random.default_rng(seed).permutation(candidates).T.copy()
    distance = np.zeros(candidates.shape[1], np.int32)  # the sum over those chosen
    chosen = [0]
    for _ in range(count - 1):
        for own, newest in zip(candidates, candidates[:, chosen[-1]]):
            distance += (own != newest).view(np.uint8)
        distance[chosen[-1]] = -(count * tiles)
        chosen.append(int(np.argmax(distance)))
    return candidates[:, chosen].T.astype(np.int32)


def hamming_distances(permutations: np.ndarray) -> np.ndarray:
    """The distances of all pairs of permutations, int[count * (count - 1) / 2]."""
    first, second = np.triu_indices(len(permutations), 1)
    distances: np.ndarray = (permutations[first] != permutations[second]).sum(axis=1)
    return distances
