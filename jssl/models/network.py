"""The seam over flax.linen: what the rest of the library knows of a neural network."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from typing import Any, TypeAlias, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jssl.errors import UserError
from jssl.parallel import microbatches
from jssl.types import Array, Params, State

STATS = "batch_stats"  # Flax collection of the running statistics
INTERMEDIATES = "intermediates"  # Flax collection of what a module sows
LAYER_MAPS = "layer_maps"  # Flax collection of what `record` sows
DROP_PATH = "drop_path"  # Flax name of the random stream of stochastic depth


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two pure functions of explicit parameters and statistics.

    Both functions work on abstract values (`jax.eval_shape`). The object is hashable, so a closure over
    it, or a static argument, compiles once.

    Attributes:
      module: a Flax module called as `module(*inputs, train)`.
      chunks: parts in which a batch passes in training, one after the other. The backward pass computes each again,
        so that the memory is that of one part, while whoever uses the outputs sees the whole batch (GradCache).
        Gradients are those of the whole batch, but for batch normalisation: every part has statistics of its own,
        and the running ones move once a part.

    References:
      Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021.
      https://arxiv.org/abs/2101.06983

    Example:
      >>> import flax.linen as nn
      >>> import jax
      >>> from jssl import models
      >>> class Mean(nn.Module):
      ...     def __call__(self, x, train):
      ...         return x.mean(axis=(1, 2))
      >>> encoder, images = models.Network(Mean()), jax.numpy.ones((2, 8, 8, 3))  # any Flax module
      >>> params, stats = encoder.init(jax.random.key(0), images)
      >>> encoder.apply(params, stats, images, train=False)[0].shape
      (2, 3)
    """

    module: nn.Module
    chunks: int = 1

    @property
    def batch_norm_groups(self) -> int:
        """Runs of samples that batch normalisation treats as batches of their own, see `layers.BatchNorm`."""
        found: int = _setting(self.module, "batch_norm_groups", 1)
        return found

    @property
    def bn_momentum(self) -> float:
        """How much running statistics keep in a step, see `layers.BatchNorm`."""
        found: float = _setting(self.module, "bn_momentum", 0.9)
        return found

    @property
    def pool(self) -> str:
        """How a transformer makes features of its tokens: 'cls' or 'gap'; '' for other networks."""
        found: str = _setting(self.module, "pool", "")
        return found

    @property
    def window(self) -> int:
        """The frames that an encoder of clips sees at a time; 0 for all."""
        found: int = _setting(self.module, "window", 0)
        return found

    @property
    def registers(self) -> int:
        """Tokens of a transformer that are of no patch and no class."""
        found: int = _setting(self.module, "registers", 0)
        return found

    def without_drop_path(self) -> Network:
        """A copy, with the same parameters, that drops no paths in training, as targets must not."""
        return self.with_drop_path(0.0)

    def with_drop_path(self, rate: float) -> Network:
        """A copy, with the same parameters, of another rate of stochastic depth; networks that know none stay."""
        return dataclasses.replace(self, module=_with_drop_path(self.module, rate))

    def init(self, key: Array, *inputs: Array) -> tuple[Params, State]:
        """Draws the parameters for inputs like these.

        Args:
          key: random key.
          inputs: of the right shapes and dtypes; their values do not matter.

        Returns:
          params: dict of float32 arrays, trained by gradient.
          stats: dict of float32 running statistics; `{}` where the network has none.
        """
        # Lazily: the forward pass is traced for its shapes and never run.
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
        variables = self.module.lazy_init(key, *shapes, False)
        return variables.get("params", {}), variables.get(STATS, {})

    def apply(
        self,
        params: Params,
        stats: State,
        *inputs: Array,
        train: bool,
        key: Array | None = None,
        method: str = "__call__",
    ) -> tuple[Array, State]:
        """Runs the network on a batch.

        Args:
          params: as returned by `init`.
          stats: as returned by `init` or by an earlier `apply`.
          inputs: as in `init` up to the batch size, which they share.
          train: True normalises with the statistics of this batch, updates the running ones and drops
            residual branches; False uses the running ones and drops nothing.
          key: random key for drop-path and dropout; networks without randomness ignore it.
          method: of the module: 'feature_map' or 'tokens', say.

        Returns:
          The output, float32, and the new stats (the given ones if not `train`).

        Raises:
          ValueError: if the network drops paths, `train` is True and no key is given.
        """
        if not train:
            out = self.module.apply({"params": params, STATS: stats}, *inputs, False, method=method)
            return cast(Array, out), stats
        if self.chunks == 1:
            return self._train(params, stats, inputs, key, method)

        @jax.checkpoint
        def part(stats: State, rows_and_number: tuple[tuple[Array, ...], Array]) -> tuple[State, Array]:
            rows, number = rows_and_number
            own = None if key is None else jax.random.fold_in(key, number)
            out, stats = self._train(params, stats, rows, own, method)
            return stats, out

        split = (microbatches.split_microbatches(inputs, self.chunks), jnp.arange(self.chunks))
        stats, out = jax.lax.scan(part, stats, split)
        return microbatches.join_microbatches(out), stats

    def _train(
        self, params: Params, stats: State, inputs: tuple[Array, ...], key: Array | None, method: str
    ) -> tuple[Array, State]:
        rngs = None if key is None else {DROP_PATH: key, "dropout": key}
        variables = {"params": params, STATS: stats}
        out, updated = self.module.apply(variables, *inputs, True, mutable=[STATS], rngs=rngs, method=method)
        return cast(Array, out), updated.get(STATS, {})

    def feature_map(self, params: Params, stats: State, *inputs: Array) -> Array:
        """What the network knows of each place of an image, in evaluation mode.

        Args:
          params, stats, inputs: as in `apply`.

        Returns:
          float32[B, h, w, D]: the last layer before pooling, or the patches' tokens where they lie.

        Raises:
          UserError: if the network has none.
        """
        return self._named(params, stats, inputs, "feature_map")

    def tokens(self, params: Params, stats: State, *inputs: Array) -> Array:
        """The tokens of a transformer after its last block, in evaluation mode.

        Args:
          params, stats, inputs: as in `apply`.

        Returns:
          float32[B, N, D]; the class token, if there is one, first.

        Raises:
          UserError: if the network has none.
        """
        return self._named(params, stats, inputs, "tokens")

    def _named(self, params: Params, stats: State, inputs: tuple[Array, ...], method: str) -> Array:
        if not hasattr(self.module, method):
            raise UserError(f"{type(self.module).__name__} has no {method}")
        return self.apply(params, stats, *inputs, train=False, method=method)[0]

    def layer_maps(self, params: Params, stats: State, *inputs: Array) -> dict[str, Array]:
        """The maps of the layers of an encoder, in evaluation mode; the last is the feature map.

        Args:
          params, stats, inputs: as in `apply`.

        Returns:
          float32[B, h, w, D] by name, in order of depth (`jax.jit` sorts the names): 'block1', ... of a ConvNet and a
          ViT, 'stem' and the stages 'block1', ... of a residual network, see the modules. A module of your own gives
          what it records, see `models.record`; `{}` for nothing. Of an encoder of frames they are means over frames, of
          two encoders side by side they are concatenated.
        """
        variables = {"params": params, STATS: stats}
        _, sown = self.module.apply(variables, *inputs, False, mutable=[LAYER_MAPS])
        rows = len(inputs[0])
        found: dict[str, list[Array]] = {}
        for path, layer in flatten_dict(sown.get(LAYER_MAPS, {})).items():
            of_images = jnp.mean(layer.reshape(rows, -1, *layer.shape[1:]), axis=1)
            found.setdefault(path[-1], []).append(of_images)
        return {name: jnp.concatenate(layers, axis=-1) for name, layers in found.items()}

    def attention(self, params: Params, stats: State, x: Array) -> Array | None:
        """Attention weights of the last block, in evaluation mode.

        Args:
          params, stats, x: as in `apply`.

        Returns:
          float32[B, heads, N, N]: how much each token (row) attends to every token; None if nothing attends, or
          more than one token sequence an image does. Of two encoders side by side it is that of one.
        """
        variables = {"params": params, STATS: stats}
        _, sown = self.module.apply(variables, x, False, mutable=[INTERMEDIATES])
        paths = flatten_dict(sown.get(INTERMEDIATES, {}))
        maps = {_numbers(path): weights for path, weights in paths.items() if path[-1] == "attention"}
        found = cast(Array, maps[max(maps)][-1]) if maps else None
        return found if found is not None and len(found) == len(x) else None  # not of the frames of clips


