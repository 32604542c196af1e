"""Devices and processes: mesh and shardings, how processes find one another, what chips can do.

May be imported from everywhere; imports errors, types and storage alone.
"""

from jssl.parallel.sharding import (
    DATA_AXIS,
    SharedFlag,
    all_devices,
    any_process,
    barrier,
    batch_sharding,
    check_batch_size,
    check_fits,
    column_sharding,
    gathered,
    global_batch,
    is_main_process,
    make_mesh,
    pad_rows,
    parts_together,
    put_replicated,
    put_rows,
    replicated,
    row_shardings,
    split_shardings,
    whole,
)

__all__ = [
    "DATA_AXIS",
    "SharedFlag",
    "all_devices",
    "any_process",
    "barrier",
    "batch_sharding",
    "check_batch_size",
    "check_fits",
    "column_sharding",
    "gathered",
    "global_batch",
    "is_main_process",
    "make_mesh",
    "pad_rows",
    "parts_together",
    "put_replicated",
    "put_rows",
    "replicated",
    "row_shardings",
    "split_shardings",
    "whole",
]
