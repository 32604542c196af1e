import dataclasses

import numpy as np
import pytest

from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData
from jssl.evaluation.classifier import Classifier, classify, median_of_last
from jssl.evaluation.extract import Features

# Of six classes; the predictions are 0, 0, 1, 5, 1, 0, and 4 never occurs.
SCORES = np.asarray(
    [
        [9, 1, 2, 3, 4, 5],
        [9, 1, 2, 3, 4, 5],
        [1, 9, 2, 3, 4, 5],
        [1, 2, 3, 4, 5, 9],
        [5, 9, 4, 3, 2, 1],
        [9, 8, 7, 1, 2, 3],
    ],
    np.float32,
)
LABELS = np.asarray([0, 0, 1, 2, 5, 3])


def features(x=SCORES, labels=LABELS):
    return Features(np.asarray(x, np.float32), np.asarray(labels), np.arange(len(labels)))


def test_accuracy_of_scores():
    result = classify(features())
    assert result == {
        "top1": 3 / 6,
        "top5": 4 / 6,
        "balanced": 2 / 5,  # classes 0 and 1 of the five that occur
        "worst_class": 0.0,
        "commonest_class": 2 / 6,
        "largest_class_fraction": 3 / 6,
    }
    assert all(type(value) is float for value in result.values())


@pytest.mark.parametrize(
    ("labels", "worst"), [([0, 0, 1, 5, 1, 0], 1.0), ([0, 0, 1, 5, 0, 0], 3 / 4), ([1, 0, 1, 5, 1, 0], 2 / 3)]
)
def test_the_worst_class_is_one_that_occurs(labels, worst):
    assert classify(features(labels=labels))["worst_class"] == pytest.approx(worst)


def test_classes_by_name():
    result = classify(features(), ("cat", "dog", "owl", "ant", "bee"))
    named = {name: value for name, value in result.items() if name.startswith("of/")}
    assert named == {
        "of/cat": 1.0,
        "of/dog": 1.0,
        "of/owl": 0.0,
        "of/ant": 0.0,
    }  # no bee; the last has no name


def test_ties_go_to_the_first_class():
    even = np.zeros((4, 6), np.float32)
    result = classify(features(even, [0, 0, 4, 5]))
    assert result["top1"] == 1 / 2
    assert result["top5"] == 3 / 4
    assert result["largest_class_fraction"] == 1
    late = even + np.asarray([0, 0, 1, 1, 0, 0], np.float32)
    assert classify(features(late, [2, 2, 2, 3]))["top1"] == 3 / 4


HISTORY = [{"a": 1.0}, {"b": 0.0}, {"a": 5.0, "b": 7.0}, {"a": 2.0}, {"a": 9.0}]


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("a", 1, {"a_median": 9.0}),
        ("a", 2, {"a_median": 5.5}),
        ("a", 3, {"a_median": 5.0}),
        ("a", 100, {"a_median": 3.5}),
        ("b", 1, {"b_median": 7.0}),
        ("c", 3, {}),
    ],
)
def test_the_median_of_the_last(name, count, expected):
    assert median_of_last(HISTORY, name, count) == expected
    assert median_of_last([], name, count) == {}


def test_at_the_end_every_class_is_listed_and_during_training_none():
    encode = Encode(lambda source, output: features() if output == "logits" else None)
    data = EvalData(None, object(), object(), classes=6, class_names=("cat", "dog"))
    during = Classifier().run(encode, data, EvalContext(None, None, "holdout")).values
    final = Classifier().run(encode, data, EvalContext(None, None, "test")).values
    assert during == classify(features())
    assert final == {**during, "of/cat": 1.0, "of/dog": 1.0}
    nothing = dataclasses.replace(data, query=None)
    assert Classifier().run(encode, nothing, EvalContext(None, None)).values == {}


def test_fields_that_cannot_be():
    with pytest.raises(UserError, match=r"^evals\.classifier\.median_of=0 must be at least 1$"):
        Classifier.from_config({"median_of": 0})
