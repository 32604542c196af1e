"""Vision transformers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype

from jssl import settings
from jssl.errors import UserError
from jssl.models.attention import IMPLEMENTATIONS, attend, averaged, weights
from jssl.models.layers import DropPath
from jssl.models.network import DROP_PATH, record
from jssl.types import Array, NdArray, Params

_xavier = nn.initializers.xavier_uniform()
_normal = nn.initializers.normal(0.02)
_truncated = nn.initializers.truncated_normal(
    0.02 / 0.87962566
)  # which divides by that, the std of the truncated
_torch_conv = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _xavier_qkv(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Xavier-uniform [D, 3 D] whose three projections are drawn as matrices of their own."""
    keys = jax.random.split(key, 3)
    return jnp.concatenate([_xavier(k, (shape[0], shape[1] // 3), dtype) for k in keys], axis=1)


def sincos2d(height: int, width: int, features: int) -> NdArray:
    """Fixed 2-D positions: half of the features encode the row, half the column.

    Args:
      height: rows of the grid.
      width: columns of the grid.
      features: size of one embedding, divisible by 4.

    Returns:
      float32[height * width, features] in [-1, 1], row by row.

    Raises:
      ValueError: if features does not divide by 4.

    References:
      Chen et al., An Empirical Study of Training Self-Supervised Vision Transformers, 2021, section 5.
      https://arxiv.org/abs/2104.02057
    """
    if features % 4:
        raise ValueError(f"2-D sin-cos positions need features divisible by 4, not {features}")
    frequency = 10000.0 ** -(np.arange(features // 4) / (features // 4))
    row = np.arange(height)[:, None] * frequency
    col = np.arange(width)[:, None] * frequency
    row = np.repeat(np.concatenate([np.sin(row), np.cos(row)], 1)[:, None], width, axis=1)
    col = np.repeat(np.concatenate([np.sin(col), np.cos(col)], 1)[None], height, axis=0)
    both = np.concatenate([row, col], axis=-1)
    return both.reshape(height * width, features).astype(np.float32)


def _clip_qkv(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    return jax.random.normal(key, shape, dtype) * shape[0] ** -0.5


def _clip(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Narrower for what is added to the residual stream: as for CLIP's 12 blocks."""
    inputs, outputs = shape
    std = (2 * inputs) ** -0.5 if outputs > inputs else (24 * outputs) ** -0.5
    return jax.random.normal(key, shape, dtype) * std


# By name: initialisers of the patches, of queries, keys and values, and of the other matrices.
_INITS = {
    "xavier": (_xavier, _xavier_qkv, _xavier),
    "normal": (_torch_conv, _normal, _normal),
    "clip": (_torch_conv, _clip_qkv, _clip),
}


class Attention(nn.Module):
    """Multi-head self-attention over [B, N, D]; the softmax is float32.

    Tokens that are not `seen`, bool[B, N], are attended to by none; these weights are computed plainly, whatever the
    implementation. Sows its weights float32[B, heads, N, N] as 'attention' in the collection 'intermediates', for who
    asks for that collection.
    """

    heads: int
    dtype: Dtype = jnp.float32
    weight_init: str = "xavier"
    implementation: str = "xla"
    causal: bool = False

    @nn.compact
    def __call__(self, x: Array, seen: Array | None = None) -> Array:
        _, qkv_init, out_init = _INITS[self.weight_init]
        batch, tokens, features = x.shape
        qkv = nn.Dense(3 * features, kernel_init=qkv_init, dtype=self.dtype, name="qkv")(x)
        qkv = qkv.reshape(batch, tokens, 3, self.heads, features // self.heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        sows = self.is_mutable_collection("intermediates")
        if sows or seen is not None:
            shares = weights(q, k, self.causal, seen)
            if sows:
                self.sow("intermediates", "attention", shares)
            out = averaged(shares, v)
        else:
            out = attend(q, k, v, self.implementation, self.causal)
        out = out.reshape(batch, tokens, features)
        return nn.Dense(features, kernel_init=out_init, dtype=self.dtype, name="out")(out)


class Scale(nn.Module):
    """Multiplies every feature by a learnt factor (LayerScale; Touvron et al., 2021). https://arxiv.org/abs/2103.17239

    Args:
      start: of the factors; 0 for none at all.
    """

    start: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if not self.start:
            return x
        factors = self.param("gamma", nn.initializers.constant(self.start), (x.shape[-1],), jnp.float32)
        return x * factors


class Block(nn.Module):
    """Pre-norm transformer block, float32 [B, N, D] to [B, N, D]: attention, then an MLP four times as wide.

    What passes by the branches is float32 whatever the dtype. A causal one lets tokens see those before them alone; of
    tokens of which some are not `seen`, bool[B, N], none sees those.
    """

    heads: int
    drop_path: float | Array = 0.0
    dtype: Dtype = jnp.float32
    weight_init: str = "xavier"
    implementation: str = "xla"
    causal: bool = False
    epsilon: float = 1e-6
    layer_scale: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool, seen: Array | None = None) -> Array:
        y = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name="ln0")(x)
        attention = Attention(
            self.heads, self.dtype, self.weight_init, self.implementation, self.causal, name="attention"
        )
        y = Scale(self.layer_scale, name="scale0")(attention(y, seen))
        x = x + DropPath(self.drop_path, name="drop0")(y, train)
        y = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name="ln1")(x)
        dense_init = _INITS[self.weight_init][2]
        y = nn.Dense(4 * x.shape[-1], kernel_init=dense_init, dtype=self.dtype, name="mlp0")(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(x.shape[-1], kernel_init=dense_init, dtype=self.dtype, name="mlp1")(y)
        y = Scale(self.layer_scale, name="scale1")(y)
        return x + DropPath(self.drop_path, name="drop1")(y, train)


class ViT(nn.Module):
    """Vision transformer without its classifier: images [B, H, W, C] to features float32 [B, features].

    Images of other sizes than `image_size` are welcome as long as they divide by the patch size: learned
    positions are interpolated from the training grid, sin-cos ones recomputed. Its layers, 'block1' and so on, are the
    tokens of the patches after every block, after the last one and the final layer norm.

    Args:
      features: size of a token.
      layers: number of blocks.
      heads: attention heads of a block; 0 for one to every 64 features.
      patch_size: side of a patch in pixels.
      pool: 'cls' returns the class token, 'gap' the mean of the patch tokens (there is no class token then);
        both after the final layer norm.
      positions: 'learned', or 'sincos2d': fixed, no parameter.
      drop_path: drop rate of the last block's branches; it grows linearly from 0 at the first.
      remat: recompute each block in the backward pass, for memory.
      scan: in training compile one block and run it `layers` times: a program of a twelfth of the size. Values and
        parameters are the same; parameters are copied together for it.
      weight_init: of the matrices: 'xavier' uniform, as MoCo v3 and MAE; 'normal' of standard deviation 0.02, as DINO
        (whose truncation at 2 is at 100 of them), with torch's default for the patches; 'clip', normal by their sizes.
      cls_std: standard deviation of the class token at first.
      attention: how it is computed: 'xla' holds its weights, 'cudnn' does not (NVIDIA GPUs from Ampere on, bfloat16).
      image_size: side in pixels of the grid that learned positions are stored for.
      layer_scale: what every branch is multiplied by at first, feature by feature and learnt (DINOv2 has 1e-5 to 1); 0
        for no such factors.
      registers: learnt tokens beside those of the patches, which have no position and are no feature
        (https://arxiv.org/abs/2309.16588).
      dtype: of the matmuls; parameters, the residual stream, norm statistics, softmax and features are float32.

    Raises:
      UserError: if an image does not divide into patches, or the features into heads.

    References:
      Dosovitskiy et al., An Image is Worth 16x16 Words, 2021. https://arxiv.org/abs/2010.11929
      Touvron et al., Training data-efficient image transformers, 2021. https://arxiv.org/abs/2012.12877
    """

    features: int
    layers: int
    heads: int = settings.count(0)
    patch_size: int = settings.size(16)
    pool: str = settings.choice("cls", ("cls", "gap"))
    positions: str = settings.choice("learned", ("learned", "sincos2d"))
    drop_path: float = settings.part(0.0)
    remat: bool = False
    scan: bool = False
    weight_init: str = settings.choice("xavier", tuple(_INITS))
    cls_std: float = settings.weight(0.02)
    attention: str = settings.choice("xla", IMPLEMENTATIONS)
    image_size: int = settings.size(224)
    layer_scale: float = settings.weight(0.0)
    registers: int = settings.count(0)
    dtype: Dtype = jnp.float32

    def setup(self) -> None:
        if self.image_size % self.patch_size:
            raise UserError(f"image_size {self.image_size} does not divide by patch_size {self.patch_size}")
        heads = self.heads or max(1, self.features // 64)
        if self.features % heads:
            raise UserError(f"{self.features} features do not divide by {heads} heads")
        self.patches = nn.Dense(self.features, kernel_init=_INITS[self.weight_init][0], dtype=self.dtype)
        if self.pool == "cls":
            normal = nn.initializers.normal(self.cls_std)
            self.cls = self.param("cls", normal, (1, 1, self.features), jnp.float32)
        if self.registers:
            self.register = self.param("registers", _normal, (1, self.registers, self.features), jnp.float32)
        if self.positions == "learned":
            side = self.image_size // self.patch_size
            count = side**2 + (self.pool == "cls")
            self.position = self.param("position", _normal, (1, count, self.features), jnp.float32)
        # Remat changes what is stored for the backward pass, and neither names nor values.
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        self.rates = np.linspace(0.0, self.drop_path, self.layers).tolist()
        self.blocks = [
            block(heads, rate, self.dtype, self.weight_init, self.attention, layer_scale=self.layer_scale)
            for rate in self.rates
        ]
        self.norm = nn.LayerNorm(epsilon=1e-6)

    def embed(self, x: Array, hidden: Array | None = None, token: Array | None = None) -> Array:
        """Patches plus positions, after the class token, if there is one, and registers: [B, H, W, C] to [B, N, D].

        With `hidden`, bool[B, patches], a token float[B, 1, D] takes the place of those patches.
        """
        batch, height, width, channels = x.shape
        p = self.patch_size
        if height % p or width % p:
            raise UserError(f"images of {height}x{width} do not divide into patches of {p}x{p}")
        rows, cols = self._grid(x)
        x = x.reshape(batch, rows, p, cols, p, channels).swapaxes(2, 3)
        x = self.patches(x.reshape(batch, rows * cols, p * p * channels)).astype(jnp.float32)
        if hidden is not None and token is not None:
            x = jnp.where(hidden[..., None], token, x)
        prefix, grid = self._positions(rows, cols)
        x, before = x + grid, []
        if self.pool == "cls":
            before.append(self.cls + prefix)
        if self.registers:
            before.append(self.register)
        wide = [jnp.broadcast_to(each, (batch, *each.shape[1:])) for each in before]
        return jnp.concatenate([*wide, x], axis=1)

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches."""
        return int(self.pool == "cls") + self.registers

    def encode(self, tokens: Array, train: bool, grid: tuple[int, int] | None = None) -> Array:
        """The blocks and the final norm: [B, N, D] to [B, N, D], for any subset of the tokens; on a grid for all."""
        if self.scan and train and not self.is_initializing():
            return self.norm(self._scanned(tokens))
        for number, block in enumerate(self.blocks, 1):
            tokens = block(tokens, train)
            record(self, f"block{number}", tokens, grid)
        tokens = self.norm(tokens)
        record(self, f"block{self.layers}", tokens, grid)
        return tokens

    def _scanned(self, tokens: Array) -> Array:
        """All blocks in training, as one that runs with the parameters of each."""
        each = [block.variables["params"] for block in self.blocks]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        drops = self.drop_path > 0 and self.has_rng(DROP_PATH)
        keys = jax.random.split(self.make_rng(DROP_PATH), self.layers) if drops else None
        rates = jnp.asarray(self.rates) if self.drop_path > 0 else None

        def run(tokens: Array, own: tuple[Params, Array | None, Array | None]) -> tuple[Array, None]:
            params, rate, key = own
            heads, drop = self.blocks[0].heads, 0.0 if rate is None else rate
            scale, how = self.layer_scale, self.attention
            block = Block(heads, drop, self.dtype, implementation=how, layer_scale=scale, parent=None)
            rngs = None if key is None else {DROP_PATH: key}
            return block.apply({"params": params}, tokens, True, rngs=rngs), None  # type: ignore[return-value]

        run = jax.checkpoint(run) if self.remat else run
        return jax.lax.scan(run, tokens, (stacked, rates, keys))[0]

    def tokens(self, x: Array, train: bool) -> Array:
        """All tokens after the final layer norm, float32 [B, N, D]: class token, registers, patches."""
        return self.encode(self.embed(x), train, self._grid(x))

    def visible(self, x: Array, keep: Array, train: bool) -> Array:
        """Tokens of some patches alone, which see no other ones: float32 [B, V, D], after class token and registers.

        Args:
          x: images [B, H, W, C].
          keep: positions of those patches, int[B, V].
          train: as everywhere.
        """
        prefix, patches = jnp.split(self.embed(x), [self.prefix], axis=1)
        chosen = jnp.take_along_axis(patches, keep[..., None], axis=1)
        return self.encode(jnp.concatenate([prefix, chosen], axis=1), train)

    def masked(self, x: Array, hidden: Array, token: Array, train: bool) -> Array:
        """All tokens, where another one has taken the place of some patches: float32 [B, N, D].

        Args:
          x: images [B, H, W, C].
          hidden: which patches, bool[B, patches].
          token: what the encoder sees of them beside their positions, float[B, 1, D].
          train: as everywhere.
        """
        return self.encode(self.embed(x, hidden, token), train)

    def feature_map(self, x: Array, train: bool) -> Array:
        """The tokens of the patches where they lie, float32 [B, h, w, D]."""
        rows, cols = self._grid(x)
        patches = self.tokens(x, train)[:, -rows * cols :]
        return patches.reshape(len(x), rows, cols, self.features)

    def __call__(self, x: Array, train: bool) -> Array:
        tokens = self.tokens(x, train)
        return tokens[:, 0] if self.pool == "cls" else tokens[:, self.prefix :].mean(axis=1)

    def _grid(self, x: Array) -> tuple[int, int]:
        """Rows and columns of the patches of images."""
        return x.shape[1] // self.patch_size, x.shape[2] // self.patch_size

    def _positions(self, rows: int, cols: int) -> tuple[Array, Array]:
        """Positions of the class token [1, 0 or 1, D] and of the patches [1, rows * cols, D]."""
        if self.positions == "sincos2d":
            prefix = jnp.zeros((1, int(self.pool == "cls"), self.features))
            return prefix, jnp.asarray(sincos2d(rows, cols, self.features))[None]
        side = self.image_size // self.patch_size
        prefix, grid = jnp.split(self.position, [int(self.pool == "cls")], axis=1)
        if (rows, cols) != (side, side):
            grid = grid.reshape(side, side, self.features)
            grid = jax.image.resize(grid, (rows, cols, self.features), "bicubic", antialias=False)
            grid = grid.reshape(1, rows * cols, self.features)
        return prefix, grid
