"""Ranking runs by small and by large validation sets."""

import re

import numpy as np
import pytest
from scipy import stats

import jssl
from jssl.errors import UserError
from jssl.evaluation import selection
from jssl.runs.selection import compare
from tests.commands import called
from tests.conftest import tiny_config
from tests.runs.test_stages import get

LABELS = np.repeat(np.arange(4), 50)


def runs(*accuracies, seed=0):
    """Whether runs of these accuracies are right about the images."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(np.arange(len(LABELS)) < round(a * len(LABELS))) for a in accuracies])


@pytest.mark.parametrize(
    "values", [([1, 2, 3, 4], [2, 1, 4, 3]), ([1, 1, 2], [5, 3, 3]), ([0.1, 0.9], [0.9, 0.1])]
)
def test_rank_correlation_is_scipys(values):
    assert selection.spearman(*map(np.array, values)) == pytest.approx(stats.spearmanr(*values)[0])


def test_ties_alone_correlate_with_nothing():
    assert selection.spearman(np.array([1, 1]), np.array([1, 2])) == 0


def test_runs_that_differ_widely_are_ranked_by_few_images_and_similar_ones_are_not():
    wide = selection.agreement(runs(0.1, 0.5, 0.95), LABELS, per_class=5, draws=200)
    narrow = selection.agreement(runs(0.50, 0.51, 0.52), LABELS, per_class=5, draws=200)
    assert wide.correlation > 0.9
    assert wide.same_winner > 0.95
    assert wide.low <= wide.correlation <= wide.high
    assert narrow.correlation < 0.5
    assert narrow.same_winner < 0.8
    assert 0 <= narrow.lost <= 0.02


def test_the_whole_set_as_a_small_one_agrees_with_itself():
    found = selection.agreement(runs(0.3, 0.6, 0.7), LABELS, per_class=50, draws=3)
    assert (found.correlation, found.low, found.high) == pytest.approx((1, 1, 1))
    assert (found.same_winner, found.lost) == (1, 0)


def test_a_draw_has_so_many_of_every_class_and_none_twice():
    rows = selection.draw(LABELS, 3, seed=1)
    assert len(set(rows)) == 12
    np.testing.assert_array_equal(np.bincount(LABELS[rows]), [3] * 4)
    assert set(rows) != set(selection.draw(LABELS, 3, seed=2))


def test_an_interval_holds_the_accuracy_and_shrinks_with_more_images():
    few, many = (selection.bootstrap_interval(np.arange(n) % 4 > 0) for n in (40, 4000))
    for low, high in (few, many):
        assert low < 0.75 < high
    assert few[1] - few[0] > 5 * (many[1] - many[0])


@pytest.mark.parametrize("size", [0, 51])
def test_sizes_that_cannot_be_are_named(size):
    with pytest.raises(UserError, match="from 1 to 50"):
        selection.agreement(runs(0.3, 0.6), LABELS, size)


def test_the_command_line_ranks_finished_runs(tmp_path):
    """With a classifier and without one, which then is kNN."""
    config = get("supervised")
    jssl.run(config, tmp_path / "0")
    other = tiny_config()
    for key in ("holdout", "split_seed", "labels"):
        other.data[key] = config.data[key]
    jssl.run(other, tmp_path / "1")
    runs = f"--runs={tmp_path}/0,{tmp_path}/1"
    status, out, err = called(runs, "--per_class=1,2", "--draws=20", module="jssl.select")
    assert status == 0, err
    assert re.search(rf"{tmp_path}/0 +\d+\.\d  \(.*\)  its classifier", out)
    assert re.search(rf"{tmp_path}/1 +\d+\.\d  \(.*\)  kNN, k = \d", out)
    assert "2 per class" in out
    for arguments, message in [
        ((f"--runs={tmp_path}/0",), "two folders at least"),
        ((f"--runs={tmp_path}/0,{tmp_path}/9",), "9 holds no finished run"),
    ]:
        status, _, err = called(*arguments, module="jssl.select")
        assert (status, err.count("\n")) == (2, 1)
        assert message in err


def test_runs_without_labels_are_ranked_by_the_rank_of_their_features(tmp_path):
    folders = [str(tmp_path / name) for name in ("narrow", "wide")]
    for folder, width in zip(folders, (4, 8)):
        config = tiny_config(data__labels="none", total_steps=2)
        config.encoder.convnet.width = width
        jssl.run(config, folder)
    lines = compare(folders, sizes=[1]).splitlines()
    assert re.fullmatch(r"no labels: .* of 14\d images \(RankMe\), the largest first", lines[0])  # a tenth
    ranks = [float(line.split()[1]) for line in lines[2:4]]
    assert ranks == sorted(ranks, reverse=True)
    assert {line.split()[0] for line in lines[2:4]} == {*folders}
