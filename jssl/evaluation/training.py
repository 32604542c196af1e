"""Training within an evaluation: a program's own step on a source, without a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax

from jssl.train.progress import counting

if TYPE_CHECKING:
    from jssl.data.sources import Source
    from jssl.train.program import Program
    from jssl.train.state import TrainState


def train_on(
    program: Program,
    state: TrainState,
    source: Source,
    watch: Callable[[int, TrainState], None] = lambda step, state: None,
) -> TrainState:
    """Trains a program of a single stream on the images and labels of a source, to its end.

    Args:
      program: whose stream is as long as the source.
      state: to begin with; it is used up.
      source: images with labels.
      watch: called after every step with its number, from 1, and the state.
    """
    from jssl.data.pipeline import TrainBatches
    from jssl.train.loop import device_iterator

    stream, steps = program.main, program.clock.total_steps
    batches = TrainBatches(
        source,
        stream.batch_size,
        stream.seed(program.config.seed),
        steps,
        source.labels(),
        stream.views if stream.host_crops else None,
    )
    with counting(f"training on {source.name}", steps * stream.batch_size) as done:
        for number, batch in enumerate(device_iterator(program, batches), 1):
            state, metrics = program.step(state, {stream.name: batch})
            jax.block_until_ready(metrics["loss"])
            done(number * stream.batch_size)
            watch(number, state)
    return state
