"""The table, the ranking and the heat map of a sweep."""

import json

import numpy as np
import pytest
from etils import epath

from jssl.report import sweep
from jssl.report.sweep import FAILED, FINISHED, WAITING, Row


@pytest.fixture
def row(tmp_path):
    """A run with some lines of metrics and a result."""

    def row(name, *lines, status=FINISHED, **result):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return Row(name, tuple(name.split("_")), epath.Path(folder), status, result)

    return row


def line(step, **values):
    return {"step": step, **{key.replace("__", "/"): value for key, value in values.items()}}


def test_the_last_evaluation_on_held_out_images_ranks_and_the_test_set_does_not(row):
    """`late` was better before, and is better on the test set."""
    good, bad = {"knn/top1": 0.99}, {"knn/top1": 0.2}
    rows = [
        row("late_1", line(5, val__knn__top1=0.9), line(10, val__knn__top1=0.5), line(12, loss=1.0), **good),
        row("best_2", line(5, val__knn__top1=0.1), line(10, val__knn__top1=0.6), **bad),
        row("half_3", line(5, val__knn__top1=0.95), status=WAITING),
        row("none_4", status=FAILED),
    ]
    ranking = sweep.rank(rows)
    assert [each.name for each in ranking.rows] == ["best_2", "late_1", "half_3", "none_4"]
    assert (ranking.score, ranking.winner.name) == ("val/knn/top1", "best_2")
    lines = sweep.table(ranking, ("name", "number")).splitlines()
    assert [each.split() for each in lines[2:7]] == [
        ["score", "name", "number", "step"],
        ["60.0", "best", "2", "10"],
        ["50.0", "late", "1", "10"],
        ["-", "half", "3", "not", "finished"],
        ["-", "none", "4", "failed"],
    ]
    assert lines[-1] == "the winner is best_2; on the test set, which chose nothing, 20.0 %"
    summary = sweep.summary(ranking, ("name", "number"), {"none_4": "why"})
    assert [run["score"] for run in summary["runs"]] == [0.6, 0.5, None, None]
    assert summary["runs"][3]["error"] == "why"


def test_runs_are_compared_by_the_first_score_that_all_have(row):
    rows = [
        row("a", line(1, val__classifier__top1=0.9, val__knn__top1=0.5)),
        row("b", line(1, val__knn__top1=0.7)),
    ]
    assert (sweep.rank(rows).score, sweep.rank(rows).winner.name) == ("val/knn/top1", "b")
    rows.append(row("c", line(1, val__linear__top1=0.9)))
    ranking = sweep.rank(rows)
    assert (ranking.score, ranking.winner) == ("", None)
    assert sweep.table(ranking, ("name",)).startswith("no finished run has a score")


def test_a_score_that_is_no_number_is_the_last(row):
    rows = [row("bad", line(1, val__knn__top1=float("nan"))), row("good", line(1, val__knn__top1=0.1))]
    assert sweep.rank(rows).winner.name == "good"


def test_a_grid_has_the_scores_at_their_places_and_both_orders_of_a_pair(row):
    rows = [row(f"a_{second}", line(1, val__knn__top1=score)) for second, score in (("a", 0.1), ("b", 0.2))]
    rows.append(row("b_b", status=FAILED))
    for unordered, expected in ((False, np.nan), (True, 0.2)):
        found = sweep.grid(sweep.rank(rows), ["a", "b"], ["a", "b"], unordered)
        np.testing.assert_array_equal(found, [[0.1, 0.2], [expected, np.nan]])


def test_the_heat_map_has_the_numbers_and_the_mean_of_each_row():
    values = np.array([[0.1, 0.3], [0.5, np.nan], [np.nan, np.nan]])
    figure = sweep.heat_map(values, ["a", "b", "c"], ["a", "b"], ("first", "second"), "title", average=True)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["10.0", "30.0", "20.0", "50.0", "50.0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "average"]
    assert (axes.get_ylabel(), axes.get_xlabel(), axes.get_title()) == ("first", "second", "title")
