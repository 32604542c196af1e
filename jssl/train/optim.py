"""optax chains by name: schedules, masks, learning-rate scaling, groups of parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from jssl.errors import UserError
from jssl.train.durations import Clock
from jssl.types import Array, Params, PyTree

Schedule = Callable[[Any], Any]
Lengths = dict[str, Any]  # see `lengths`
TOP = ("final_bn", "norm", "head")  # modules of encoders that come after all numbered ones
NAMES = ("sgd", "lars", "adamw", "lamb")
SCHEDULES = ("cosine", "cosine_7_16", "step", "constant")
SHORT_WARMUP = 0.1  # part of a run that is shorter than its warm-up
SCALINGS = {
    "linear": lambda batch_size, base: batch_size / base,
    "sqrt": lambda batch_size, base: math.sqrt(batch_size / base),
    "none": lambda batch_size, base: 1.0,
}


def peak_lr(config: Any, batch_size: int) -> float:
    """`lr` scaled to the batch: linear is lr * B / base (Goyal et al., 2017), sqrt is lr * sqrt(B / base)."""
    return config.lr * SCALINGS[config.lr_scaling](batch_size, config.lr_base_batch_size)


def warmup_steps(config: Any, clock: Clock) -> int:
    """Steps of the warm-up: a tenth of the run if what is asked for fills it, as in a preset that is shortened."""
    asked = clock.steps(config, "warmup")
    return asked if asked < clock.total_steps else round(SHORT_WARMUP * clock.total_steps)


def warn_of_warmup(config: Any, clock: Clock) -> None:
    """Says so if the warm-up is not what is asked for."""
    asked, taken = clock.steps(config, "warmup"), warmup_steps(config, clock)
    if asked != taken:
        logging.warning(
            "the warm-up of %d steps (optim.warmup_*) fills the run of %d: it takes %d steps instead",
            *(asked, clock.total_steps, taken),
        )


def lengths(config: Any, clock: Clock) -> dict[str, Any]:
    """The lengths of a run that its optimiser's schedules depend on, in steps.

    They are given to a compiled step, so that it serves runs of other lengths: with those of the clock `warmup`,
    `step_at` and `freeze`, of the groups that wait.
    """
    frozen = {name: clock.steps(group, "freeze") for name, group in config.groups.items()}
    return {
        **clock.lengths,
        "warmup": np.int32(warmup_steps(config, clock)),
        "step_at": tuple(np.int32(round(part * clock.total_steps)) for part in config.step_at),
        "freeze": {name: np.int32(steps) for name, steps in frozen.items() if steps},
    }


def make_schedule(config: Any, clock: Clock, given: Lengths | None = None) -> Schedule:
    """Linear warm-up to the scaled rate, then cosine to `final_lr_factor` of it, steps, or constant.

    A warm-up that fills the run takes a tenth of it instead. 'cosine_7_16' is FixMatch's cos(7 pi t / 16 T), which ends
    at a fifth of the rate.

    Args:
      config: the section `optim`.
      clock: of the run.
      given: `lengths` of another run, perhaps traced, instead of the clock's.
    """
    peak, of = peak_lr(config, clock.batch_size), lengths(config, clock) if given is None else given
    warmup, total = of["warmup"], of["total_steps"]

    def factor(step: Any) -> Any:
        part = jnp.clip((step - warmup) / (total - warmup), 0.0, 1.0)
        if config.schedule == "cosine":
            return (1 - config.final_lr_factor) * (1 + jnp.cos(jnp.pi * part)) / 2 + config.final_lr_factor
        if config.schedule == "cosine_7_16":
            return jnp.cos(7 * jnp.pi * part / 16)
        value = jnp.ones(())
        for boundary in of["step_at"] if config.schedule == "step" else ():
            value = value * jnp.where(step < boundary, 1.0, config.step_factor)
        return value

    # The first update already moves: (t + 1) / warmup of the peak at step t.
    return lambda step: (
        peak
        * jnp.where(step < warmup, (step + 1) / jnp.maximum(warmup, 1), factor(jnp.maximum(step, warmup)))
    )


def is_matrix(params: Params) -> PyTree:
    """True for kernels, False for biases and normalisation: what weight decay and LARS adapt."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def without(tree: Params, names: Sequence[str]) -> list[Array]:
    """The leaves of other entries; a name is the path of one, such as 'probe' or 'terms/inpainting/discriminator'."""
    paths = jax.tree.leaves(path_names(tree))
    return [leaf for path, leaf in zip(paths, jax.tree.leaves(tree)) if not _is_within(path, names)]


