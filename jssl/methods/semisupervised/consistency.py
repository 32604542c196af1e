"""Consistency and confidence terms: entropy minimisation, VAT, the Pi model and Mean Teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jssl import losses, settings
from jssl.errors import UserError
from jssl.methods.base import Context, ViewRef
from jssl.methods.batching import interleave
from jssl.methods.momentum import ema
from jssl.methods.view_task import TaskLoss, TermInputs, ViewTask, streams_of
from jssl.schedules import early
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class OneViewTask(ViewTask):
    """A task on one view of the images without labels, and of those with labels if that is asked for.

    Attributes:
      view: name of the view it looks at, of either stream.
      on_labeled: whether it looks at the labelled images, if there are some, too.
      turned: whether it looks at all four turns of every image.
    """

    view: str = "weak"
    on_labeled: bool = False
    turned: bool = False

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return dict.fromkeys(("unlabeled", *streams_of(batch, self.on_labeled)), (self.view,))

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        turns = range(4) if self.turned else (0,)
        streams = streams_of(batch, self.on_labeled)
        return tuple(ViewRef(stream, self.view, 0, quarters) for stream in streams for quarters in turns)


@dataclasses.dataclass(frozen=True)
class EntropyMinimization(OneViewTask):
    """Entropy minimisation: the loss is the entropy of the classifier's predictions.

    References:
      Grandvalet and Bengio, Semi-supervised Learning by Entropy Minimization, 2004.
    """

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        logits = [inputs.predictions[ref].logits for ref in self.requested_views(inputs.batch)]
        return TaskLoss(losses.entropy(interleave(logits)), state, {})


@dataclasses.dataclass(frozen=True)
class VAT(OneViewTask):
    """Virtual adversarial training: predictions are the same after the small change that would move them most.

    Its passes through the network have batch statistics of their own and do not move the running ones.

    Attributes:
      size: Euclidean norm of an image's change, in units of the network's input.
      steps: power iterations.
      reverse: the divergence of the clean prediction from the changed one, KL(changed || clean), as S4L's code has it;
        the paper's, and the default, is KL(clean || changed).

    References:
      Miyato et al., Virtual Adversarial Training, 2017. https://arxiv.org/abs/1704.03976
    """

    size: float = settings.positive(8.0)
    steps: int = settings.size(1)
    reverse: bool = False

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        images = interleave([inputs.images[ref] for ref in self.requested_views(inputs.batch)])
        change = losses.adversarial_direction(inputs.classify, images, inputs.ctx.key, self.size, self.steps)
        changed, clean = inputs.classify(images + change), inputs.classify(images)
        value = losses.kl_divergence(changed, clean, self.reverse)
        return TaskLoss(value, state, {})


@dataclasses.dataclass(frozen=True)
class PiModel(ViewTask):
    """Pi model: two views of an image get the same prediction.

    Attributes:
      view, other: names of the two views; if they are the same, its first two copies.

    References:
      Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, 2016. https://arxiv.org/abs/1610.02242
    """

    view: str = "weak"
    other: str = "weak"

    @property
    def pair(self) -> tuple[ViewRef, ViewRef]:
        """References to the two views that are compared."""
        return ViewRef("unlabeled", self.view), ViewRef("unlabeled", self.other, int(self.view == self.other))

    def view_names(self, batch: Batch) -> Mapping[str, tuple[str, ...]]:
        return {"unlabeled": (self.view, self.other)}

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return self.pair

    def check(self, batch: Batch) -> None:
        super().check(batch)
        if self.view == self.other and len(batch["unlabeled"]["views"][self.view]) < 2:
            raise UserError(
                f"{type(self).__name__} compares two views: set data.unlabeled.views.{self.view}.copies=2"
            )

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        one, other = (inputs.predictions[ref].logits for ref in self.pair)
        return TaskLoss(losses.softmax_mse(one, jax.nn.softmax(other)), state, {})


@dataclasses.dataclass(frozen=True)
class MeanTeacher(PiModel):
    """Mean Teacher: the target is the prediction of a moving average of the weights on the other view.

    state['target'] = {'encoder', 'classifier'}; the teacher runs in training mode.

    Attributes:
      momentum: how much of the teacher an update keeps; min(1 - 1 / (t + 1), momentum) after t updates.

    References:
      Tarvainen and Valpola, Mean Teachers Are Better Role Models, 2017. https://arxiv.org/abs/1703.01780
    """

    momentum: float = settings.part(0.999)

    def init_state(self, params: Params) -> State:
        return {"target": jax.tree.map(jnp.copy, _shared(params))}

    def requested_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return (self.pair[0],)

    def needed_views(self, batch: Batch) -> tuple[ViewRef, ...]:
        return self.pair

    def task_loss(self, params: Params, state: State, inputs: TermInputs) -> TaskLoss:
        student, teacher = self.pair
        logits = inputs.predictions[student].logits
        target = jax.nn.softmax(inputs.classify(inputs.images[teacher], state["target"]))
        return TaskLoss(losses.softmax_mse(logits, target), state, {})

    def after_update(self, params: Params, state: State, ctx: Context) -> State:
        decay: Array = early(self.momentum, ctx.step)
        return {**state, "target": ema(state["target"], _shared(params), decay)}


def _shared(params: Params) -> Params:
    return {name: params[name] for name in ("encoder", "classifier")}
