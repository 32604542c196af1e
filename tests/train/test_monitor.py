"""The alarm of a collapse: when it goes off, what it says, what stays of it."""

import logging

import pytest
from etils import epath

from jssl.report import tables
from jssl.train.collapse import collapse_symptoms
from jssl.train.metrics_file import read_lines
from jssl.train.monitor import Monitor
from tests.conftest import tiny_config

HEALTHY = {"loss": 1.0, "lr": 0.3, "embedding/std": 0.9, "embedding/effective_rank": 20.0}
FLAT = {**HEALTHY, "embedding/std": 0.01}
TEACHER = {"teacher/mutual_information": 0.001}


def monitor(folder, **options):
    config = tiny_config(log__every_steps=1)
    return Monitor(config, epath.Path(folder), total_steps=40, steps_per_epoch=40.0, batch_size=1, **options)


def watch(watcher, begin, metrics):
    for step, values in enumerate(metrics, begin):
        watcher.step(step, values, 0.0, {})


def alarms(caplog):
    return [r.getMessage() for r in caplog.records if "the embeddings have collapsed" in r.getMessage()]


@pytest.mark.parametrize(
    ("metrics", "fires_at"),
    [
        ([HEALTHY] * 10, None),
        ([FLAT] * 4 + [HEALTHY] * 6, None),  # the first tenth of 40 steps
        ([FLAT] * 10, 6),
        ([HEALTHY] * 5 + [FLAT, HEALTHY] * 3, None),  # never twice in a row
        ([HEALTHY] * 7 + [FLAT, {**HEALTHY, "embedding/effective_rank": 1.2}], 9),
        ([HEALTHY] * 5 + [{**HEALTHY, **TEACHER}] * 3, 7),
        ([{"loss": 1.0, "lr": 0.1}] * 8, None),  # a method that logs none of them
    ],
)
def test_when_the_alarm_goes_off(tmp_path, caplog, metrics, fires_at):
    with caplog.at_level(logging.WARNING, logger="absl"):
        watcher = monitor(tmp_path)
        watch(watcher, 1, metrics)
    lines = read_lines(epath.Path(tmp_path) / "metrics.jsonl")
    assert [line["step"] for line in lines if "collapsed" in line] == ([fires_at] if fires_at else [])
    assert len(alarms(caplog)) == (fires_at is not None)
    assert watcher.totals()["collapsed"] is (fires_at is not None)


def test_what_the_alarm_says(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        watch(monitor(tmp_path, collapse_causes=("method.predictor=False: no", "second")), 5, [FLAT] * 2)
        watch(monitor(tmp_path), 5, [FLAT] * 2)
    first, second = alarms(caplog)
    assert "step 6: " in first
    assert "embedding/std 0.010 (healthy: near 1)" in first
    assert first.endswith("Likely causes: method.predictor=False: no; second")
    assert "effective_rank" not in first
    assert "try a smaller one (lr=0.3)" in second


@pytest.mark.parametrize(
    ("entropy", "kl", "kind"),
    [(0.01, 4.1, "on one prototype"), (4.1, 0.01, "spread evenly"), (2.0, 2.11, "the same targets")],
)
def test_the_alarm_names_the_kind_of_collapse(entropy, kl, kind):
    (said,) = collapse_symptoms({**TEACHER, "teacher/entropy": entropy, "teacher/kl_from_uniform": kl})
    assert said.endswith(kind) or f": every image is {kind}" in said
    assert f"entropy {entropy:.2f} of at most 4.11" in said
    assert collapse_symptoms({"teacher/mutual_information": 0.5, "teacher/entropy": entropy}) == []


def test_the_alarm_survives_a_resume(tmp_path, caplog):
    """As if the run had never stopped: neither the first of two lines nor the alarm itself is forgotten."""
    with caplog.at_level(logging.WARNING, logger="absl"):
        first = monitor(tmp_path)
        watch(first, 5, [FLAT])
        assert not alarms(caplog)
        second = monitor(tmp_path, start=5, history=first.state())
        watch(second, 6, [FLAT])
        assert len(alarms(caplog)) == 1
        third = monitor(tmp_path, start=6, history=second.state())
        watch(third, 7, [FLAT] * 3)
    assert len(alarms(caplog)) == 1
    assert third.totals()["collapsed"] is True
    lines = read_lines(epath.Path(tmp_path) / "metrics.jsonl")
    assert [line["step"] for line in lines if "collapsed" in line] == [6]


def test_the_closing_table_shows_health_and_the_alarm():
    features = {"rank_me": 12.34, "std": 0.5, "alignment": 0.25, "uniformity": -2.0}
    values = {f"health/features/{name}": value for name, value in features.items()}
    line = "features of this run: effective rank 12.3, std 0.5, alignment 0.25, uniformity -2"
    assert tables.table({**values, "collapsed": False}).splitlines()[1:] == [line]
    untrained = {f"untrained/{name}": 2 * value for name, value in values.items()}
    said = tables.table({**values, **untrained, "collapsed": True}).splitlines()[1:]
    assert said[0].startswith("features of untrained encoder: effective rank 24.7, std 1, ")
    assert said[1] == line
    assert said[2].startswith("COLLAPSED: ")


def test_an_evaluation_raises_the_alarm_by_itself(tmp_path, caplog):
    """MOAM on digits ended at 14 % without a word while all predictions were one class."""
    one_class = {"val/classifier/largest_class_fraction": 0.99, "val/classifier/commonest_class": 0.1}
    with caplog.at_level(logging.WARNING, logger="absl"):
        watcher = monitor(tmp_path)
        watcher.evaluated(2, one_class)  # the beginning
        watcher.evaluated(20, {**one_class, "val/classifier/commonest_class": 0.95})  # as the labels are
        assert not watcher.totals()["collapsed"]
        watcher.evaluated(20, one_class)
        watcher.evaluated(30, one_class)
    said = [r.getMessage() for r in caplog.records if "confirmation bias" in r.getMessage()]
    assert len(said) == 1
    assert "val/classifier/largest_class_fraction 0.99: nearly all predictions are one class" in said[0]
    assert watcher.totals()["collapsed"]
    lines = read_lines(epath.Path(tmp_path) / "metrics.jsonl")
    assert [line["step"] for line in lines if "collapsed" in line] == [20]
    final = {"classifier/largest_class_fraction": 0.99, "untrained/classifier/largest_class_fraction": 1.0}
    assert tables.table(final).count("nearly all predictions are one class") == 1


def test_a_tracker_that_fails_is_left_out(tmp_path, caplog):
    class Broken:
        calls = 0

        def write(self, step, values):
            Broken.calls += 1
            raise ConnectionError("no network")

        def sync(self):
            raise AssertionError

        close = sync

    watcher = monitor(tmp_path)
    watcher._trackers.append(Broken())
    with caplog.at_level(logging.WARNING, logger="absl"):
        watch(watcher, 1, [HEALTHY] * 3)
    watcher.close()
    assert Broken.calls == 1
    assert "Broken failed and gets no more: no network" in caplog.text
    assert len(read_lines(epath.Path(tmp_path) / "metrics.jsonl")) == 3
