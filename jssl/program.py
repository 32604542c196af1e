"""What a run computes, built from shapes alone: no data, no devices, any mesh.

The planner, the tests and the notebooks build and compile the very train step that train.py runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jssl import chunks, durations, flops, models, optim, parallel, rng
from jssl.data import augment
from jssl.data.view_spec import ViewSpec
from jssl.durations import Clock
from jssl.errors import UserError
from jssl.methods import Context, Method, OnlineProbe, Output, make_method
from jssl.state import TrainState
from jssl.types import Array, Batch, Metrics, Params, PyTree, State

LARGEST_DEVICE_CROP = 96  # images up to this side are cropped on the device, larger ones on the host
CROPS = ("auto", "host", "device")


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What a program must know of the data.

    Attributes:
      num_examples: size of the training set.
      image_shape: (H, W, C) of all images, or None if they differ.
      channels: 1 or 3.
      num_classes: 0 if unlabelled.
    """

    num_examples: int
    image_shape: tuple[int, int, int] | None
    channels: int
    num_classes: int = 0


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled parts of a run, and what they are made of."""

    config: Any
    info: DataInfo
    mesh: Mesh
    clock: Clock
    specs: tuple[ViewSpec, ...]
    method: Method
    optimizer: optax.GradientTransformation
    schedule: optim.Schedule

    @property
    def host_crops(self) -> bool:
        """Whether views are cropped on the host."""
        return crop_on_host(self.config, self.info)

    def abstract_batch(self) -> Batch:
        """Shapes, dtypes and shardings of a batch as the pipeline gives it."""
        return abstract_batch(self.config, self.info, self.specs, self.mesh)

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the training state."""
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            jax.eval_shape(self._init),
            self.shardings,
        )

    @functools.cached_property
    def shardings(self) -> TrainState:
        """Where the state lives: whole on every device, but for what the method says is sharded.

        With `mesh.fsdp` parameters, targets and the optimiser's state are split over the devices too.
        """
        shapes, config, names = jax.eval_shape(self._init), self.config.mesh, self.method.sharded
        everywhere = jax.tree.map(lambda _: parallel.replicated(self.mesh), shapes)
        if config.fsdp:
            everywhere = parallel.split_shardings(shapes, self.mesh, config.fsdp_min_size)

        def place(path: Any, x: Any, usual: Any) -> Any:
            found = any(getattr(key, "key", None) in names for key in path)
            return parallel.column_sharding(x, self.mesh) if found else usual

        everywhere = jax.tree_util.tree_map_with_path(place, shapes, everywhere)
        rows = {name: part for name, part in shapes.method_state.items() if name in names}
        state = {**everywhere.method_state, **parallel.row_shardings(rows, self.mesh)}
        return dataclasses.replace(everywhere, method_state=state)

    def init(self) -> TrainState:
        """A fresh state on the mesh."""
        return self._compiled_init()

    @functools.cached_property
    def _compiled_init(self) -> Callable[[], TrainState]:
        return jax.jit(self._init, out_shardings=self.shardings)

    def _init(self) -> TrainState:
        params, method_state = self.init_method()
        return TrainState(jnp.zeros((), jnp.int32), params, method_state, self.optimizer.init(params))

    def init_method(self) -> tuple[Params, State]:
        """Fresh parameters and method state; a pure function of the seed and of shapes."""
        batch = zeros_like(view_shapes(self.config, self.abstract_batch(), self.specs))
        return self.method.init(rng.derive(rng.root(self.config.seed), "init"), batch)

    @functools.cached_property
    def step(self) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
        """The jitted update: augment, loss, optimise, after_update. Donates the state."""
        whole, rows = parallel.replicated(self.mesh), parallel.batch_sharding(self.mesh)
        return jax.jit(
            self._step,
            in_shardings=(self.shardings, rows),
            out_shardings=(self.shardings, whole),
            donate_argnums=0,
        )

    def trace(self) -> None:
        """Goes through the step with shapes only; `compile` needs not do it again.

        Raises:
          UserError: for what only the networks can tell, such as images that do not divide into patches.
        """
        try:
            _ = self.traced
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"config.method {self.config.method.name}: {error}") from error

    @functools.cached_property
    def traced(self) -> jax.stages.Traced:
        """The step as a jaxpr."""
        return self.step.trace(self.abstract_state(), self.abstract_batch())  # type: ignore[attr-defined]

    @property
    def flops(self) -> float:
        """Floating-point operations of a step in matrix products and convolutions, over all devices."""
        return flops.count(self.traced.jaxpr)

    def compile(self) -> jax.stages.Compiled:
        """Compiles the step ahead of time; the result takes what `step` takes."""
        return self.traced.lower().compile()

    def _step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = rng.derive(rng.root(self.config.seed), "step", state.step)
        progress = state.step.astype(jnp.float32) / self.clock.total_steps
        ctx = Context(key, state.step, progress)
        value, output, grads = self._gradient(state.params, state.method_state, batch, ctx)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        method_state = self.method.after_update(params, output.state, ctx)
        metrics = {
            "loss": value,
            "lr": jnp.asarray(self.schedule(state.step), jnp.float32),
            "grad_norm": optax.tree.norm({name: grads[name] for name in grads if name != optim.PROBE}),
            **output.metrics,
        }
        return TrainState(state.step + 1, params, method_state, opt_state), metrics

    def _gradient(
        self, params: Params, state: State, batch: Batch, ctx: Context
    ) -> tuple[Array, Output, Params]:
        """Loss, output and gradient: of the whole batch, or the mean over equal parts of it in turn."""
        parts = self.config.optim.accumulate

        def part(state: State, batch: Batch, number: Array | int) -> tuple[Array, Output, Params]:
            key = rng.derive(ctx.key, "part", number)
            seen = augmented(self.config, rng.derive(key, "augment"), batch, self.specs)
            loss = functools.partial(self._loss, batch=seen, ctx=ctx._replace(key=key))
            (value, output), grads = jax.value_and_grad(loss, has_aux=True)(params, state)
            return value, output._replace(features=None, labels=None), grads

        if parts == 1:
            return part(state, batch, 0)

        def body(carry: tuple[State, Params], number_and_batch: Any) -> Any:
            state, total = carry
            value, output, grads = part(state, number_and_batch[1], number_and_batch[0])
            total = jax.tree.map(lambda t, g: t + g / parts, total, grads)
            return (output.state, total), (value, output.metrics)

        start = (state, jax.tree.map(jnp.zeros_like, params))
        numbered = (jnp.arange(parts), chunks.split_rows(batch, parts))
        (state, grads), (values, metrics) = jax.lax.scan(body, start, numbered)
        metrics = jax.tree.map(jnp.mean, metrics)
        return jnp.mean(values), Output(state, metrics), grads

    def _loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        """The method's, of parameters and targets that `mesh.fsdp` had split."""
        if self.config.mesh.fsdp:
            params = parallel.gathered(params, self.shardings.params, self.mesh, self.method.sharded)
            state = parallel.gathered(state, self.shardings.method_state, self.mesh, self.method.sharded)
        return self.method.loss(params, state, batch, ctx)

    def first_views(self, batch: Batch) -> Batch:
        """The views that the first step makes of the first batch (with optim.accumulate=1), to be looked at."""
        key = rng.derive(rng.root(self.config.seed), "step", 0)
        key = rng.derive(rng.derive(key, "part", 0), "augment")
        return jax.jit(lambda batch: augmented(self.config, key, batch, self.specs))(batch)

    @functools.cached_property
    def features(self) -> Callable[[Params, State, Array], Array]:
        """The jitted representation of uint8 images, float32[B, D], whole on every device."""
        size, data = self.specs[0].size, self.config.data

        def extract(params: Params, state: State, images: Array) -> Array:
            pixels = augment.to_float(augment.center_resize(images, size), data.mean, data.std)
            return self.method.features(params, state, pixels)

        return jax.jit(extract, out_shardings=parallel.replicated(self.mesh))


