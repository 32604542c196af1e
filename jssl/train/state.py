"""The training state: one pytree, donated to the step and checkpointed as it is; and how its parts move."""

from __future__ import annotations

import dataclasses

import jax

from jssl.types import Array, Params, PyTree, State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes during training.

    Attributes:
      step: number of finished updates, int32[].
      params: trained by gradient; `params['encoder']` is what the user keeps.
      method_state: not trained by gradient: batch statistics, targets, queues, banks.
      opt_state: the optimiser's.
      constants: of the run: its seed, its length, that of its warm-up and so on, see `Program.constants`. They stand
        here so that runs of other seeds and lengths share a compiled step.
    """

    step: Array
    params: Params
    method_state: State
    opt_state: PyTree
    constants: PyTree = dataclasses.field(default_factory=dict)
