"""The compiled parts of a run, built from shapes alone: no data, no devices, any mesh.

The planner, the tests and the notebooks build and compile the very train step that the loop runs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jssl import models, parallel, rng
from jssl.data import augment
from jssl.data.streams import DataInfo, Stream, augmented, make_streams, sound_view, view_shapes
from jssl.errors import UserError
from jssl.methods import Context, Method, OnlineProbe, Output, RunInfo, make_method
from jssl.methods.base import Extract, some_images
from jssl.methods.multimodal.windows import Clip
from jssl.parallel import microbatches
from jssl.train import durations, flops, optim
from jssl.train.durations import Clock
from jssl.train.state import TrainState
from jssl.types import Array, Batch, Metrics, Params, PyTree, State

Optimizer = tuple[
    optax.GradientTransformation, optim.Schedule | None
]  # with the schedule of its learning rate


@dataclasses.dataclass(frozen=True)
class Program:
    """The compiled functions of a run, and what they are made of."""

    config: Any
    info: DataInfo
    mesh: Mesh
    clock: Clock
    streams: dict[str, Stream]
    views: Batch  # shapes of a batch after augmentation
    method: Method
    optimizer_of: Callable[[optim.Lengths], Optimizer]
    lengths: optim.Lengths

    @functools.cached_property
    def constants(self) -> dict[str, Any]:
        """The seed and the lengths, which a compiled step is given and does not hold, so that it serves other runs."""
        with jax.ensure_compile_time_eval():  # whoever asks first
            seed = np.asarray(jax.random.key_data(rng.root(self.config.seed)))
        return {**self.lengths, "seed": seed}

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser of the run."""
        return self.optimizer_of(self.lengths)[0]

    @property
    def main(self) -> Stream:
        """The first stream: how evaluators see images."""
        return next(iter(self.streams.values()))

    @property
    def size(self) -> int:
        """Side of the images that evaluators see: that of the largest view."""
        return self.main.size

    @property
    def uncropped_size(self) -> int:
        """Side of the squares that the host makes of images of mixed size, of which evaluators see the centre."""
        return round(self.size / self.config.evals.crop_fraction)

    def abstract_batch(self) -> Batch:
        """Shapes, dtypes and shardings of a batch as the pipeline gives it."""
        return {name: stream.abstract(self.info, self.mesh) for name, stream in self.streams.items()}

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the training state."""
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            self._shapes,
            self.shardings,
        )

    @functools.cached_property
    def _shapes(self) -> TrainState:
        return jax.eval_shape(self._init, self.constants)

    @functools.cached_property
    def shardings(self) -> TrainState:
        """Where the state lives: whole on every device, but for what the method says is sharded.

        With `mesh.fsdp` parameters, targets and the optimiser's state are split over the devices too.
        """
        shapes, config, names = self._shapes, self.config.mesh, self.method.sharded
        everywhere = jax.tree.map(lambda _: parallel.replicated(self.mesh), shapes)
        if config.fsdp:
            everywhere = parallel.split_shardings(shapes, self.mesh, config.fsdp_min_size)

        def place(path: Any, x: Any, usual: Any) -> Any:
            found = any(getattr(key, "key", None) in names for key in path)
            return parallel.column_sharding(x, self.mesh) if found else usual

        everywhere = jax.tree_util.tree_map_with_path(place, shapes, everywhere)
        state = self._by_rows(shapes.method_state, everywhere.method_state)
        return dataclasses.replace(everywhere, method_state=state)

    def _by_rows(self, shapes: State, usual: State) -> State:
        """The shardings of a method's state, and of its terms' states, where queues and banks are split by rows."""
        found = {}
        for name, part in shapes.items():
            if name == "terms":
                found[name] = {term: self._by_rows(part[term], usual[name][term]) for term in part}
            else:
                split = name in self.method.sharded
                found[name] = parallel.row_shardings(part, self.mesh) if split else usual[name]
        return found

    def init(self) -> TrainState:
        """A fresh state on the mesh."""
        return self._compiled_init(self.constants)

    @functools.cached_property
    def _compiled_init(self) -> Callable[[dict[str, Any]], TrainState]:
        whole = parallel.replicated(self.mesh)
        return jax.jit(self._init, in_shardings=whole, out_shardings=self.shardings)

    def _init(self, constants: dict[str, Any]) -> TrainState:
        params, method_state = self.init_method(constants)
        opt_state = self.optimizer.init(params)
        return TrainState(jnp.zeros((), jnp.int32), params, method_state, opt_state, constants)

    @functools.cached_property
    def draw(self) -> Callable[[Array, Batch], tuple[Params, State]]:
        """The method's `init`, jitted so that it is traced once."""
        return drawer(self.method)

    def init_method(self, constants: dict[str, Any] | None = None) -> tuple[Params, State]:
        """Fresh parameters and method state; a pure function of the seed and of shapes."""
        key = rng.root_of((self.constants if constants is None else constants)["seed"])
        return self.draw(rng.derive(key, "init"), zeros_like(self.views))

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

    @functools.cached_property
    def refreshes(self) -> frozenset[int]:
        """The numbers of finished steps after which the method is refreshed; before the first step, too."""
        return frozenset(durations.moments(self.method.refresh_every, self.clock))

    def refresh(self, state: TrainState, extract: Extract) -> tuple[TrainState, Mapping[str, float]]:
        """Clusters the data set anew, or whatever the method does between steps; a function of the state.

        Args:
          state: to be refreshed.
          extract: see `Method.refresh`.

        Returns:
          The new state, and numbers to log.
        """
        key = rng.derive(rng.root(self.config.seed), "refresh", state.step)
        found = self.method.refresh(state.params, state.method_state, extract, key)
        begun = jax.jit(self.optimizer.init)(found.params)
        opt_state = optim.reset(state.opt_state, begun, found.params, found.reset)
        after = dataclasses.replace(state, params=found.params, method_state=found.state, opt_state=opt_state)
        return jax.device_put(after, self.shardings), found.metrics

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
            raise UserError(f"method {self.config.method.name}: {error}") from error

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
        constants = state.constants
        key = rng.derive(rng.root_of(constants["seed"]), "step", state.step)
        optimizer, schedule = self.optimizer_of(constants)
        progress = state.step.astype(jnp.float32) / constants["total_steps"]
        ctx = Context(key, state.step, progress, steps_per_epoch=constants["steps_per_epoch"])
        value, output, grads = self._gradient(state.params, state.method_state, batch, ctx)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = self.method.constrained(optax.apply_updates(state.params, updates))
        params = {**params, **{name: state.params[name] for name in self.method.frozen}}
        method_state = self.method.after_update(params, output.state, ctx)
        check_contract(self.method, value, state.method_state, method_state)
        metrics = {
            "loss": value,
            "grad_norm": optax.tree.norm(optim.without(grads, self.method.auxiliary)),
            **output.metrics,
        }
        if schedule is not None:
            metrics["lr"] = jnp.asarray(schedule(state.step), jnp.float32)
        return TrainState(state.step + 1, params, method_state, opt_state, constants), metrics

    def _gradient(
        self, params: Params, state: State, batch: Batch, ctx: Context
    ) -> tuple[Array, Output, Params]:
        """Loss, output and gradient: of the whole batch, or the mean over equal parts of it in turn."""
        parts = self.config.optim.grad_accumulation

        def part(state: State, batch: Batch, number: Array | int) -> tuple[Array, Output, Params]:
            key = rng.derive(ctx.key, "part", number)
            seen = augmented(self.config, rng.derive(key, "augment"), batch, self.streams)
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
        numbered = (jnp.arange(parts), microbatches.split_microbatches(batch, parts))
        (state, grads), (values, metrics) = jax.lax.scan(body, start, numbered)
        metrics = jax.tree.map(jnp.mean, metrics)
        return jnp.mean(values), Output(state, metrics), grads

    def _loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        """The method's, of parameters and targets that `mesh.fsdp` had split."""
        if self.config.mesh.fsdp:
            params = parallel.gathered(params, self.shardings.params, self.mesh, self.method.sharded)
            state = parallel.gathered(state, self.shardings.method_state, self.mesh, self.method.sharded)
        found = self.method.loss(params, state, batch, ctx)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Output)):
            raise UserError(f"{type(self.method).__name__}.loss must return a scalar and an Output")
        return found

    def first_views(self, batch: Batch) -> Batch:
        """The views that the first step makes of the first batch (with optim.grad_accumulation=1), to be looked at."""
        key = rng.derive(rng.root(self.config.seed), "step", 0)
        key = rng.derive(rng.derive(key, "part", 0), "augment")
        return jax.jit(lambda batch: augmented(self.config, key, batch, self.streams))(batch)

    @functools.cached_property
    def layer_names(self) -> tuple[str, ...]:
        """The layers of the encoder whose maps there are, in order of depth; see `Network.layer_maps`."""
        names: list[str] = []

        def look(images: Array) -> None:
            encoder = self.method.eval_encoder(*self.init_method())
            names.extend(self.method.encoder.layer_maps(*encoder, images))

        jax.eval_shape(look, jax.ShapeDtypeStruct((2, self.size, self.size, self.info.channels), np.float32))
        return tuple(names)

    @property
    def features(self) -> Callable[[Params, State, Array], Array]:
        """The jitted representation of integer images, float32[B, D], whole on every device."""
        return self.output("features")

    @property
    def logits(self) -> Callable[[Params, State, Array], Array]:
        """The jitted class scores of integer images, float32[B, classes], whole on every device."""
        return self.output("logits")

    @functools.cached_property
    def output_names(self) -> frozenset[str]:
        """The entries of `Method.outputs` for images."""
        params, state = jax.eval_shape(self.init_method)
        return frozenset(output_shapes(self.method, params, state, self.views))

    @functools.cached_property
    def sound(self) -> Callable[[Params, State, Array], dict[str, Array]]:
        """The jitted outputs of waveforms int16[B, samples], whole on every device."""

        def apply(params: Params, state: State, waves: Array) -> dict[str, Array]:
            return self.method.outputs(params, state, self.main.sound.pictures(waves), "audio")

        return jax.jit(apply, out_shardings=parallel.replicated(self.mesh))

    @functools.cached_property
    def text_embedding(self) -> Callable[[Params, State, Array], Array]:
        """The jitted embedding of tokens int32[B, N], float32[B, D], whole on every device."""
        return jax.jit(
            lambda params, state, tokens: self.method.outputs(params, state, tokens, "text")["embedding"],
            out_shardings=parallel.replicated(self.mesh),
        )

    def output(self, name: str) -> Callable[[Params, State, Array], Array]:
        """A jitted entry of `Method.outputs` of integer images, whole on every device."""
        if name not in self._jitted:
            self._jitted[name] = self.of_images(self._output(name))
        return self._jitted[name]

    @functools.cached_property
    def _jitted(self) -> dict[str, Callable[[Params, State, Array], Array]]:
        return {}

    @functools.cached_property
    def logits_of_crops(self) -> Callable[[Params, State, Array], Array]:
        """As `logits`, the logarithm of the mean probability over five crops and four turns (MOAM)."""

        def turned(images: Array) -> list[Array]:
            return [
                jnp.rot90(crop, quarters, axes=(1, 2))
                for crop in augment.five_crops(images)
                for quarters in range(4)
            ]

        return self.of_images(self._output("logits"), turned)

    def _output(self, name: str) -> Callable[[Params, State, Array], Array]:
        """One entry of `Method.outputs`."""
        return lambda params, state, images: self.method.outputs(params, state, images)[name]

    def of_images(
        self,
        function: Callable[[Params, State, Array], Array],
        variants: Callable[[Array], list[Array]] | None = None,
    ) -> Callable[..., Array]:
        """A jitted function of integer images, as evaluators see them.

        Args:
          function: (params, state, float32[B, S, S, C]) -> float32[B, ...].
          variants: of images in [0, 1], each of which is passed: the result is the log of the mean softmax.

        Returns:
          (params, state, integer images) -> the function's value, whole on every device.
        """
        size, to_float, seen = self.size, self.main.to_float, self.main.seen
        fraction = self.config.evals.crop_fraction

        def apply(params: Params, state: State, images: Array) -> Array:
            images = augment.center_resize(seen(images), size, fraction=fraction)
            if variants is None:
                return function(params, state, to_float(images))
            total: Array | float = 0.0
            made = variants(augment.to_float(images))
            for variant in made:
                total = total + jax.nn.softmax(function(params, state, to_float(variant)))
            return jnp.log(jnp.maximum(total / len(made), 1e-30))

        return jax.jit(apply, out_shardings=parallel.replicated(self.mesh))


