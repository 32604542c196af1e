import math

import pytest

import jssl
from jssl.evaluation.classifier import TOP1
from jssl.report.tables import SUPERVISED_BASELINE, hurt, pairs, stages, table, without_baseline, worse


@pytest.mark.parametrize(
    ("values", "hurts"),
    [
        ({TOP1: 0.7, SUPERVISED_BASELINE: 0.8}, True),
        ({TOP1: 0.8, SUPERVISED_BASELINE: 0.8}, False),
        ({TOP1: 0.9, SUPERVISED_BASELINE: 0.8}, False),
        ({TOP1: 0.0}, False),
        ({SUPERVISED_BASELINE: 0.8}, False),
        ({}, False),
    ],
)
def test_data_that_hurt_are_told(values, hurts):
    line = hurt(values)
    assert bool(line) == hurts
    assert not hurts or ("70.0 % with" in line and "80.0 %" in line)


def test_the_commonest_class_is_the_first_baseline():
    """A model of noise on labels of 95 to 5 looks good; the mean over the classes tells."""
    values = {"knn/top1": 0.95, "knn/balanced": 0.5, "knn/commonest_class": 0.95, "evaluated_on": "test set"}
    lines = table({**values, "pixels/knn/top1": 0.94}).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "commonest class",
        "raw pixels",
        "this run",
        "mean over classes",
    ]
    assert [line.split()[-1] for line in lines[2:]] == ["95.0", "94.0", "95.0", "50.0"]
    assert "mean over classes" not in table({**values, "knn/balanced": 0.94})


def test_a_semi_supervised_result_that_stands_alone_is_told():
    config = jssl.get_config("fixmatch")
    assert "run --config=supervised:PRESET on the same data" in without_baseline(config)
    config.evals.supervised_baseline = "runs/supervised"
    assert [
        without_baseline(c) for c in (config, jssl.get_config("supervised"), jssl.get_config("simclr"))
    ] == [""] * 3


def test_all_stages_are_one_table():
    values = {"classifier/top1": 0.9, "evaluated_on": "test set", "teacher/classifier/top1": 0.867}
    values |= {
        "teacher/supervised_baseline/classifier/top1": 0.8,
        "teacher/seconds": 30.0,
        "teacher/knn/top1": 0.5,
    }
    values |= {"student_2/classifier/top1": 0.9, "student_2/seconds": 3700.0, "seconds": 3730.0}
    assert stages(values).splitlines() == [
        "the stages, top-1 accuracy in %",
        "           classifier   knn       time",
        "teacher          86.7  50.0       30 s",
        "student_2        90.0     -  1 h 1 min",
        "",
        "of the last one, student_2:",
    ]
    assert table(values).startswith(stages(values) + "\ntop-1 accuracy in % on the test set")
    assert stages({"seconds": 3.0, "knn/top1": 1.0}) == ""


def test_pairs_that_are_told_stand_beside_those_of_the_untrained_encoder():
    values = {
        "correspondence/accuracy": 0.923,
        "correspondence/synchronisation": 0.945,
        "correspondence/own": 1.0,
    }
    values["untrained/correspondence/accuracy"] = 0.5
    lines = pairs(values).splitlines()
    assert lines[1] == "pairs of an image and a sound that are told, in %; by chance 50"
    assert lines[2].split() == ["another's", "sound", "another", "time's"]
    assert [line.split()[-2:] for line in lines[3:]] == [["50.0", "-"], ["92.3", "94.5"]]
    assert "another time's" not in pairs({"correspondence/accuracy": 0.5})
    assert pairs({"knn/top1": 1.0}) == ""


@pytest.mark.parametrize(
    ("knn", "linear", "told"),
    [(0.8, 0.9, False), (0.1, 0.3, True), (0.1, 0.9, False), (0.495, 0.595, False), (math.nan, 0.1, False)],
)
def test_features_worse_than_those_a_run_began_with_are_told(knn, linear, told):
    start = {"untrained/knn/top1": 0.5, "untrained/linear/top1": 0.6}
    values = {"knn/top1": knn, "linear/top1": linear, **start, "evaluated_on": "test set"}
    assert bool(worse(values)) == told == ("WORSE THAN AT THE START" in table(values))
    if told:
        assert not worse({**values, "untrained/knn/top1": 0.05})
        assert "knn 50.0 -> 10.0 %, linear 60.0 -> 30.0 %" in worse(values)