def _is_within(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") for name in names)


def reset(opt_state: PyTree, fresh: PyTree, params: Params, names: Sequence[str]) -> PyTree:
    """The state of an optimiser in which that of some top-level entries of the parameters begins anew.

    Counts of steps go on, but for that of Adam's bias correction where all of its moments begin anew.
    """
    paths = {tuple(path) for path, _ in jax.tree_util.tree_leaves_with_path(params) if path[0].key in names}

    def begins(path: Any) -> bool:
        return any(tuple(path[start:]) in paths for start in range(len(path)))

    def choose(path: Any, old: Any, new: Any) -> Any:
        if not isinstance(old, optax.ScaleByAdamState):
            return new if begins(path) else old
        whole = all(begins(own) for own, _ in jax.tree_util.tree_leaves_with_path(old.mu))
        moments = (
            jax.tree_util.tree_map_with_path(choose, *pair) for pair in ((old.mu, new.mu), (old.nu, new.nu))
        )
        return optax.ScaleByAdamState(new.count if whole else old.count, *moments)

    return jax.tree_util.tree_map_with_path(
        choose, opt_state, fresh, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState)
    )


def path_names(params: Params) -> PyTree:
    """The path of every leaf, as 'encoder/block1/conv/kernel'."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def clip_each(norm: float) -> optax.GradientTransformation:
    """Shortens every parameter's gradient to a Euclidean norm, on its own, as DINO does."""

    def clip(u: Array) -> Array:
        return u * jnp.minimum(1.0, norm / jnp.maximum(jnp.linalg.norm(u), 1e-6))

    return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def weight_decay(config: Any, total_steps: Any, since: Any = 0) -> optax.GradientTransformation:
    """Adds weight_decay times the kernels, going to final_weight_decay along a cosine if that is given."""
    start, end = config.weight_decay, config.final_weight_decay
    mask = None if config.decay_all else is_matrix
    if not end:
        return optax.add_decayed_weights(start, mask=mask)

    def schedule(step: Array) -> Array:
        return end + (start - end) * (1 + jnp.cos(jnp.pi * (since + step) / total_steps)) / 2

    decay = optax.inject_hyperparams(optax.add_decayed_weights, static_args="mask")
    return decay(weight_decay=schedule, mask=mask)


def clipped_trust_ratio(coefficient: float, schedule: Schedule) -> optax.GradientTransformation:
    """solo-learn's LARS: the update times min(coefficient * |p| / |u| / rate, 1), to be multiplied by the rate."""

    def scale(updates: PyTree, step: Array, params: Params) -> PyTree:
        def one(u: Array, p: Array) -> Array:
            norm = jnp.linalg.norm(p)
            ratio = coefficient * norm / jnp.maximum(jnp.linalg.norm(u), 1e-12)
            return u * jnp.where(norm > 0, jnp.minimum(ratio / schedule(step), 1.0), 1.0)

        return jax.tree.map(one, updates, params)

    return _by_step(scale)


def make_direction(
    config: Any, total_steps: Any, schedule: Schedule, since: Any = 0
) -> optax.GradientTransformation:
    """The update of a named optimiser before the learning rate, for parameters that wait for so many steps, `since`."""
    decay = weight_decay(config, total_steps, since)
    if config.name == "sgd":
        return optax.chain(decay, optax.trace(config.momentum, nesterov=config.nesterov))
    if config.name == "lars":
        trust = optax.scale_by_trust_ratio(trust_coefficient=config.trust_coefficient)
        if config.lars_clip:
            trust = clipped_trust_ratio(config.trust_coefficient, lambda step: schedule(since + step))
        adapted = optax.chain(decay, optax.masked(trust, is_matrix))
        if config.lars_lr_first:
            return adapted
        return optax.chain(adapted, optax.trace(config.momentum, nesterov=config.nesterov))
    adam = optax.chain(optax.scale_by_adam(config.b1, config.b2, config.eps), decay)
    if config.name == "adamw":
        return adam
    return optax.chain(adam, optax.masked(optax.scale_by_trust_ratio(), is_matrix))


def make_optimizer(
    config: Any,
    clock: Clock,
    params: Params,
    auxiliary: Sequence[str] = (),
    given: Lengths | None = None,
    separate: bool = False,
) -> tuple[optax.GradientTransformation, Schedule]:
    """The whole chain, and the schedule of its learning rate.

    Weight decay (unless `decay_all`) and LARS adaptation leave out one-dimensional parameters. LARS multiplies by the
    rate before the momentum, as SimCLR's does, unless `lars_lr_first` is False (BYOL, Barlow Twins, MoCo v3).

    Args:
      config: the section `optim` of a config that was validated.
      params: the parameters or their shapes.
      auxiliary: entries of them whose gradients neither count for clipping by the global norm nor are clipped.
      given: see `make_schedule`.
      separate: whether every top-level entry has a state of its own, so that one can begin anew, see `reset`.

    Raises:
      UserError: for a group that matches no parameter, or groups that overlap.
    """
    of = lengths(config, clock) if given is None else given
    schedule, freeze = make_schedule(config, clock, of), of["freeze"]
    clip = optax.clip_by_global_norm(config.clip_norm)
    clipped = jax.tree.map(lambda path: not _is_within(path, auxiliary), path_names(params))
    parts = [optax.masked(clip, clipped)] if config.clip_norm else []
    if config.clip_each_norm:
        parts.append(clip_each(config.clip_each_norm))
    groups, peak = group_of(config, params), peak_lr(config, clock.batch_size)
    directions, labels = (
        {},
        {
            entry: jax.tree.map(lambda name: f"{name}/{entry}" if separate else name, part)  # noqa: B023
            for entry, part in groups.items()
        },
    )
    for label in sorted(set(jax.tree.leaves(labels))):
        name = label.partition("/")[0]
        direction = make_direction(config, of["total_steps"], schedule, freeze.get(name, 0))
        directions[label] = waiting(direction, freeze[name]) if name in freeze else direction
    parts.append(optax.partition(directions, labels))
    rates = {
        name: group_rate(group, freeze.get(name, 0), schedule, peak) for name, group in config.groups.items()
    }
    parts.append(scale_by_rates(groups, {"": schedule, **rates}))
    if config.layer_decay < 1:
        factors = layer_factors(params, config.layer_decay)
        parts.append(optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors)))
    if config.name == "lars" and config.lars_lr_first:
        parts.append(optax.trace(config.momentum, nesterov=config.nesterov))
    return optax.chain(*parts), schedule