def make_program(
    config: Any,
    info: DataInfo,
    mesh: Mesh | None = None,
    for_training: bool = True,
    own_method: Callable[[RunInfo], Method | None] = lambda _: None,
    own_encoder: models.Network | None = None,
    own_optimizer: optax.GradientTransformation | None = None,
) -> Program:
    """Checks a config against the data's shape and builds the program.

    Args:
      config: the whole config of a run, validated.
      info: what the data look like.
      mesh: over all devices if not given.
      for_training: False for those who only look at a run: its batch need not split over their devices.
      own_method: makes a method in the place of the config's; None for that.
      own_encoder: in the place of the config's.
      own_optimizer: in the place of the config's.

    Raises:
      UserError: for whatever in the config is wrong; nothing has been computed by then.
    """
    mesh = parallel.make_mesh() if mesh is None else mesh
    streams, parts = make_streams(config, info), config.optim.grad_accumulation
    for stream in streams.values() if for_training else ():
        check_rows(stream, parts, config.optim.grad_cache, mesh)
    clock = durations.make_clock(config, streams[config.data.epochs_of].num_examples)
    dtype = compute_dtype(config, mesh)
    encoder = models.encoder(config.encoder, dtype=dtype) if own_encoder is None else own_encoder
    encoder = dataclasses.replace(encoder, chunks=config.optim.grad_cache)
    views = view_shapes(config, info, streams, mesh)
    if own_encoder is not None:
        check_encoder(encoder, some_images(views))
    facts = run_info(config, info, encoder, mesh)
    method = own_method(facts) or make_method(config.method, facts)
    if durations.moments(method.refresh_every, clock) and type(method).refresh is Method.refresh:
        raise UserError(f"{type(method).__name__} has refresh_every={method.refresh_every!r}, but no refresh")
    if config.evals.online and info.num_classes:
        method = OnlineProbe(method.encoder, method, info.num_classes)
    method.check(
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0] // parts, *x.shape[1:]), x.dtype), views)
    )
    check_all_used(method, views)
    draw = drawer(method)
    params, state = jax.eval_shape(draw, rng.root(0), jax.eval_shape(lambda: zeros_like(views)))
    outputs = output_shapes(method, params, state, views)
    if "features" not in outputs or outputs["features"].ndim != 2:
        raise UserError(f"{type(method).__name__}.outputs must have 'features', float32[B, D]")
    if config.evals.classifier.enabled and "logits" not in outputs:
        raise UserError(f"evals.classifier.enabled: method {config.method.name!r} has no classifier")
    lengths, optimizer_of = clock.lengths, fixed(own_optimizer)
    if own_optimizer is None:
        if for_training:
            optim.warn_of_warmup(config.optim, clock)
        lengths = optim.lengths(config.optim, clock)
        optimizer_of = functools.partial(
            optim.make_optimizer,
            config.optim,
            clock,
            params,
            method.auxiliary,
            separate=bool(method.refresh_every),
        )
        optimizer_of(lengths)  # which checks it
    prog = Program(config, info, mesh, clock, streams, views, method, optimizer_of, lengths)
    vars(prog)["draw"] = draw  # it has been traced
    return prog


