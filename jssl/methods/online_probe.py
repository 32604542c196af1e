"""A linear classifier trained beside any method on features that get no gradient from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jssl import models, rng
from jssl.methods.base import Context, Extract, Method, Output, Refreshed, some_images
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
        """The linear layer on the features."""
        return models.linear(self.classes)

    def check(self, batch: Batch) -> None:
        self.inner.check(batch)

    def init(self, key: Array, batch: Batch) -> tuple[Params, State]:
        params, state = self.inner.init(key, batch)
        h = self.inner.outputs(params, state, some_images(batch))["features"]
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

    @property
    def frozen(self) -> tuple[str, ...]:
        return self.inner.frozen

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.inner.modalities

    def constrained(self, params: Params) -> Params:
        return self.inner.constrained(params)

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        return self.inner.after_update(params, state, ctx)

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return self.inner.view_names(batch)

    @property
    def sharded(self) -> tuple[str, ...]:
        return self.inner.sharded

    @property
    def auxiliary(self) -> tuple[str, ...]:
        return (*self.inner.auxiliary, "probe")

    @property
    def refresh_every(self) -> str:
        return self.inner.refresh_every

    def refresh(self, params: Params, state: State, extract: Extract, key: Array) -> Refreshed:
        found = self.inner.refresh(params, state, extract, key)
        return found._replace(params={**found.params, "probe": params["probe"]})

    def eval_encoder(self, params: Params, state: State) -> tuple[Params, State]:
        return self.inner.eval_encoder(params, state)

    def outputs(
        self, params: Params, state: State, inputs: Array, modality: str = "image"
    ) -> dict[str, Array]:
        """The method's; the probe's `logits` where the method has no classifier of its own."""
        found = self.inner.outputs(params, state, inputs, modality)
        if modality != "image":
            return found
        return {"logits": self.probe.apply(params["probe"], {}, found["features"], train=False)[0], **found}

    def collapse_causes(self) -> tuple[str, ...]:
        return self.inner.collapse_causes()
