"""Floating-point operations of a traced program: those of its matrix products and convolutions."""

from __future__ import annotations

import math
from typing import Any


def count(jaxpr: Any) -> float:
    """Operations of a (closed) jaxpr over all devices, loops as often as they run.

    A multiplication and an addition are two. What is computed again in the backward pass counts again. Of the
    branches of a conditional the dearest counts; a loop whose length is not known counts once. XLA's own count
    knows elementwise operations too, but takes the body of a loop once.
    Taps of a convolution that fall on padding count, as they do in the textbook's figures.
    """
    return sum(_equation(equation) for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns)


def _equation(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    out = equation.outvars[0].aval if equation.outvars else None
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(out.shape) * math.prod(left[axis] for axis in contracted)  # type: ignore[union-attr]
    if name == "conv_general_dilated":
        kernel, spec = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
        taps = math.prod(kernel[axis] for axis in spec[1:])  # input channels of a group, and the window
        if params["batch_group_count"] == 1:
            taps /= math.prod(params["lhs_dilation"])  # a gradient's zeros between pixels are not multiplied
        return 2.0 * math.prod(out.shape) * taps  # type: ignore[union-attr]
    inner = [count(value) for value in _jaxprs(params)]
    if name == "cond":
        return max(inner, default=0.0)
    times = {"scan": lambda: params["length"], "shard_map": lambda: params["mesh"].size}.get(
        name, lambda: 1
    )()
    return times * sum(inner)


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    """Jaxprs among an equation's parameters, also in tuples of branches."""
    values = [item for value in params.values() for item in (value if isinstance(value, tuple) else (value,))]
    return [value for value in values if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