def drawer(method: Method) -> Callable[[Array, Batch], tuple[Params, State]]:
    """The `init` of a method, jitted."""
    return jax.jit(lambda key, views: method.init(key, views))


def fixed(
    optimizer: optax.GradientTransformation | None, schedule: optim.Schedule | None = None
) -> Callable[[optim.Lengths], Optimizer]:
    """An optimiser that holds its lengths itself, with the schedule of its rate if that shall be logged."""
    return lambda _: (optimizer, schedule)


def run_info(config: Any, info: DataInfo, encoder: models.Network, mesh: Mesh) -> RunInfo:
    """The facts of a run that a method may need beside its settings."""
    return RunInfo(
        encoder=encoder,
        dtype=compute_dtype(config, mesh),
        num_examples=info.num_examples,
        mesh=mesh,
        classes=info.num_classes,
        color_space=config.data.color_space,
        text_vocabulary=info.text_vocabulary,
        text_end=info.text_end,
        text_mask=info.text_mask,
        clip=clip_of(config, info),
    )


def clip_of(config: Any, info: DataInfo) -> Clip:
    """Images as clips, whose channels are frames, and their sound."""
    rate, sound = config.data.audio.rate, sound_view(config.data.audio)
    columns = sound.frames(info.audio_samples) if info.audio_samples else 0
    return Clip(info.channels, info.audio_samples / rate, columns, sound.hop / rate)