def make_program(config: Any, info: DataInfo, mesh: Mesh | None = None, for_training: bool = True) -> Program:
    """Checks a config against the data's shape and builds the program.

    Args:
      config: the whole config of a run.
      info: what the data look like.
      mesh: over all devices if not given.
      for_training: False for those who only look at a run: its batch need not split over their devices.

    Raises:
      UserError: for whatever in the config is wrong; nothing has been computed by then.
    """
    mesh = parallel.make_mesh() if mesh is None else mesh
    stream = config.data.unlabeled
    parts = config.optim.accumulate
    if for_training:
        parallel.check_batch_size(stream.batch_size, mesh, "config.data.unlabeled.batch_size")
        check_parts("accumulate", parts, stream.batch_size, mesh)
        check_parts("grad_cache", config.optim.grad_cache, stream.batch_size // parts, mesh)
    if stream.batch_size > info.num_examples:
        raise UserError(
            f"config.data.unlabeled.batch_size={stream.batch_size} is larger than the training set of "
            f"{info.num_examples} images: a batch must not hold an image twice"
        )
    clock = durations.make_clock(config, info.num_examples)
    specs = make_specs(stream)
    dtype = compute_dtype(config, mesh)
    encoder = models.encoder(config.encoder, dtype=dtype)
    encoder = dataclasses.replace(encoder, chunks=config.optim.grad_cache)
    method = make_method(config.method, encoder, dtype, info.num_examples, mesh)
    if config.evals.online and info.num_classes:
        method = OnlineProbe(method.encoder, method, info.num_classes)
    views = view_shapes(config, abstract_batch(config, info, specs, mesh), specs)
    method.check(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0] // parts, *x.shape[1:]), x.dtype), views)
    )
    params, _ = jax.eval_shape(method.init, rng.root(0), views)
    optimizer, schedule = optim.make_optimizer(config.optim, clock, params)
    return Program(config, info, mesh, clock, specs, method, optimizer, schedule)


