"""python -m jssl.select --runs=runs/a,runs/b --per_class=1,5

Which finished run is best, and would few labels have told? Without labels: which has the largest effective rank.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

from jssl import cli
from jssl.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jssl.data.datasets import Data
    from jssl.train.program import Program
    from jssl.train.state import TrainState

    Opened = tuple[Program, Data, TrainState]

RUNS = flags.DEFINE_list("runs", None, "Folders of finished runs on the same data.")
PER_CLASS = flags.DEFINE_list(
    "per_class", ["1", "5"], "Sizes of small validation sets, in images of every class."
)
DRAWS = flags.DEFINE_integer("draws", 1000, "Small validation sets that are drawn.")
RANKED_ON = 5000  # images that an effective rank is of, at most


def main(_: list[str]) -> None:
    """Prints the runs by their accuracy on the held-out part of train, and how small parts of it rank them."""
    folders = list({os.path.realpath(folder): folder for folder in RUNS.value or []}.values())
    sizes = [int(size) if size.isdigit() else 0 for size in PER_CLASS.value]
    if len(folders) < 2 or DRAWS.value < 1 or min(sizes, default=0) < 1:
        raise UserError(
            "--runs takes two folders at least, not one twice, --per_class and --draws numbers of at least 1"
        )
    runs = {folder: opened(folder) for folder in folders}
    check_data(runs)
    if any(data.labeled_indices is None for _, data, _ in runs.values()):
        by_rank(runs)
    else:
        by_accuracy(runs, sizes)


def opened(folder: str) -> Opened:
    """The program, data and state of a finished run; raises UserError for others."""
    from etils import epath

    from jssl.runs import workdir
    from jssl.runs.restore import open_run

    if workdir.read_result(epath.Path(folder)) is None:
        raise UserError(f"{folder} holds no finished run")
    return open_run(folder)


def check_data(runs: dict[str, Opened]) -> None:
    """Raises UserError for runs that differ in what they hold out."""
    described = {
        folder: {key: data.describe()[key] for key in ("content", "holdout", "classes")}
        for folder, (_, data, _) in runs.items()
    }
    first, *others = described
    for folder in others:
        if described[folder] != described[first]:
            raise UserError(
                f"{folder} holds out other images than {first}: data, holdout and split_seed must agree"
            )


def by_accuracy(runs: dict[str, Opened], sizes: list[int]) -> None:
    """Ranks runs by what they say of held-out images, and small parts of these by how they would have ranked them."""
    import numpy as np

    from jssl.evaluation import selection

    found = {folder: predictions(folder, *run) for folder, run in runs.items()}
    labels = next(iter(found.values()))[1]
    right = np.stack([predicted == labels for predicted, _, _ in found.values()])
    agreements = [selection.agreement(right, labels, size, DRAWS.value) for size in sizes]
    print(f"top-1 accuracy in % on the {len(labels)} held-out images; 95 % of resampled sets lie between\n")
    names, width = list(found), max(map(len, found))
    for row in right.mean(axis=1).argsort(kind="stable")[::-1]:
        low, high = selection.bootstrap_interval(right[row], DRAWS.value)
        accuracy, (_, _, how) = 100 * right[row].mean(), found[names[row]]
        print(f"  {names[row]:<{width}}  {accuracy:5.1f}  ({100 * low:.1f} to {100 * high:.1f})  {how}")
    print("\nsmall validation sets  rank correlation  (95 % of draws)  same winner  accuracy lost")
    for each in agreements:
        between, winner = f"({each.low:.2f} to {each.high:.2f})", f"{each.same_winner:.0%}"
        print(
            f"  {each.per_class:>4} per class        {each.correlation:>16.2f}  {between:>17}  {winner:>11}  "
            f"{100 * each.lost:6.1f} points"
        )


def predictions(
    folder: str, program: Program, data: Data, state: TrainState
) -> tuple[np.ndarray, np.ndarray, str]:
    """The classes that a run gives its held-out images, int[N], their labels, and what gave them.

    That is the run's classifier or, where it has none, kNN among its labelled images.

    Raises:
      UserError: if nothing is held out.
    """
    import functools

    from jssl.evaluation.extract import extract_source
    from jssl.evaluation.knn import KNN

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


def by_rank(runs: dict[str, Opened]) -> None:
    """Ranks runs without labels by the effective rank of their features.

    References:
      Garrido et al., RankMe, 2023. https://arxiv.org/abs/2210.02885
    """
    import functools

    import jax.numpy as jnp
    import numpy as np

    from jssl.evaluation.extract import extract_source
    from jssl.metrics import embedding

    ranks, widths = {}, {}
    for folder, (program, data, state) in runs.items():
        source = data.val or data.train
        some = source.take(np.linspace(0, len(source) - 1, min(RANKED_ON, len(source))).astype(int))
        features = functools.partial(program.features, state.params, state.method_state)
        x = extract_source(program, features, some).x
        ranks[folder], widths[folder] = float(embedding.rank_me(jnp.asarray(x))), x.shape[1]
    print(f"no labels: effective rank of the features of {len(some)} images (RankMe), the largest first\n")
    width = max(map(len, ranks))
    for folder in sorted(ranks, key=ranks.__getitem__, reverse=True):
        print(f"  {folder:<{width}}  {ranks[folder]:8.1f}  of {widths[folder]}")
    print(
        "\nIt ranks runs of one method and one encoder that differ in their settings or lengths; between methods it "
        "says little.\nneighbours.png and features.png of the best ones show what it cannot."
    )


if __name__ == "__main__":
    cli.run(main, required=["runs"])
