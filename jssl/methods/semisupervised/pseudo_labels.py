"""Pseudo-labelling terms: the classifier's own confident predictions serve as labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jssl import losses, settings
from jssl.losses import PseudoLabels
from jssl.methods.base import ViewRef
from jssl.methods.momentum import ema
from jssl.methods.view_task import TaskLoss, TermInputs, ViewTask
from jssl.types import Array, Batch, Metrics, Params, State


@dataclasses.dataclass(frozen=True)
class FixMatch(ViewTask):
    """FixMatch: the confident prediction on a weak view is the label of a strong one (Sohn et al., 2020).

    https://arxiv.org/abs/2001.07685. The mean is over all images, whether their pseudo-label counts or not.

    Attributes:
      weak: name of the view that is labelled.
      strong: name of the view that learns the label.
      threshold: confidence from which a pseudo-label counts, in [0, 1].
    """

    weak: str = "weak"
    strong: str = "strong"
    threshold: float = settings.fraction(0.95)

    @property
    def pair(self) -> tuple[ViewRef, ViewRef]:
        """References to the weak and the strong view."""
        return ViewRef("unlabeled", self.weak), ViewRef("unlabeled", self.strong)

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return {"unlabeled": (self.weak, self.strong)}

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return tuple(dict.fromkeys(self.pair))

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        weak, strong = (inputs.predictions[ref].logits for ref in self.pair)
        pseudo = losses.pseudo_labels(weak)
        weight, state = self.weights(pseudo, state, inputs)
        value = losses.weighted_cross_entropy(strong, self.target(weak, pseudo), weight)
        return TaskLoss(value + self.more(strong, weight, state), state, quality(pseudo, weight))

    def weights(self, pseudo: PseudoLabels, state: State, inputs: TermInputs) -> tuple[Array, State]:
        """How much each pseudo-label counts, float32[N] in [0, 1], and the new state."""
        return (pseudo.confidence >= self.threshold).astype(jnp.float32), state

    def target(self, logits: Array, pseudo: PseudoLabels) -> Array:
        """The labels of the strong view: classes int32[N] or distributions float32[N, C]."""
        return pseudo.label

    def more(self, strong: Array, weight: Array, state: State) -> Array | float:
        """A further term, which is added to the loss."""
        return 0.0


@dataclasses.dataclass(frozen=True)
class PseudoLabel(FixMatch):
    """Pseudo-label with a threshold: the prediction on a view is the label of the same view (Lee, 2013).

    Attributes:
      weak, strong: names of the views; one and the same here.
    """

    strong: str = "weak"


@dataclasses.dataclass(frozen=True)
class UDA(FixMatch):
    """UDA: the target is the weak view's distribution, sharpened (Xie et al., 2019). https://arxiv.org/abs/1904.12848

    A cross entropy, which has the gradient of the paper's divergence. The threshold is for the distribution before it
    is sharpened. The annealing of the labelled loss (TSA) is left out, as in the paper's image experiments.

    Attributes:
      temperature: temperature of the pseudo-labels; below 1 sharpens them.
    """

    threshold: float = settings.fraction(0.8)
    temperature: float = settings.positive(0.4)

    def target(self, logits: Array, pseudo: PseudoLabels) -> Array:
        return losses.pseudo_labels(logits, self.temperature).probabilities


@dataclasses.dataclass(frozen=True)
class FlexMatch(FixMatch):
    """FlexMatch: a threshold for every class, lower where pseudo-labels are few (Zhang et al., 2021).

    https://arxiv.org/abs/2110.08263

    state['pseudo_label'] is every image's last confident one, int32[M], -1 before there is one.

    Attributes:
      num_examples: the program knows it.
    """

    num_examples: int = 0

    def init_state(self, params: Params) -> State:
        counts = jnp.zeros(self.classes, jnp.float32)
        return {"pseudo_label": jnp.full(self.num_examples, -1, jnp.int32), "counts": counts}

    def weights(self, pseudo: PseudoLabels, state: State, inputs: TermInputs) -> tuple[Array, State]:
        counts = state["counts"]
        thresholds = losses.flexible_thresholds(counts, self.num_examples - jnp.sum(counts), self.threshold)
        weight = (pseudo.confidence >= thresholds[pseudo.label]).astype(jnp.float32)
        index = inputs.batch["unlabeled"]["index"]  # no image is in a batch twice
        old = state["pseudo_label"][index]
        new = jnp.where(pseudo.confidence >= self.threshold, pseudo.label, old)
        more, less = (jnp.sum(jax.nn.one_hot(x, len(counts)), axis=0) for x in (new, old))
        pseudo_label = state["pseudo_label"].at[index].set(new)
        return weight, {"pseudo_label": pseudo_label, "counts": counts + more - less}


@dataclasses.dataclass(frozen=True)
class FreeMatch(FixMatch):
    """FreeMatch: thresholds that follow the confidence, and fairness (Wang et al., 2022). https://arxiv.org/abs/2205.07246

    Attributes:
      threshold: of no use here: it adapts by itself.
      momentum: momentum of the running means.
      fairness: weight of the fairness term.
    """

    threshold: float = settings.fraction(0.0)
    momentum: float = settings.fraction(0.999)
    fairness: float = settings.weight(0.01)

    def init_state(self, params: Params) -> State:
        even = jnp.full(self.classes, 1 / self.classes)
        return {"confidence": even[0], "probabilities": even, "histogram": even}

    def weights(self, pseudo: PseudoLabels, state: State, inputs: TermInputs) -> tuple[Array, State]:
        found = {
            "confidence": jnp.mean(pseudo.confidence),
            "probabilities": jnp.mean(pseudo.probabilities, axis=0),
            "histogram": jnp.mean(jax.nn.one_hot(pseudo.label, pseudo.probabilities.shape[1]), axis=0),
        }
        state = ema(state, found, self.momentum)
        thresholds = losses.free_thresholds(state["confidence"], state["probabilities"])
        return (pseudo.confidence >= thresholds[pseudo.label]).astype(jnp.float32), state

    def more(self, strong: Array, weight: Array, state: State) -> Array | float:
        return self.fairness * losses.self_adaptive_fairness(
            strong, weight, state["probabilities"], state["histogram"]
        )


@dataclasses.dataclass(frozen=True)
class SoftMatch(FixMatch):
    """SoftMatch: no threshold but a weight that falls below the mean confidence (Chen et al., 2023).

    The distribution is aligned to a uniform one for the weight alone; the label is that of the prediction as it is.
    https://arxiv.org/abs/2301.10921

    Attributes:
      threshold: of no use here: it adapts by itself.
      momentum: momentum of the running moments.
      width: the Gaussian's, in standard deviations; see `losses.softmatch_weights`.
    """

    threshold: float = settings.fraction(0.0)
    momentum: float = settings.fraction(0.999)
    width: float = settings.positive(2.0)

    def init_state(self, params: Params) -> State:
        even = jnp.full(self.classes, 1 / self.classes)
        return {"confidence": even[0], "variance": jnp.ones(()), "probabilities": even}

    def weights(self, pseudo: PseudoLabels, state: State, inputs: TermInputs) -> tuple[Array, State]:
        means = ema(state["probabilities"], jnp.mean(pseudo.probabilities, axis=0), self.momentum)
        confidence = jnp.max(losses.distribution_alignment(pseudo.probabilities, means), axis=-1)
        found = {"confidence": jnp.mean(confidence), "variance": jnp.var(confidence, ddof=1)}
        state = {**ema({name: state[name] for name in found}, found, self.momentum), "probabilities": means}
        return losses.softmatch_weights(confidence, state["confidence"], state["variance"], self.width), state


def quality(pseudo: PseudoLabels, weight: Array) -> Metrics:
    """Which part of the pseudo-labels counts, their confidence, and the part of the largest class (1: collapsed)."""
    shares = jnp.mean(jax.nn.one_hot(pseudo.label, pseudo.probabilities.shape[1]), axis=0)
    return {
        "mask_ratio": jnp.mean(weight),
        "confidence": jnp.mean(pseudo.confidence),
        "largest_class_fraction": jnp.max(shares),
    }
