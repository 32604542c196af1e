"""What methods check of their fields and of the shapes of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from jssl.errors import UserError
from jssl.types import Array


def check_views(name: str, views: Sequence[Array]) -> None:
    """Raises UserError unless the first two views are of one size and the batch has two images at least."""
    if views[0].shape != views[1].shape:
        sizes = f"{views[0].shape[1]} and {views[1].shape[1]}"
        raise UserError(f"{name} takes views of one size, not {sizes} pixels")
    if len(views[0]) < 2:
        raise UserError(
            f"{name} compares the images of a batch: data.unlabeled.batch_size (over optim.grad_accumulation) "
            "must be more than 1"
        )


def check_crops(name: str, views: Sequence[Array]) -> None:
    """Raises UserError unless there are two global crops, of one size, before any local ones."""
    if len(views) < 2:
        raise UserError(f"{name} takes two global crops and any number of local ones, not {len(views)} view")
    check_views(name, views)
    if any(view.shape[1] > views[0].shape[1] for view in views):
        sizes = ", ".join(str(view.shape[1]) for view in views)
        raise UserError(
            f"{name} takes its global crops first, and local ones are not larger; the views, in the order of their "
            f"names, have {sizes} pixels"
        )


def check_sizes(**sizes: int) -> None:
    """Raises UserError for a field of a method that must be positive and is not."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f"method.{name}={size} must be at least 1")


def check_above_zero(**values: float) -> None:
    """Raises UserError for a field of a method that must be more than 0 and is not."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"method.{name}={value} must be positive")


def check_fractions(**values: float) -> None:
    """Raises UserError for a field of a method that must be in [0, 1] and is not."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"method.{name}={value} must be in [0, 1]")


def unusual_temperature(value: float, low: float, high: float) -> tuple[str, ...]:
    """What the alarm says of a temperature outside of the range that the field uses."""
    return () if low <= value <= high else (f"method.temperature={value}: try {low} to {high}",)