def _inner(module: nn.Module) -> dict[str, nn.Module]:
    """The networks that a module wraps, see `filters`, `frames` and `heads.Topped`."""
    found = {name: getattr(module, name, None) for name in ("base", "first", "others")}
    return {name: inner for name, inner in found.items() if isinstance(inner, nn.Module)}


def _setting(module: nn.Module, name: str, default: Any) -> Any:
    """A setting of a module, or of what it wraps."""
    if hasattr(module, name):
        return getattr(module, name)
    inner = _inner(module)
    return _setting(next(iter(inner.values())), name, default) if inner else default


def _with_drop_path(module: nn.Module, rate: float) -> nn.Module:
    """A module of another rate of stochastic depth, and what it wraps likewise."""
    changes: dict[str, Any] = {name: _with_drop_path(each, rate) for name, each in _inner(module).items()}
    if getattr(module, "drop_path", rate) != rate:
        changes["drop_path"] = rate
    return module.clone(**changes) if changes else module


def record(module: nn.Module, name: str, x: Array, grid: tuple[int, int] | None = None) -> None:
    """Records the map of a layer for `Network.layer_maps`; where nobody asks for it, nothing is computed.

    Args:
      module: whose method calls this.
      name: of the layer; of a map that is recorded again under the same name the last counts.
      x: [B, h, w, D], or tokens [B, N, D], the last h * w of which lie on a grid, row by row.
      grid: (h, w) of tokens.

    Example:
      >>> import flax.linen as nn
      >>> import jax
      >>> from jssl import models
      >>> class Halves(nn.Module):
      ...     def __call__(self, x, train):
      ...         half = x[:, ::2, ::2]
      ...         models.record(self, "half", half)
      ...         return half.mean(axis=(1, 2))
      >>> encoder, images = models.Network(Halves()), jax.numpy.ones((2, 8, 8, 3))
      >>> maps = encoder.layer_maps(*encoder.init(jax.random.key(0), images), images)
      >>> {name: layer.shape for name, layer in maps.items()}
      {'half': (2, 4, 4, 3)}
    """
    if module.is_initializing() or not module.is_mutable_collection(LAYER_MAPS):
        return
    if grid is not None:
        x = x[:, -math.prod(grid) :].reshape(len(x), *grid, x.shape[-1])
    layer = {name: x.astype(jnp.float32)}  # in a dict: a submodule may have the name
    module.sow(LAYER_MAPS, LAYER_MAPS, layer, reduce_fn=operator.or_, init_fn=dict)


def _numbers(path: tuple[str, ...]) -> tuple[int, ...]:
    """('blocks_11', 'attention') -> (11,), so that blocks can be put in order."""
    return tuple(int(number) for number in re.findall(r"\d+", "/".join(path)))


AnyNetwork: TypeAlias = Network | nn.Module


def as_network(given: object) -> Network:
    """A network as it is, or that of a Flax module.

    Raises:
      UserError: for anything else.
    """
    if isinstance(given, nn.Module):
        return Network(given)
    if not isinstance(given, Network):
        raise UserError(f"encoder={given!r}: give a Flax module, or jssl.models.Network of one")
    return given
