"""Finished runs ranked by what they say of held-out images, and what small validation sets would have made of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from etils import epath

from jssl import storage
from jssl.data.datasets import Data
from jssl.errors import UserError
from jssl.evaluation import selection
from jssl.evaluation.extract import extract_source
from jssl.evaluation.knn import KNN
from jssl.metrics import embedding
from jssl.runs import workdir
from jssl.runs.restore import open_run
from jssl.train.program import Program
from jssl.train.state import TrainState

RANKED_ON = 5000  # images that an effective rank is of, at most
HELD_OUT = ("content", "holdout", "classes")  # of splits.json


def compare(folders: Sequence[str], sizes: Sequence[int], draws: int = 1000) -> str:
    """Ranks runs by their accuracy on held-out images; without labels, by the effective rank of their features.

    Args:
      folders: at least two finished runs that hold out the same images.
      sizes: of small validation sets, in images of every class.
      draws: small sets of each size.

    Returns:
      Tables: the runs, and how well small validation sets would have ranked them.

    Raises:
      UserError: if a run is not finished, or they hold out other images.
    """
    splits = {folder: _splits(folder) for folder in folders}
    first, *others = splits
    for folder in others:
        if any(splits[folder][key] != splits[first][key] for key in HELD_OUT):
            raise UserError(
                f"{folder} holds out other images than {first}: data, holdout and split_seed must agree"
            )
    unlabelled = any(each["visible_labels"] is None for each in splits.values())
    return _by_rank(folders) if unlabelled else _by_accuracy(folders, sizes, draws)


def _splits(folder: str) -> dict[str, object]:
    path = storage.folder(folder, "--runs")
    if workdir.read_result(path) is None:
        raise UserError(f"{folder} holds no finished run")
    workdir.read_config(path)  # stages are told
    return workdir.read_json(epath.Path(path) / workdir.SPLITS_FILE)


def _by_accuracy(folders: Sequence[str], sizes: Sequence[int], draws: int) -> str:
    found = {folder: _predictions(folder, *open_run(folder)) for folder in folders}
    labels = next(iter(found.values()))[1]
    right = np.stack([predicted == labels for predicted, _, _ in found.values()])
    agreements = [selection.agreement(right, labels, size, draws) for size in sizes]
    lines = [
        f"top-1 accuracy in % on the {len(labels)} held-out images; 95 % of resampled sets lie between",
        "",
    ]
    names, width = list(found), max(map(len, found))
    for row in right.mean(axis=1).argsort(kind="stable")[::-1]:
        low, high = selection.bootstrap_interval(right[row], draws)
        accuracy, (_, _, how) = 100 * right[row].mean(), found[names[row]]
        lines.append(
            f"  {names[row]:<{width}}  {accuracy:5.1f}  ({100 * low:.1f} to {100 * high:.1f})  {how}"
        )
    lines += ["", "small validation sets  rank correlation  (95 % of draws)  same winner  accuracy lost"]
    for each in agreements:
        between, winner = f"({each.low:.2f} to {each.high:.2f})", f"{each.same_winner:.0%}"
        lines.append(
            f"  {each.per_class:>4} per class        {each.correlation:>16.2f}  {between:>17}  {winner:>11}  "
            f"{100 * each.lost:6.1f} points"
        )
    return "\n".join(lines)


def _predictions(
    folder: str, program: Program, data: Data, state: TrainState
) -> tuple[np.ndarray, np.ndarray, str]:
    """The classes that a run gives its held-out images, int[N], their labels, and what gave them.

    That is the run's classifier or, where it has none, kNN among its labelled images.

    Raises:
      UserError: if nothing is held out.
    """
    if data.val is None:
        raise UserError(f"{folder}: nothing is held out to rank by (data.holdout)")
    if program.config.evals.classifier.enabled:
        logits = functools.partial(program.logits, state.params, state.method_state)
        found = extract_source(program, logits, data.val)
        return found.x.argmax(axis=1), found.labels, "its classifier"
    features = functools.partial(program.features, state.params, state.method_state)
    train, query = (extract_source(program, features, source) for source in (data.labeled()[0], data.val))
    evaluator = KNN.from_config(program.config.evals.knn)
    ranked, k = evaluator.predict(train, query, data.num_classes, program.mesh)
    return ranked[:, 0], query.labels, f"kNN, k = {k}"


def _by_rank(folders: Sequence[str]) -> str:
    """The effective rank of features tells runs apart that have no labels.

    References:
      Garrido et al., RankMe, 2023. https://arxiv.org/abs/2210.02885
    """
    ranks, widths = {}, {}
    for folder in folders:
        program, data, state = open_run(folder)
        source = data.val or data.train
        some = source.take(np.linspace(0, len(source) - 1, min(RANKED_ON, len(source))).astype(int))
        features = functools.partial(program.features, state.params, state.method_state)
        x = extract_source(program, features, some).x
        ranks[folder], widths[folder] = float(embedding.rank_me(jnp.asarray(x))), x.shape[1]
    width = max(map(len, ranks))
    return "\n".join(
        [
            f"no labels: effective rank of the features of {len(some)} images (RankMe), the largest first",
            "",
            *(
                f"  {folder:<{width}}  {ranks[folder]:8.1f}  of {widths[folder]}"
                for folder in sorted(ranks, key=ranks.__getitem__, reverse=True)
            ),
            "",
            "It ranks runs of one method and one encoder that differ in their settings or lengths; between methods it "
            "says little.",
            "neighbours.png and features.png of the best ones show what it cannot.",
        ]
    )
