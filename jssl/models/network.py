"""The seam over flax.linen: what the rest of the library knows of a neural network."""

from __future__ import annotations

import dataclasses
import re
from typing import cast

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from jssl.types import Array, Params, State

STATS = "batch_stats"  # Flax collection of the running statistics
INTERMEDIATES = "intermediates"  # Flax collection of what a module sows
DROP_PATH = "drop_path"  # Flax name of the random stream of stochastic depth


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two pure functions of explicit parameters and statistics.

    Both functions work on abstract values (`jax.eval_shape`). The object is hashable, so a closure over
    it, or a static argument, compiles once.

    Args:
      module: a Flax module called as `module(x, train)`.
    """

    module: nn.Module

    def without_drop_path(self) -> Network:
        """The same network, with the same parameters, that drops nothing in training: what targets are."""
        dropping = getattr(self.module, "drop_path", 0.0)
        return Network(self.module.clone(drop_path=0.0)) if dropping else self

    def init(self, key: Array, x: Array) -> tuple[Params, State]:
        """Draws the parameters for inputs like `x`.

        Args:
          key: random key.
          x: an input of the right shape and dtype; its values do not matter.

        Returns:
          params: dict of float32 arrays, trained by gradient.
          stats: dict of float32 running statistics; `{}` where the network has none.
        """
        # Lazily: the forward pass is traced for its shapes and never run.
        variables = self.module.lazy_init(key, jax.ShapeDtypeStruct(x.shape, x.dtype), False)
        return variables.get("params", {}), variables.get(STATS, {})

    def apply(
        self, params: Params, stats: State, x: Array, train: bool, key: Array | None = None
    ) -> tuple[Array, State]:
        """Runs the network.

        Args:
          params: as returned by `init`.
          stats: as returned by `init` or by an earlier `apply`.
          x: inputs, as in `init` up to the batch size.
          train: True normalises with the statistics of this batch, updates the running ones and drops
            residual branches; False uses the running ones and drops nothing.
          key: random key for drop-path; networks without randomness ignore it.

        Returns:
          The output, float32, and the new stats (the given ones if not `train`).

        Raises:
          ValueError: if the network drops paths, `train` is True and no key is given.
        """
        variables = {"params": params, STATS: stats}
        if not train:
            out = self.module.apply(variables, x, False)
            return cast(Array, out), stats
        rngs = None if key is None else {DROP_PATH: key}
        out, updated = self.module.apply(variables, x, True, mutable=[STATS], rngs=rngs)
        return cast(Array, out), updated.get(STATS, {})

    def attention(self, params: Params, stats: State, x: Array) -> Array | None:
        """Attention weights of the last block, in evaluation mode.

        Args:
          params, stats, x: as in `apply`.

        Returns:
          float32[B, heads, N, N]: how much each token (row) looks at every token; None if nothing attends.
        """
        variables = {"params": params, STATS: stats}
        _, sown = self.module.apply(variables, x, False, mutable=[INTERMEDIATES])
        paths = flatten_dict(sown.get(INTERMEDIATES, {}))
        maps = {_numbers(path): weights for path, weights in paths.items() if path[-1] == "attention"}
        return cast(Array, maps[max(maps)][-1]) if maps else None


def _numbers(path: tuple[str, ...]) -> tuple[int, ...]:
    """('blocks_11', 'attention') -> (11,), so that blocks can be put in order."""
    return tuple(int(number) for number in re.findall(r"\d+", "/".join(path)))
