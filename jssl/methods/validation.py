"""What methods check of the shapes of a batch, and say of unusual settings."""

from __future__ import annotations

from collections.abc import Sequence

from jssl.errors import UserError
from jssl.types import Array


def check_pair(name: str, views: Sequence[Array], keys: str) -> None:
    """Raises UserError unless the first two views are of one size and the batch has two images at least."""
    if views[0].shape != views[1].shape:
        sizes = f"{views[0].shape[1]} and {views[1].shape[1]}"
        raise UserError(f"{name} takes views of one size, not {sizes} pixels ({keys})")
    if len(views[0]) < 2:
        raise UserError(
            f"{name} compares the images of a batch: data.unlabeled.batch_size (over optim.grad_accumulation) "
            "must be > 1"
        )


def check_one(name: str, views: Sequence[Array]) -> None:
    """Raises UserError unless there is one view."""
    if len(views) != 1:
        raise UserError(f"{name} takes one view of every image: name one in method.views, with one copy")


def check_queue(size: int, rows: int, what: str, hint: str = "") -> None:
    """Raises UserError unless a queue holds whole batches of so many rows."""
    if size % rows:
        raise UserError(
            f"method.queue_size={size} must be a multiple of the {what}: "
            f"try {max(1, round(size / rows)) * rows}{hint}"
        )


def unusual_temperature(value: float, low: float, high: float) -> tuple[str, ...]:
    """The alarm's hint for a temperature outside of the range that the field uses."""
    return () if low <= value <= high else (f"method.temperature={value}: try {low} to {high}",)
