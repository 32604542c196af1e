"""The health of a representation on one fixed batch of augmented images, comparable from step to step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jssl import metrics, parallel, rng, settings
from jssl.data.augment.view_spec import ViewSpec
from jssl.data.sources import Source
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.metrics import embedding
from jssl.types import Array, Metrics, Params, PyTree, State

if TYPE_CHECKING:
    from jssl.train.program import Program
    from jssl.train.state import TrainState

MEASURED = ("features", "embedding", "assignments")
MIN_IMAGES = 2  # of which one can say that they differ


@dataclasses.dataclass(frozen=True)
class Health(Evaluator):
    """Diagnostics of two views of a fixed batch, see `FixedBatch`; no labels needed.

    Attributes:
      images: size of the fixed batch that is looked at.
    """

    name = "health"
    on_query = False
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    images: int = settings.size(256, at_least=2)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        assert ctx.state is not None
        if self.name not in ctx.cache:
            ctx.cache[self.name] = FixedBatch(ctx.program, data.unlabeled, self.images)
        return Evaluation(ctx.cache[self.name](ctx.state))


class FixedBatch:
    """Diagnoses training states of one program on one batch of images.

    Results are flat: `features/*` is what evaluators see and `embedding/*` what the loss compares, see
    `of_embeddings`; `teacher/*` are entropy, kl_from_uniform and mutual_information of the method's assignments,
    where it has any. All but the alignment are of the first of two views.

    Args:
      program: whose method, and whose first views.
      source: labels are not read.
      count: images of it at most, evenly spaced.
    """

    def __init__(self, program: Program, source: Source, count: int = 256):
        self.program, self.source, self.count = program, source, count
        self.specs = two_views(program.main.views)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The numbers of a state, equal in all processes; none if fewer than two images are readable."""
        if self._images is None:
            return {}
        values = self._measure(state.params, state.method_state, self._images)
        return {name: float(value) for name, value in values.items()}

    @functools.cached_property
    def _images(self) -> PyTree | None:
        """What the training pipeline would hand to the augmentation, on the devices."""
        from jssl.data.pipeline import TrainBatches

        count = min(self.count, len(self.source))
        some = self.source.take(np.arange(count) * len(self.source) // count)
        crops = self.specs if self.program.main.host_crops else None
        batch = TrainBatches(some, count, 0, steps=1, crop_specs=crops, process=0, processes=1)[0]
        images = jax.tree.map(lambda x: x[batch["bad"] < 0], batch["image"])
        readable = int(np.sum(batch["bad"] < 0))
        if readable < MIN_IMAGES:
            return None
        mesh = self.program.mesh
        if readable % mesh.size:
            return parallel.put_replicated(images, mesh)
        return jax.tree.map(lambda x: parallel.put_rows(x, mesh), images)

    @functools.cached_property
    def _measure(self) -> Callable[[Params, State, PyTree], Metrics]:
        config, method, main = self.program.config, self.program.method, self.program.main
        key = rng.derive(rng.root(config.seed), "health")

        def measure(params: Params, state: State, images: PyTree) -> Metrics:
            def outputs(view: Array) -> dict[str, Array]:
                found = method.outputs(params, state, view)
                return {name: found[name] for name in MEASURED if name in found}

            views = main.make_views(key, images, self.specs)
            found = jax.lax.map(outputs, jnp.stack([view for copies in views.values() for view in copies]))
            values: Metrics = {}
            for name in ("features", "embedding"):
                pair = found.get(name, found["features"])
                values |= {f"{name}/{key}": value for key, value in of_embeddings(*pair).items()}
            if "assignments" in found:
                teacher = of_assignments(found["assignments"][0])
                values |= {f"teacher/{name}": value for name, value in teacher.items()}
            return values

        return jax.jit(measure, out_shardings=parallel.replicated(self.program.mesh))


def of_embeddings(z1: Array, z2: Array) -> Metrics:
    """Diagnostics of the embeddings of two views, float[N, D] each."""
    return {
        "std": embedding.relative_std(z1),
        "rank_me": embedding.rank_me(z1),
        "alignment": metrics.alignment(z1, z2),
        "uniformity": metrics.uniformity(z1),
        "cosine": embedding.mean_cosine(z1),
        "norm": embedding.mean_norm(z1),
    }


def of_assignments(p: Array) -> Metrics:
    """Diagnostics of distributions over prototypes, float[N, K]."""
    return {
        "entropy": embedding.entropy(p),
        "kl_from_uniform": embedding.kl_from_uniform(p),
        "mutual_information": embedding.mutual_information(p),
    }


def two_views(specs: Mapping[str, ViewSpec]) -> dict[str, ViewSpec]:
    """Two of the largest views: copies of one if it has them, else two of the same size, else one drawn twice."""
    largest = max(spec.size for spec in specs.values())
    same = {name: spec for name, spec in specs.items() if spec.size == largest}
    twice = [name for name, spec in same.items() if spec.copies > 1 or len(same) == 1]
    if twice:
        return {twice[0]: dataclasses.replace(same[twice[0]], copies=2)}
    return {name: same[name] for name in list(same)[:2]}
