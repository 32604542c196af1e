"""The weights that a run begins with: another run's networks, and the targets and averages of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
from etils import epath

from jssl.data.text import Tokenizer
from jssl.errors import UserError, unknown
from jssl.methods.networks import encoder_with_head, replace_network
from jssl.runs import workdir
from jssl.runs.restore import make_program, restore
from jssl.train.program import Program
from jssl.train.state import TrainState
from jssl.types import Params, State

# Keys of the config that say what an encoder sees of an image.
SEEN = {"data": ("color_space",), "encoder": ("channels", "split_brain", "sobel", "per_frame", "window")}
PARTS = ("encoder", "classifier", "text")
READ = ("text_causal", "text_heads")  # of a method: how its text tower reads, which no shape tells
SHAPED_BY = {"text": "tokens, data.text.context, method.text_features and text_layers"}


def begin_with(folder: str, parts: Sequence[str], prog: Program, state: TrainState) -> TrainState:
    """A fresh state whose networks of some names, and the targets and averages of them, are those of another run.

    Of that run its checkpoint is read, and not its data.

    Args:
      folder: of that run.
      parts: 'encoder', 'classifier', 'text'; the encoder is the one that evaluators see there.
      prog: whose state it is.
      state: fresh.

    Raises:
      UserError: as `check`, and if that run has no checkpoint.
    """
    other = _open(folder)
    given = _given(other, restore(other, epath.Path(folder)), prog)
    params, method_state = state.params, state.method_state
    for part in parts:
        params = replace_network(params, part, *given[part])
        method_state = replace_network(method_state, part, *given[part])
    begun = dataclasses.replace(state, params=params, method_state=method_state)
    return jax.device_put(jax.device_get(begun), prog.shardings)


def check(folder: str, parts: Sequence[str], prog: Program) -> None:
    """Raises UserError if `begin_with` would; it looks at shapes only."""
    other = _open(folder)
    if "encoder" in parts:
        check_input(folder, other, prog)
    if "text" in parts:
        check_reading(folder, other, prog)
    given, params = _given(other, other.abstract_state(), prog), prog.abstract_state().params
    for part in parts:
        if part not in PARTS:
            raise unknown("part in init_parts", part, PARTS)
        if part not in given or part not in params:
            raise UserError(f"init_parts names {part!r}, which {folder} or this run does not have")
        ours, theirs = (jax.tree.map(lambda x: x.shape, tree) for tree in (params[part], given[part][0]))
        if ours != theirs:
            raise UserError(
                f"init_from={folder}: its {part} has other shapes; give both runs the same {SHAPED_BY.get(part, part)}"
            )


def check_tokens(folder: str, parts: Sequence[str], tokenizer: Tokenizer | None) -> None:
    """Raises UserError if a text tower shall be taken from a run whose tokens were others."""
    theirs = workdir.recorded_tokenizer(epath.Path(folder))
    if "text" in parts and tokenizer is not None and theirs != tokenizer.description:
        raise UserError(
            f"init_from={folder}: its tokens are others; set data.text.tokenizer={folder}/tokenizer.json"
        )


def check_input(folder: str, other: Program, prog: Program) -> None:
    """Raises UserError if the encoders of two runs see other things of an image."""
    for section, keys in SEEN.items():
        for key in keys:
            theirs, ours = (getattr(each.config, section)[key] for each in (other, prog))
            if theirs != ours:
                raise UserError(
                    f"init_from={folder}: its encoder sees {section}.{key}={theirs!r}, this run's {ours!r}: set it so"
                )


def check_reading(folder: str, other: Program, prog: Program) -> None:
    """Raises UserError if the text towers of two runs read a caption in other ways."""
    for key in READ:
        theirs, ours = (getattr(each.method, key, None) for each in (other, prog))
        if theirs != ours and None not in (theirs, ours):
            raise UserError(
                f"init_from={folder}: its text tower reads with method.{key}={theirs!r}, this run's with {ours!r}: "
                "set it so"
            )


def _open(folder: str) -> Program:
    path = epath.Path(folder)
    return make_program(workdir.read_config(path), workdir.read_info(path), for_training=False)


def _given(other: Program, trained: TrainState, prog: Program) -> dict[str, tuple[Params, State]]:
    """Parameters and statistics of the parts that a run can give, or their shapes."""
    layers = 0 if other.config.encoder.head_layers else len(prog.config.encoder.head_layers)
    given = {"encoder": encoder_with_head(other.method, trained.params, trained.method_state, layers)}
    average = trained.method_state.get("average", trained.params)
    if "classifier" in average:
        given["classifier"] = (average["classifier"], {})
    if "text" in trained.params:
        given["text"] = (trained.params["text"], trained.method_state["stats"]["text"])
    return given
