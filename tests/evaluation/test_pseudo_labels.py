import numpy as np
import pytest

from jssl.errors import UserError
from jssl.evaluation.base import Encode, EvalContext, EvalData
from jssl.evaluation.extract import Features
from jssl.evaluation.pseudo_labels import PseudoLabel, pseudo_label_quality

P = np.asarray([[0.97, 0.02, 0.01], [0.96, 0.03, 0.01], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
LABELS = np.asarray([0, 2, 0, 0])


def scores(p=P):
    return Features(np.log(p).astype(np.float32), LABELS, np.arange(len(p)))


def test_quality_by_hand():
    assert pseudo_label_quality(scores()) == {
        "top1": 2 / 4,
        "largest_class_fraction": 3 / 4,
        "confident_fraction": 2 / 4,
        "confident_top1": 1 / 2,
    }


def test_nothing_is_said_of_confident_ones_if_there_are_none():
    found = pseudo_label_quality(scores(np.full((4, 3), 1 / 3)))
    assert found == {"top1": 3 / 4, "largest_class_fraction": 1.0, "confident_fraction": 0.0}


def test_it_looks_at_hidden_labels_only():
    asked = []
    source = object()
    encode = Encode(lambda given, output: scores() if (given, output) == (source, "logits") else None)
    data = EvalData(None, None, None, hidden=lambda count: asked.append(count) or source)
    found = PseudoLabel(images=7).run(encode, data, EvalContext(None, None)).values
    assert (found, asked) == (pseudo_label_quality(scores()), [7])
    none = EvalData(None, None, None)
    assert PseudoLabel().run(encode, none, EvalContext(None, None)).values == {}


def test_fields_that_cannot_be():
    with pytest.raises(UserError, match=r"^evals\.pseudo_label\.images=-1 must be at least 0$"):
        PseudoLabel.from_config({"images": -1})