def group_of(config: Any, params: Params) -> PyTree:
    """For every leaf the name of the group whose pattern its path begins with, '' for none."""
    names = path_names(params)
    patterns = {}
    for name, group in config.groups.items():
        if not group.pattern:
            continue
        try:
            patterns[name] = re.compile(group.pattern)
        except re.error as error:
            raise UserError(f"optim.groups.{name}.pattern={group.pattern!r}: {error}") from error
        if not any(patterns[name].match(path) for path in jax.tree.leaves(names)):
            raise UserError(
                f"optim.groups.{name}.pattern={group.pattern!r} matches no parameter: paths begin with "
                f"{', '.join(sorted({path.rpartition('/')[0] for path in jax.tree.leaves(names)})[:8])}, ..."
            )

    def find(path: str) -> str:
        found = [name for name, pattern in patterns.items() if pattern.match(path)]
        if len(found) > 1:
            raise UserError(
                f"optim.groups: {' and '.join(found)} both match {path}; make their patterns disjoint"
            )
        return found[0] if found else ""

    return jax.tree.map(find, names)


def group_rate(group: Any, freeze: Any, schedule: Schedule, peak: float) -> Schedule:
    """The rate of a group: a factor of the common one (or of its peak, constant), 0 while it is frozen."""

    def rate(step: Array) -> Array:
        common = peak if group.constant_lr else schedule(step)
        return jnp.where(step < freeze, 0.0, group.lr_factor * common)

    return rate


def scale_by_rates(groups: PyTree, rates: dict[str, Schedule]) -> optax.GradientTransformation:
    """Multiplies every leaf by minus the rate of its group."""

    def scale(updates: PyTree, step: Array, params: Params) -> PyTree:
        del params
        values = {name: rate(step) for name, rate in rates.items()}
        return jax.tree.map(lambda u, name: (-values[name] * u).astype(u.dtype), updates, groups)

    return _by_step(scale)


def layer_factors(params: Params, decay: float) -> PyTree:
    """The factors of layer-wise decay for every leaf: `decay` to the power of the number of layers above it.

    Layers are the encoder's modules that are counted in its parameters ('conv0', 'stage2_block1', 'blocks_11'), in the
    order of their numbers, modules of one number being one layer. What has no number comes before them all, but for the
    last normalisation, which keeps the whole rate, as what is not the encoder's does (Clark et al., 2020, as in
    He et al., 2022). https://arxiv.org/abs/2003.10555
    """
    names = path_names(params)

    def module(path: str) -> str:
        return re.sub(r"^encoder/((base|first|others)/)*", "", path).partition("/")[0]

    def place(path: str) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", module(path))))

    def factor(path: str) -> float:
        if path not in ours or module(path) in TOP:
            return 1.0
        return decay ** (len(order) - order.index(place(path)))

    ours = {path for path in jax.tree.leaves(names) if path.startswith("encoder/")}
    order = sorted({place(path) for path in ours} | {()})
    return jax.tree.map(factor, names)


def waiting(inner: optax.GradientTransformation, steps: Any) -> optax.GradientTransformation:
    """Does nothing for some steps and then begins afresh: no momentum, no bias correction from before."""

    def init(params: Params) -> tuple[Array, PyTree]:
        return jnp.zeros((), jnp.int32), inner.init(params)

    def update(
        updates: PyTree, state: tuple[Array, PyTree], params: Params | None = None
    ) -> tuple[PyTree, tuple[Array, PyTree]]:
        count, before = state
        moved, after = inner.update(updates, before, params)
        still = count < steps
        moved = jax.tree.map(lambda u: jnp.where(still, jnp.zeros_like(u), u), moved)
        after = jax.tree.map(lambda old, new: jnp.where(still, old, new), before, after)
        return moved, (count + 1, after)

    return optax.GradientTransformation(init, update)


def _by_step(function: Callable[[PyTree, Array, Params], PyTree]) -> optax.GradientTransformation:
    """A transformation that is a function of the updates, of how many came before, and of the parameters."""

    def init(params: Params) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: optax.ScaleByScheduleState, params: Params | None = None
    ) -> tuple[PyTree, optax.ScaleByScheduleState]:
        return function(updates, state.count, params), optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)
