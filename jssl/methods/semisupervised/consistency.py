"""Terms that want definite answers, and the same ones nearby."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jssl import losses
from jssl.errors import UserError
from jssl.methods.base import Context
from jssl.methods.momentum import ema
from jssl.methods.semisupervised.base import Picture, Scene, Start, Term, TermOutput, ViewNames
from jssl.schedules import early
from jssl.types import Array, Batch, Params, State


@dataclasses.dataclass(frozen=True)
class OfOneView(Term):
    """A term on one view of the images without labels.

    Attributes:
      view: its name.
    """

    view: str = "weak"

    @property
    def picture(self) -> Picture:
        """That view's."""
        return Picture("unlabeled", self.view)

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        return (self.picture,)


@dataclasses.dataclass(frozen=True)
class EntropyMinimization(OfOneView):
    """Grandvalet and Bengio, 2004: the entropy of the classifier's answers."""

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        return TermOutput(losses.entropy(scene.seen[self.picture].logits), state, {})


@dataclasses.dataclass(frozen=True)
class VAT(OfOneView):
    """Virtual adversarial training (Miyato et al., 2017). https://arxiv.org/abs/1704.03976

    Its passes through the network have batch statistics of their own and do not move the running ones.

    Attributes:
      size: Euclidean norm of an image's change, in units of the network's input.
      steps: power iterations.
    """

    size: float = 8.0
    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.size > 0 or self.steps < 1:
            raise UserError(f"VAT: size={self.size} must be positive and steps={self.steps} at least 1")

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        images = scene.images[self.picture]
        change = losses.adversarial_direction(scene.classify, images, scene.ctx.key, self.size, self.steps)
        value = losses.kl_divergence(scene.classify(images + change), scene.classify(images))
        return TermOutput(value, state, {})


@dataclasses.dataclass(frozen=True)
class PiModel(Term):
    """Laine and Aila, 2016: two views should get the same answer. https://arxiv.org/abs/1610.02242

    Attributes:
      view, other: their names; if they are the same, its first two copies.
    """

    view: str = "weak"
    other: str = "weak"

    @property
    def pair(self) -> tuple[Picture, Picture]:
        """The two."""
        return Picture("unlabeled", self.view), Picture("unlabeled", self.other, int(self.view == self.other))

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        return self.pair

    def check(self, batch: Batch, names: ViewNames) -> None:
        super().check(batch, names)
        if self.view == self.other and names["unlabeled"].count(self.view) < 2:
            raise UserError(
                f"{type(self).__name__} compares two views: set data.unlabeled.views.{self.view}.copies=2"
            )

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        one, other = (scene.seen[picture].logits for picture in self.pair)
        return TermOutput(losses.softmax_mse(one, jax.nn.softmax(other)), state, {})


@dataclasses.dataclass(frozen=True)
class MeanTeacher(PiModel):
    """Tarvainen and Valpola, 2017: the other view's answer is that of an average of the weights.

    https://arxiv.org/abs/1703.01780. state['target'] = {'encoder', 'classifier'}; the teacher runs in training mode.

    Attributes:
      momentum: how much of the teacher an update keeps; min(1 - 1 / (t + 1), ema) after t updates.
    """

    momentum: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise UserError(f"MeanTeacher: ema={self.momentum} must be at least 0 and less than 1")

    def init(self, key: Array, start: Start) -> tuple[Params, State]:
        return {}, {"target": jax.tree.map(jnp.copy, start.shared)}

    def pictures(self, names: ViewNames) -> tuple[Picture, ...]:
        return (self.pair[0],)

    def needs(self, names: ViewNames) -> tuple[Picture, ...]:
        return self.pair

    def loss(self, params: Params, state: State, scene: Scene) -> TermOutput:
        student, teacher = self.pair
        target = jax.nn.softmax(scene.classify(scene.images[teacher], state["target"]))
        return TermOutput(losses.softmax_mse(scene.seen[student].logits, target), state, {})

    def after_update(self, params: Params, state: State, shared: Params, stats: State, ctx: Context) -> State:
        return {"target": ema(state["target"], shared, early(self.momentum, ctx.step))}
