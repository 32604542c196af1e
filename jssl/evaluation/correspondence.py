"""Correspondence: are images and sounds that belong together told from those that do not?"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jssl import parallel
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator


@dataclasses.dataclass(frozen=True)
class Correspondence(Evaluator):
    """Accuracy of the method's own classifier of pairs, of which half are of two examples, so that chance is a half.

    Every image of what is scored meets its own sound and that of the next example, in an order drawn once.
    """

    name = "correspondence"
    needs = frozenset({"audio"})
    possible_baselines = ("untrained",)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        waves = None if data.query is None else data.query.sounds()
        method: Any = getattr(ctx.program.method, "inner", ctx.program.method)
        if data.query is None or waves is None or ctx.state is None or len(data.query) < 2:
            return Evaluation()
        output = "embedding" if method.fusion == "distance" else "features"
        images = encode(data.query, output)
        sounds = encode.sounds(waves[images.index], output)
        order = np.random.default_rng(0).permutation(len(images.x))
        a, b = images.x[order], sounds[order]
        score = jax.jit(method.pair_logits, out_shardings=parallel.replicated(ctx.mesh))
        own, other = (np.asarray(score(ctx.state.params, a, x)) for x in (b, np.roll(b, -1, axis=0)))
        right = [np.mean(own[:, 1] > own[:, 0]), np.mean(other[:, 1] <= other[:, 0])]
        return Evaluation(
            {"accuracy": float(np.mean(right)), "own": float(right[0]), "other": float(right[1])}
        )
