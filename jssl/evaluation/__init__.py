"""Evaluators of a representation by name, and the functions that they are made of.

An evaluator is a section `evals.NAME` of the config and a line in EVALUATORS; suite runs them all. Imports train and
what is below it.

  evaluation.knn(train_x, train_labels, test_x, test_labels)     # NumPy in, numbers out; no config, no run
"""

from __future__ import annotations

import dataclasses
from typing import Any

from jssl.evaluation.anomaly import Anomaly, coreset
from jssl.evaluation.base import Encode, EvalContext, EvalData, Evaluation, Evaluator
from jssl.evaluation.classifier import Classifier, classify
from jssl.evaluation.correspondence import Correspondence
from jssl.evaluation.detection import Detection
from jssl.evaluation.duplicates import Duplicates
from jssl.evaluation.extract import Features
from jssl.evaluation.finetune import FineTune
from jssl.evaluation.health import Health
from jssl.evaluation.image_retrieval import ImageRetrieval
from jssl.evaluation.knn import KNN, knn
from jssl.evaluation.layers import Layers, pool_map
from jssl.evaluation.linear import Linear, linear
from jssl.evaluation.masked_tokens import MaskedTokens
from jssl.evaluation.mlp import MLP, mlp
from jssl.evaluation.multilabel import MultiLabel, svm_scores
from jssl.evaluation.ood import OOD
from jssl.evaluation.pseudo_labels import PseudoLabel, pseudo_label_quality
from jssl.evaluation.retrieval import Retrieval
from jssl.evaluation.segmentation import Segmentation
from jssl.evaluation.sgd import SGD
from jssl.evaluation.zero_shot import ZeroShot, class_embeddings

EVALUATORS: dict[str, type[Evaluator]] = {
    evaluator.name: evaluator
    for evaluator in (
        Health,
        KNN,
        Linear,
        MLP,
        Layers,
        SGD,
        FineTune,
        Classifier,
        PseudoLabel,
        ZeroShot,
        Retrieval,
        Correspondence,
        MaskedTokens,
        ImageRetrieval,
        OOD,
        Duplicates,
        Segmentation,
        Detection,
        MultiLabel,
        Anomaly,
    )
}  # in the order in which they run

__all__ = [
    "EVALUATORS",
    "Encode",
    "EvalContext",
    "EvalData",
    "Evaluation",
    "Evaluator",
    "Features",
    "class_embeddings",
    "classify",
    "coreset",
    "defaults",
    "evaluators",
    "knn",
    "linear",
    "mlp",
    "pool_map",
    "pseudo_label_quality",
    "svm_scores",
]


def defaults() -> dict[str, dict[str, Any]]:
    """The sections of all evaluators with their defaults, by name: `evals.NAME`.

    Example:
      >>> from jssl import evaluation
      >>> evaluation.defaults()["knn"]["k"]
      20
    """
    return {name: dataclasses.asdict(evaluator()) for name, evaluator in EVALUATORS.items()}


def evaluators(evals: Any) -> list[Evaluator]:
    """All evaluators as a config has them, enabled or not.

    Args:
      evals: the section `evals`, with a section for each of them.

    Raises:
      UserError: for settings that cannot be; the message names the key.
    """
    return [evaluator.from_config(evals[name]) for name, evaluator in EVALUATORS.items()]
