import numpy as np
import pytest

from jssl.errors import UserError
from jssl.evaluation import KNN, SGD, Evaluation
from jssl.evaluation.base import Encode
from jssl.evaluation.extract import Features


def rows(count):
    return Features(np.zeros((count, 2)), np.arange(count), np.arange(count))


def test_an_output_of_a_source_is_extracted_once():
    asked, first, second = [], object(), object()
    encode = Encode(lambda source, output: asked.append((source, output)) or rows(len(asked)))
    assert encode(first) is encode(first)
    assert encode(first) is not encode(second)
    assert encode(first, "logits") is encode(first, "logits")
    assert asked == [(first, "features"), (second, "features"), (first, "logits")]
    third = object()
    other = encode.given(third, rows(9))
    assert len(other(third).x) == 9
    assert other(first) is encode(first)
    assert len(asked) == 3
    encode(third)
    assert len(asked) == 4, "what is given to one is not known to the other"


def test_prefixes_and_unions():
    one = Evaluation({"top1": 1.0}, {"errors": "a"}).prefixed("knn/").prefixed("untrained/")
    assert (one.values, one.figures) == ({"untrained/knn/top1": 1.0}, {"untrained/knn/errors": "a"})
    both = one | Evaluation({"top1": 2.0})
    assert both.values == {"untrained/knn/top1": 1.0, "top1": 2.0}
    assert both.figures == one.figures


def test_a_section_becomes_an_evaluator():
    assert KNN.from_config({"k": 3, "enabled": False}) == KNN(k=3, enabled=False)
    assert SGD.from_config({"view": {"size": 8, "flip_prob": 0.5}}).view.size == 8


@pytest.mark.parametrize(
    ("kind", "section", "message"),
    [
        (KNN, {"kk": 1}, "unknown key of evals.knn 'kk': did you mean 'k'"),
        (KNN, {"baselines": "untrained"}, r"evals\.knn\.baselines='untrained' must be names in parentheses"),
        (
            SGD,
            {"view": {"size": 8, "flip": 0.5}},
            "unknown key of evals.sgd.view 'flip': did you mean 'flip_",
        ),
        (SGD, {"view": {"size": 0}}, r"evals.sgd.view.size=0 must be from 1 to 16384"),
    ],
)
def test_mistakes_are_named(kind, section, message):
    with pytest.raises(UserError, match=message):
        kind.from_config(section)
