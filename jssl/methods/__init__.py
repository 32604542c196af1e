"""Methods by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from jssl.errors import unknown
from jssl.methods.base import Context, Method, Output
from jssl.methods.online_probe import OnlineProbe
from jssl.methods.simclr import SimCLR
from jssl.models import Network

METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
}

__all__ = ["METHODS", "Context", "Method", "OnlineProbe", "Output", "SimCLR", "make_method"]


def make_method(config: Any, encoder: Network, dtype: str) -> Method:
    """Builds `config.method`: its `name`, and the fields of that class.

    Raises:
      UserError: for a name or a field that does not exist (it names the nearest valid one), or a bad value.
    """
    if config.name not in METHODS:
        raise unknown("method.name", config.name, METHODS)
    method = METHODS[config.name]
    fields = {field.name for field in dataclasses.fields(method)} - {"encoder", "dtype"}
    options = {key: value for key, value in config.items() if key != "name"}
    for key in options:
        if key not in fields:
            raise unknown(f"key of method {config.name!r}", key, fields)
    return method(encoder, dtype=dtype, **options)  # type: ignore[call-arg]