def check_parts(name: str, parts: int, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError unless a batch divides into so many parts that split evenly over the devices."""
    if parts < 1 or batch_size % (parts * mesh.size):
        raise UserError(
            f"config.optim.{name}={parts} must divide the batch of {batch_size} "
            f"into parts that split evenly over {mesh.size} device(s)"
        )


def make_specs(stream: Any) -> tuple[ViewSpec, ...]:
    """The view specs of a stream, in order."""
    return tuple(ViewSpec.from_mapping(name, view) for name, view in stream.views.items())


def crop_on_host(config: Any, info: DataInfo) -> bool:
    """`data.unlabeled.crop`, where 'auto' means: on the host if images are large or of mixed size."""
    where = config.data.unlabeled.crop
    if where not in CROPS:
        raise UserError(f"config.data.unlabeled.crop={where!r}: valid are {', '.join(CROPS)}")
    if info.image_shape is None and where == "device":
        raise UserError(
            "images of mixed size cannot be cropped on the device: set data.unlabeled.crop='host'"
        )
    too_large = info.image_shape is None or max(info.image_shape[:2]) > LARGEST_DEVICE_CROP
    return where == "host" or (where == "auto" and too_large)


def compute_dtype(config: Any, mesh: Mesh) -> str:
    """'auto' is bfloat16 on accelerators and float32 on CPUs."""
    valid = ("auto", "float32", "bfloat16")
    if config.dtype not in valid:
        raise UserError(f"config.dtype={config.dtype!r}: valid are {', '.join(valid)}")
    if config.dtype != "auto":
        return str(config.dtype)
    return "float32" if mesh.devices.flat[0].platform == "cpu" else "bfloat16"


def abstract_batch(config: Any, info: DataInfo, specs: tuple[ViewSpec, ...], mesh: Mesh) -> Batch:
    """Shapes, dtypes and shardings of a batch as the pipeline gives it."""
    rows = parallel.batch_sharding(mesh)
    batch_size = config.data.unlabeled.batch_size

    def struct(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=rows)

    if crop_on_host(config, info):
        sizes = [spec.size for spec in specs for _ in range(spec.copies)]
        image: PyTree = tuple(struct(jnp.uint8, size, size, info.channels) for size in sizes)
    else:
        assert info.image_shape is not None
        image = struct(jnp.uint8, *info.image_shape)
    return {"unlabeled": {"image": image, "index": struct(jnp.int32), "label": struct(jnp.int32)}}


def augmented(config: Any, key: Array, batch: Batch, specs: tuple[ViewSpec, ...]) -> Batch:
    """Puts `views` in the place of `image`."""
    stream = dict(batch["unlabeled"])
    data, images = config.data, stream.pop("image")
    views = augment.views(key, images, specs, data.mean, data.std, config.optim.grad_cache)
    return {**batch, "unlabeled": {**stream, "views": views}}


def view_shapes(config: Any, batch: Batch, specs: tuple[ViewSpec, ...]) -> Batch:
    """Shapes of a batch after augmentation."""
    return jax.eval_shape(lambda b: augmented(config, rng.root(0), b, specs), batch)


def zeros_like(shapes: PyTree) -> PyTree:
    """Zeros of given shapes, one row each: initialisation reads shapes only."""
    return jax.tree.map(lambda x: jnp.zeros((min(2, x.shape[0]), *x.shape[1:]), x.dtype), shapes)
