"""The health of a representation on one fixed batch of augmented images, comparable from step to step."""

from __future__ import annotations

import dataclasses
import functools
import itertools
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
LABEL_FREE = ("rank_me", "lidar", "alpha_req")  # measures that may choose among checkpoints and runs
MIN_IMAGES = 2  # of which one can say that they differ


@dataclasses.dataclass(frozen=True)
class Health(Evaluator):
    """Diagnostics of views of a fixed batch, see `FixedBatch`; no labels needed.

    Attributes:
      images: size of the fixed batch that is looked at.
      views: of every image, all of which LiDAR compares; the rest is of the first, or of the first two.
    """

    name = "health"
    on_query = False
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    images: int = settings.size(256, at_least=2)
    views: int = settings.size(4, at_least=2)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        assert ctx.state is not None
        if self.name not in ctx.cache:
            ctx.cache[self.name] = FixedBatch(ctx.program, data.unlabeled, self.images, self.views)
        return Evaluation(ctx.cache[self.name](ctx.state))


class FixedBatch:
    """Diagnoses training states of one program on one batch of images.

    Results are flat: `features/*` is what evaluators see and `embedding/*` what the loss compares, see
    `of_embeddings`; `teacher/*` are entropy, kl_from_uniform and mutual_information of the method's assignments,
    where it has any. All but the alignment and LiDAR are of the first of the views.

    Args:
      program: whose method, and whose first views.
      source: labels are not read.
      count: images of it at most, evenly spaced.
      views: of every image.
    """

    def __init__(self, program: Program, source: Source, count: int = 256, views: int = 4):
        self.program, self.source, self.count = program, source, count
        self.specs = some_views(program.main.views, views)

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
            in_turn = itertools.chain.from_iterable(itertools.zip_longest(*views.values()))
            found = jax.lax.map(outputs, jnp.stack([view for view in in_turn if view is not None]))
            values: Metrics = {}
            for name in ("features", "embedding"):
                each = found.get(name, found["features"])
                values |= {f"{name}/{key}": value for key, value in of_embeddings(each).items()}
            if "assignments" in found:
                teacher = of_assignments(found["assignments"][0])
                values |= {f"teacher/{name}": value for name, value in teacher.items()}
            return values

        return jax.jit(measure, out_shardings=parallel.replicated(self.program.mesh))


def of_embeddings(z: Array) -> Metrics:
    """Diagnostics of the embeddings of views, float[q, N, D]."""
    z1, z2 = z[:2]
    return {
        "std": embedding.relative_std(z1),
        "rank_me": embedding.rank_me(z1),
        "lidar": embedding.lidar(z),
        "alpha_req": embedding.alpha_req(z1),
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


def some_views(specs: Mapping[str, ViewSpec], count: int) -> dict[str, ViewSpec]:
    """Some of the largest views: copies of one if it has them, else of two of the same size, else of the only one."""
    largest = max(spec.size for spec in specs.values())
    same = {name: spec for name, spec in specs.items() if spec.size == largest}
    twice = [name for name, spec in same.items() if spec.copies > 1 or len(same) == 1]
    if twice:
        return {twice[0]: dataclasses.replace(same[twice[0]], copies=count)}
    first, second = list(same)[:2]
    return {
        first: dataclasses.replace(same[first], copies=-(-count // 2)),
        second: dataclasses.replace(same[second], copies=count // 2),
    }
