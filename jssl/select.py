"""python -m jssl.select --runs=runs/a,runs/b --per_class=1,5: which run is best, and would few labels have told?"""

from __future__ import annotations

from absl import flags

from jssl import cli
from jssl.errors import UserError
from jssl.runs.restore import open_run

RUNS = flags.DEFINE_list("runs", None, "Folders of finished runs that have a classifier and the same data.")
PER_CLASS = flags.DEFINE_list(
    "per_class", ["1", "5"], "Sizes of small validation sets, in images of every class."
)
DRAWS = flags.DEFINE_integer("draws", 1000, "Small validation sets that are drawn.")


def main(_: list[str]) -> None:
    """Prints the runs by their accuracy on the held-out part of train, and how small parts of it rank them."""
    from jssl.evaluation import selection

    folders = RUNS.value or []
    sizes = [int(size) if size.isdigit() else 0 for size in PER_CLASS.value]
    if len(folders) < 2 or DRAWS.value < 1 or min(sizes, default=0) < 1:
        raise UserError("--runs takes two folders at least, --per_class and --draws numbers of at least 1")
    names, right, labels = predictions(folders)
    agreements = [selection.agreement(right, labels, size, DRAWS.value) for size in sizes]
    print(f"top-1 accuracy in % on the {len(labels)} held-out images; 95 % of resampled sets lie between\n")
    width = max(map(len, names))
    for row in right.mean(axis=1).argsort(kind="stable")[::-1]:
        low, high = selection.bootstrap_interval(right[row], DRAWS.value)
        print(
            f"  {names[row]:<{width}}  {100 * right[row].mean():5.1f}  ({100 * low:.1f} to {100 * high:.1f})"
        )
    print("\nsmall validation sets  rank correlation  (95 % of draws)  same winner  accuracy lost")
    for found in agreements:
        cells = (
            f"{found.correlation:.2f}",
            f"({found.low:.2f} to {found.high:.2f})",
            f"{found.same_winner:.0%}",
        )
        print(
            f"  {found.per_class:>4} per class        {cells[0]:>16}  {cells[1]:>17}  {cells[2]:>11}", end=""
        )
        print(f"  {100 * found.lost:6.1f} points")


def predictions(folders: list[str]):  # type: ignore[no-untyped-def]
    """Names of the runs, whether each is right about each held-out image (bool[R, N]), and the labels int[N].

    Raises:
      UserError: for runs that are not finished, have no classifier or no holdout, or differ in it.
    """
    import functools

    import numpy as np
    from etils import epath

    from jssl.evaluation.extract import extract_source
    from jssl.runs import workdir

    right, labels, first = [], None, None
    for folder in folders:
        if workdir.read_result(epath.Path(folder)) is None:
            raise UserError(f"{folder} holds no finished run")
        program, data, state = open_run(folder)
        if not program.config.evals.classifier.enabled or data.val is None:
            raise UserError(f"{folder}: its method has no classifier, or nothing is held out (data.holdout)")
        described = {key: data.describe()[key] for key in ("content", "holdout", "classes")}
        first = first or described
        if described != first:
            raise UserError(
                f"{folder} holds out other images than {folders[0]}: data, holdout and split_seed must agree"
            )
        apply = functools.partial(program.logits, state.params, state.method_state)
        found = extract_source(program, apply, data.val)
        right.append(found.x.argmax(axis=1) == found.labels)
        labels = found.labels
    return [str(folder) for folder in folders], np.stack(right), labels


if __name__ == "__main__":
    cli.run(main, required=["runs"])
