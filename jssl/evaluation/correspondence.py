"""Correspondence: are images and sounds that belong together told from those that do not?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jssl import parallel
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.methods.multimodal.windows import Windows, pairs_apart
from jssl.types import Array


@dataclasses.dataclass(frozen=True)
class Correspondence(Evaluator):
    """Accuracy of the method's own classifier of pairs, of which half are of two examples, so that chance is a half.

    Every image of what is scored meets its own sound and that of the next example, in an order drawn once. Where the
    method learns synchronisation, windows of every clip meet the sound of other times of it, too.
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
        values = {"accuracy": float(np.mean(right)), "own": float(right[0]), "other": float(right[1])}
        if "windows" in ctx.program.output_names:
            places = encode(data.query, "windows").x, encode.sounds(waves[images.index], "windows")
            values |= synchronisation(method.windows, functools.partial(score, ctx.state.params), *places)
        return Evaluation(values)


def synchronisation(
    windows: Windows, score: Callable[[np.ndarray, np.ndarray], Array], images: np.ndarray, sounds: np.ndarray
) -> dict[str, float]:
    """How many windows of clips are told from those whose sound is of another time of the clip; chance is a half.

    Args:
      windows: whose `places` they are of, K.
      score: of N windows and N sounds, float32[N, E] each, the logits [N, 2] of 'shifted' and 'in step'.
      images, sounds: of all places of N clips, one after the other, float32[N, K * E].

    Returns:
      'synchronisation', the mean of 'in_step' and 'shifted', over all pairs of places that are far enough apart.
    """
    seen, heard = (np.split(rows, len(windows.places), axis=1) for rows in (images, sounds))
    right = [
        [np.mean(own[:, 1] > own[:, 0]), np.mean(other[:, 1] <= other[:, 0])]
        for i, j in pairs_apart(windows.places, windows.apart).tolist()
        for own, other in [[np.asarray(score(seen[i], heard[which])) for which in (i, j)]]
    ]
    in_step, shifted = np.mean(right, axis=0).tolist()
    return {"synchronisation": (in_step + shifted) / 2, "in_step": in_step, "shifted": shifted}
