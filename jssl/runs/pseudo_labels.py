"""Pseudo-labels that one run makes for another: of which images, which classes, and how much they count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jssl.data.datasets import Data, split_fingerprint
from jssl.data.pseudo_labels import PseudoLabels
from jssl.errors import UserError
from jssl.evaluation.extract import extract_source
from jssl.runs.restore import open_classifier
from jssl.types import Array


def make(teacher: epath.Path, config: Any) -> tuple[PseudoLabels, dict[str, Any]]:
    """Pseudo-labels of the images whose labels a run was not shown.

    Args:
      teacher: the folder of a finished run that has a classifier.
      config: the section `pseudo_labels`.

    Returns:
      The pseudo-labels that the rule chooses, and a report on them: how many, how sure, the histogram of
      classes beside that of the true labels that are visible, and, where the data set knows better, how many are right.
    """
    program, data, state = open_classifier(teacher)
    assert data.labeled_indices is not None
    hidden = np.setdiff1d(np.arange(len(data.train)), data.labeled_indices)
    if not len(hidden):
        raise UserError(f"{teacher} was shown all labels: there is nothing to pseudo-label; set data.labels")
    score = program.logits if config.views == "centre" else program.logits_of_crops

    def predicted(images: Array) -> Array:
        """Confidence, class and, for soft labels, the probabilities, one row an image: [N, C] is large."""
        p = jax.nn.softmax(score(state.params, state.method_state, images))
        likeliest = jnp.stack([p.max(axis=1), p.argmax(axis=1).astype(p.dtype)], axis=1)
        return jnp.concatenate([likeliest, p], axis=1) if config.soft else likeliest

    found = extract_source(program, predicted, data.train.take(hidden))
    confidence, label = found.x[:, 0], found.x[:, 1].astype(np.int32)
    rows, weight = choose(confidence, label, config.rule, config.threshold, config.per_class)
    if config.balance:
        rows, weight = balanced(confidence, label, rows, weight)
    labels = PseudoLabels(
        index=hidden[found.index[rows]],
        label=label[rows],
        target=found.x[rows, 2:] if config.soft else np.zeros((0, data.num_classes), np.float32),
        weight=weight,
        confidence=confidence[rows],
        split_fingerprint=split_fingerprint(data.train, data.holdout_indices),
    )
    return labels, describe(confidence, label, rows, found.labels, data)


def choose(
    confidence: np.ndarray, label: np.ndarray, rule: str, threshold: float, per_class: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows that a rule takes, and how much each counts.

    Args:
      confidence: the largest class probability of every image, float32[N].
      label: its class, int[N].
      rule: 'all'; 'threshold' (the largest probability is at least `threshold`); 'top_k_per_class' (the `per_class`
        surest of every class); 'confidence_weighted' (all, each counting as much as it is sure).

    Returns:
      int64[M] sorted, and float32[M].
    """
    if rule == "threshold":
        rows = np.flatnonzero(confidence >= threshold)
    elif rule == "top_k_per_class":
        of_class = [np.flatnonzero(label == c) for c in np.unique(label)]
        surest = [rows[np.argsort(-confidence[rows], kind="stable")[:per_class]] for rows in of_class]
        rows = np.sort(np.concatenate(surest))
    else:
        rows = np.arange(len(label))
    weight = confidence[rows] if rule == "confidence_weighted" else np.ones(len(rows), np.float32)
    return rows, weight.astype(np.float32)


def balanced(
    confidence: np.ndarray, label: np.ndarray, rows: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Repeats rows of rare classes until every class that occurs is as large as the largest (Noisy Student).

    The surest are repeated first. Xie et al., 2019, section 4.1. https://arxiv.org/abs/1911.04252
    """
    label, confidence = label[rows], confidence[rows]
    largest = np.bincount(label).max() if len(label) else 0
    places = []
    for c in np.unique(label):
        own = np.flatnonzero(label == c)
        places.append(np.resize(own[np.argsort(-confidence[own], kind="stable")], largest))
    chosen = np.sort(np.concatenate(places)) if places else np.zeros(0, np.int64)
    return rows[chosen], weight[chosen]


def describe(
    confidence: np.ndarray, label: np.ndarray, rows: np.ndarray, truth: np.ndarray, data: Data
) -> dict[str, Any]:
    """A report on the pseudo-labels, to be read before they are trusted."""
    images, label, classes = len(label), label[rows], data.num_classes
    prior = np.bincount(data.labeled()[1], minlength=classes)
    known = truth[rows] >= 0
    right = float((label == truth[rows])[known].mean()) if known.any() else None
    return {
        "images": images,
        "used": len(rows),
        "distinct": len(np.unique(rows)),
        "mean_confidence": float(confidence[rows].mean()) if len(rows) else None,
        "accuracy": right,  # only an experiment knows it; nothing depends on it
        "histogram": np.bincount(label, minlength=classes).tolist(),
        "histogram_of_visible_labels": prior.tolist(),
        "class_names": list(data.train.class_names or ()),
    }
