"""Masked tokens: is what was hidden in captions told from what stands around it?"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jssl import parallel, rng, settings
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.extract import in_batches
from jssl.methods.base import Method
from jssl.types import Array, Params, State


@dataclasses.dataclass(frozen=True)
class MaskedTokens(Evaluator):
    """Accuracy of a masked language model on captions of what is scored.

    Hidden are as many tokens as in training, all of them behind the mask. `commonest_token` is what naming the
    commonest of them always would reach, `loss` the mean cross entropy in nats.

    Attributes:
      draws: of hidden places, for each caption.
    """

    name = "masked_tokens"
    needs = frozenset({"text"})
    possible_baselines = ("untrained",)

    baselines: tuple[str, ...] = ("untrained",)
    draws: int = settings.size(4)

    def run(self, encode: Encode, data: EvalData, ctx: EvalContext) -> Evaluation:
        captions = None if data.query is None else data.query.captions()
        method: Any = getattr(ctx.program.method, "inner", ctx.program.method)
        if captions is None or ctx.state is None or ctx.tokenizer is None:
            return Evaluation()
        if not hasattr(method, "predict_hidden"):  # it reads, and hides nothing
            return Evaluation()
        tokens = ctx.tokenizer(list(itertools.chain.from_iterable(captions)))
        rows = np.concatenate([tokens] * self.draws)
        numbered = np.concatenate([rows, np.arange(len(rows), dtype=rows.dtype)[:, None]], axis=1)
        if self.name not in ctx.cache:
            whole = parallel.replicated(ctx.mesh)
            ctx.cache[self.name] = jax.jit(functools.partial(predictions_of, method), out_shardings=whole)
        apply = functools.partial(ctx.cache[self.name], ctx.state.params, ctx.state.method_state)
        found = in_batches(apply, numbered, ctx.program).reshape(len(rows), 3, -1)
        return Evaluation(scores(*found.swapaxes(0, 1)))


def predictions_of(method: Method, params: Params, state: State, numbered: Array) -> Array:
    """Of captions and their numbers int32[B, N + 1]: targets, predictions and losses, float32[B, 3 K]."""
    tokens, number = numbered[:, :-1], numbered[:, -1]
    keys = jax.vmap(functools.partial(rng.derive, rng.root(0), "masked_tokens"))(number)
    logits, targets = method.predict_hidden(params, state, tokens, keys)  # type: ignore[attr-defined]
    each = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(targets, 0))
    return jnp.concatenate([targets, jnp.argmax(logits, axis=-1), each], axis=1)


def scores(targets: np.ndarray, predicted: np.ndarray, each: np.ndarray) -> dict[str, float]:
    """The values of predictions.

    Args:
      targets: tokens float32[B, K], -1 where there is none.
      predicted: tokens float32[B, K].
      each: their losses, float32[B, K].

    Example:
      >>> import numpy as np
      >>> from jssl.evaluation.masked_tokens import scores
      >>> found = scores(np.array([[5, 5], [7, -1]]), np.array([[5, 7], [7, 5]]), np.ones((2, 2)))
      >>> [round(value, 2) for value in found.values()]
      [0.67, 0.67, 1.0]
    """
    there = targets >= 0
    if not there.any():
        return {}
    right = targets[there]
    commonest = np.unique(right, return_counts=True)[1].max() / len(right)
    accuracy, loss = np.mean(predicted[there] == right), np.mean(each[there], dtype=np.float64)
    return {"accuracy": float(accuracy), "commonest_token": float(commonest), "loss": float(loss)}