def check_encoder(encoder: models.Network, images: Array) -> None:
    """Raises UserError unless a network of a user's own gives features of images."""
    name = type(encoder.module).__name__
    try:
        params, stats = jax.eval_shape(encoder.init, rng.root(0), images)
        features = jax.eval_shape(functools.partial(encoder.apply, train=False), params, stats, images)[0]
    except (TypeError, AttributeError) as error:
        raise UserError(
            f"{name} cannot be called as module(x, train): {' '.join(str(error).split())}"
        ) from error
    if getattr(features, "ndim", None) != 2:
        given = f"[{', '.join(map(str, features.shape))}]" if hasattr(features, "shape") else "something else"
        raise UserError(
            f"{name} must give features, float32[B, D], of images, float32[B, H, W, C], and gives {given}"
        )


def check_contract(method: Method, value: Array, before: State, after: State) -> None:
    """Raises UserError if a step is not what the contract says; called while it is traced."""
    try:
        chex.assert_shape(value, ())
        chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    except AssertionError as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{type(method).__name__}: `loss` must return a scalar, and `loss` and `after_update` a state like that of "
            f"`init`, of the same shapes and dtypes: {text[:200]}"
        ) from error


def check_all_used(method: Method, views: Batch) -> None:
    """Raises UserError for a view that the method does not use: its name may be misspelt."""
    names = method.view_names(views)
    for stream, part in views.items():
        for view in part["views"]:
            if names and view not in names.get(stream, ()):
                raise UserError(
                    f"data.{stream}.views.{view} is used by nothing: remove it, or name it in the method's section "
                    f"(which names {', '.join(names.get(stream, ())) or 'none of this stream'})"
                )


