"""A linear classifier trained beside any method on features that get no gradient from it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from jssl import models, rng
from jssl.methods.base import Context, Method, Output
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class OnlineProbe(Method):
    """Adds the cross entropy of a linear layer on `stop_gradient(features)` of the rows with a label.

    The encoder's gradient is that of the inner method. `params['probe']` is the layer.
    """

    inner: Method = None  # type: ignore[assignment]
    classes: int = 0

    @functools.cached_property
    def probe(self) -> models.Network:
        """The linear layer."""
        return models.linear(self.classes)

    def check(self, batch: Batch) -> None:
        self.inner.check(batch)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = self.inner.init(key, batch)
        h = self.inner.features(params, state, next(iter(batch.values()))["views"][0])
        probe, _ = self.probe.init(rng.derive(key, "probe"), h)
        return {**params, "probe": probe}, state

    def loss(self, params: Params, state: State, batch: Batch, ctx: Context) -> tuple[Array, Output]:
        value, output = self.inner.loss(params, state, batch, ctx)
        h, labels = jax.lax.stop_gradient(output.features), output.labels
        if h is None or labels is None:
            raise TypeError(f"{type(self.inner).__name__} gives no features to probe: set evals.online=False")
        known = labels >= 0
        logits = self.probe.apply(params["probe"], {}, h, train=True)[0]
        each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
        count = jnp.maximum(1, jnp.sum(known))
        right = (jnp.argmax(logits, axis=-1) == labels) & known
        probe_loss = jnp.sum(jnp.where(known, each, 0)) / count
        metrics = {"online/loss": probe_loss, "online/top1": jnp.sum(right) / count}
        metrics = {**output.metrics, **jax.lax.stop_gradient(metrics)}
        return value + probe_loss, output._replace(metrics=metrics)

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        return self.inner.after_update(params, state, ctx)

    @property
    def sharded(self) -> tuple[str, ...]:
        return self.inner.sharded

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        return self.inner.eval_encoder(params, state)

    def features(self, params: Params, state: State, images: Array) -> Array:
        return self.inner.features(params, state, images)

    def embed(self, params: Params, state: State, images: Array) -> Array:
        return self.inner.embed(params, state, images)

    def assignments(self, params: Params, state: State, images: Array) -> Array | None:
        return self.inner.assignments(params, state, images)

    def collapse_causes(self) -> tuple[str, ...]:
        return self.inner.collapse_causes()

    def logits(self, params: Params, state: State, images: Array) -> Array:
        """The method's own classifier's, if it has one."""
        if type(self.inner).logits is not Method.logits:
            return self.inner.logits(params, state, images)
        return self.probe.apply(params["probe"], {}, self.features(params, state, images), train=False)[0]
