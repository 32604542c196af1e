"""Symptoms of a collapse in a line of metrics, and the alarm that watches for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

YOUNG = 0.1  # part of the steps in which heads may be nearly constant still
TAKEN_OVER = 0.9  # part of the pseudo-labels on one class from which on that class has taken over
CLUSTER = "clusters/largest_fraction"  # of the images, at a refresh
ONE_CLASS = "/largest_class_fraction"
COLLAPSED_STD = 0.1  # relative_std below this means that nearly all embeddings are one
COLLAPSED_RANK = 1.5
COLLAPSED_INFORMATION = 0.05  # nats below which a teacher says the same of every image


class CollapseAlarm:
    """Warns once a run, at the second line of metrics in a row that looks like a collapse.

    Args:
      total_steps: of the run; its first tenth is never alarming.
      causes: what in the settings would explain a collapse, likeliest first.
      history: what `state()` returned when the checkpoint was saved.
    """

    def __init__(self, total_steps: int, causes: Sequence[str], history: Mapping[str, Any]):
        self._total, self._causes = total_steps, causes
        self._ill, self.raised = int(history.get("ill", 0)), bool(history.get("collapsed", False))

    def __call__(self, step: int, values: Mapping[str, float]) -> bool:
        """Whether the alarm goes off at this line."""
        found = collapse_symptoms(values) if step > YOUNG * self._total else []
        self._ill = self._ill + 1 if found else 0
        return self._ill >= 2 and self._raise(step, values, found)

    def evaluated(self, step: int, values: Mapping[str, float]) -> bool:
        """Whether the alarm goes off at an evaluation, of many images: one suffices."""
        found = collapse_symptoms(values) if step > YOUNG * self._total else []
        return bool(found) and self._raise(step, values, found)

    def _raise(self, step: int, values: Mapping[str, float], found: Sequence[str]) -> bool:
        if self.raised:
            return False
        self.raised = True
        causes = self._causes or (f"the learning rate: try a smaller one ({describe_lr(values)})",)
        logging.warning(
            "step %d: the embeddings have collapsed: %s. Likely causes: %s"
            if not any("one class" in text for text in found)
            else "step %d: confirmation bias: %s. Likely causes: %s",
            step,
            "; ".join(found),
            "; ".join(causes),
        )
        return True

    def state(self) -> dict[str, Any]:
        """For a checkpoint, so that a resumed run warns neither twice nor late."""
        return {"ill": self._ill, "collapsed": self.raised}


def collapse_symptoms(values: Mapping[str, float]) -> list[str]:
    """Symptoms of a collapse in a line of metrics, each with what a healthy value would be; often none.

    Methods with prototypes log `teacher/entropy`, `teacher/kl_from_uniform` and `teacher/mutual_information` of
    their targets, which decide alone: few directions of their embedding suffice to tell prototypes apart. For the
    others it is `embedding/std` and `embedding/effective_rank`. Pseudo-labelling terms log
    `TERM/largest_class_fraction`, the part of the pseudo-labels that fall on one class; so do evaluations of a
    classifier, where a class that common among the labels is nothing wrong. Methods that cluster the images log
    `clusters/largest_fraction` when they do.
    """
    found = []
    if "teacher/mutual_information" not in values:
        std, rank = values.get("embedding/std", math.inf), values.get("embedding/effective_rank", math.inf)
        if not std >= COLLAPSED_STD:
            found.append(f"embedding/std {std:.3f} (healthy: near 1)")
        if not rank >= COLLAPSED_RANK:
            found.append(f"embedding/effective_rank {rank:.1f} (healthy: 2 and more)")
    information = values.get("teacher/mutual_information", math.inf)
    if not information >= COLLAPSED_INFORMATION:
        entropy = values.get("teacher/entropy", math.nan)
        most = information + entropy + values.get("teacher/kl_from_uniform", math.nan)
        kind = (
            "all images are on one prototype"
            if entropy < 0.1 * most
            else "every image is spread evenly over the prototypes, sharper targets would help"
            if entropy > 0.9 * most
            else "all images have the same targets"
        )
        found.append(
            f"teacher/mutual_information {information:.3f} (healthy: 1 and more), "
            f"teacher/entropy {entropy:.2f} of at most {most:.2f}: {kind}"
        )
    share = values.get(CLUSTER, 0.0)
    if not share <= TAKEN_OVER:
        found.append(f"{CLUSTER} {share:.2f}: nearly all images are in one cluster")
    for name, value in values.items():
        if name.endswith(ONE_CLASS) and not value <= TAKEN_OVER:
            commonest = values.get(name.removesuffix(ONE_CLASS) + "/commonest_class", 0.0)
            if commonest <= TAKEN_OVER:
                found.append(f"{name} {value:.2f}: nearly all predictions are one class")
    return found


def describe_lr(values: Mapping[str, float]) -> str:
    """The learning rate in words, if it is known."""
    return f"lr={values['lr']:.4g}" if "lr" in values else "of your own optimizer"