def output_shapes(method: Method, params: Params, state: State, views: Batch) -> dict[str, Any]:
    """Shapes of a method's outputs for images: the entries of `Method.outputs`, abstract."""
    return jax.eval_shape(method.outputs, params, state, some_images(views))


def check_rows(stream: Stream, accumulate: int, grad_cache: int, mesh: Mesh) -> None:
    """Raises UserError unless a stream's rows split evenly over the devices, in parts too."""
    parallel.check_batch_size(stream.batch_size, mesh, f"data.{stream.name}.batch_size")
    check_parts("grad_accumulation", accumulate, stream.batch_size, mesh)
    check_parts("grad_cache", grad_cache, stream.batch_size // accumulate, mesh)


def check_parts(name: str, parts: int, batch_size: int, mesh: Mesh) -> None:
    """Raises UserError unless a batch divides into so many parts that split evenly over the devices."""
    if parts < 1 or batch_size % (parts * mesh.size):
        raise UserError(
            f"optim.{name}={parts} must divide the batch of {batch_size} "
            f"into parts that split evenly over {mesh.size} device(s)"
        )


def compute_dtype(config: Any, mesh: Mesh) -> str:
    """'auto' is bfloat16 on accelerators and float32 on CPUs."""
    if config.dtype != "auto":
        return str(config.dtype)
    return "float32" if mesh.devices.flat[0].platform == "cpu" else "bfloat16"


def zeros_like(shapes: PyTree) -> PyTree:
    """Zeros of given shapes, one row each: initialisation reads shapes only."""
    return jax.tree.map(lambda x: jnp.zeros((min(2, x.shape[0]), *x.shape[1:]), x.dtype), shapes)
